import numpy as np
import pytest

from databourse.dedup.shingles import ShingleSets
from databourse.density import hashes as families
from databourse.density import race
from databourse.density.hashes import HashedBlock, draw_min_hashes, l2_kernel
from databourse.density.kde import exact_l2_sums
from databourse.density.race import RaceSketch, RowHashes, draw_row_hashes, pool_kernel_sums
from databourse.errors import InputError

QUERIES = slice(0, 60)


def sketch_of(hashes, *parts, **choices):
    sketch = RaceSketch(hashes)
    for part in parts:
        sketch.add(part, **choices)
    return sketch


class Given:
    """Hash functions whose codes are the items themselves, shape (n, n_hashes)."""

    def __init__(self, n_hashes):
        self.n_hashes, self.fingerprint = n_hashes, f"given {n_hashes}"

    def blocks(self, items):
        yield HashedBlock(len(items), lambda first, end: items.T[first:end].astype(np.uint32))


def given_rows(rows, columns, hashes_per_row=1, seed=0):
    rng = np.random.default_rng(seed)
    family = Given(rows * hashes_per_row)
    return draw_row_hashes(family, hashes_per_row=hashes_per_row, columns=columns, rng=rng)


def test_columns_and_counts_worked_by_hand():
    # a = 3 * 2^32 and b = 5 * 2^32: the upper half of a c + b is 3 c + 5; B of 2^32 keeps it
    hashes = RowHashes(
        family=Given(2),
        multipliers=np.array([[3, 1]], dtype=np.uint64) << np.uint64(32),
        increments=np.array([5], dtype=np.uint64) << np.uint64(32),
        columns=2**32,
    )
    items = np.array([[0, 0], [1, 0], [1, 2], [2**31, 2**31]])
    cells = [cells for _, cells in race._row_groups(items, hashes, 1)]
    # 3 * 2^31 + 2^31 = 2^33 wraps to 0
    assert [each.tolist() for each in cells] == [[[5, 8, 10, 5]]]
    # scaled to 4 columns all are in the first, and a high value in the last
    few = RowHashes(
        family=Given(2), multipliers=hashes.multipliers, increments=hashes.increments, columns=4
    )
    sketch = sketch_of(few, np.array([[0, 0], [1, 0], [2**30, 2**29]]))
    # 3 * 2^30 + 2^29 + 5 = 3.5 * 2^30 + 5, of 2^32 columns the part 0.875
    assert sketch.counts.tolist() == [[2, 0, 0, 1]]


def test_estimates_are_unbiased(mixture, l2_rows):
    data = mixture()
    exact = exact_l2_sums(data[QUERIES], data, bandwidth=1.0)
    squares = []
    for seed in range(10):
        sketch = sketch_of(l2_rows(seed=seed, rows=400), data)
        counts = sketch.row_counts(data[QUERIES])
        errors = counts.std(axis=0, ddof=1) / np.sqrt(400)
        z = (sketch.kernel_sums(data[QUERIES]) - exact) / errors
        assert np.abs(z).max() < 6
        assert 0.5 < (z**2).mean() < 2.5  # queries share rows
        squares.append((z**2).mean())
    assert 0.7 < np.mean(squares) < 1.4


@pytest.mark.parametrize("bandwidth", [0.5, 2.0])
def test_rows_vary_within_the_bound(mixture, l2_rows, bandwidth):
    data = mixture()
    sketch = sketch_of(l2_rows(seed=1, rows=400, bandwidth=bandwidth), data)
    deviations = sketch.row_counts(data[QUERIES]).std(axis=0, ddof=1)
    apart = data[QUERIES, None].astype(np.float64) - data.astype(np.float64)
    kernels = l2_kernel(np.sqrt((apart**2).sum(axis=2)), bandwidth=bandwidth)
    assert (deviations <= 1.1 * np.sqrt(kernels).sum(axis=1)).all()


def test_four_times_the_rows_halve_the_error(mixture, l2_rows):
    data = mixture()
    exact = exact_l2_sums(data[QUERIES], data, bandwidth=1.0)
    squares = {100: [], 400: []}
    for rows, found in squares.items():
        for seed in range(20):
            hashes = l2_rows(seed=1000 * rows + seed, rows=rows)
            estimates = sketch_of(hashes, data).kernel_sums(data[QUERIES])
            found.append((estimates / exact - 1) ** 2)
    few, many = (np.sqrt(np.mean(each)) for each in squares.values())
    assert 1.7 < few / many < 2.3
    assert many < 0.05  # 3.6 % in an independent simulation


@pytest.mark.parametrize("bandwidth", [0.5, 1.0, 2.0])
def test_a_thousand_rows_are_within_two_percent(mixture, l2_rows, bandwidth):
    data = mixture()
    exact = exact_l2_sums(data[QUERIES], data, bandwidth=bandwidth)
    hashes = l2_rows(seed=3, rows=1000, bandwidth=bandwidth)
    estimates = sketch_of(hashes, data).kernel_sums(data[QUERIES])
    assert np.median(np.abs(estimates / exact - 1)) < 0.025


def test_merging_equals_building_on_the_union_in_any_order(mixture, l2_rows):
    data = mixture()
    hashes = l2_rows(seed=4, rows=50, hashes_per_row=2)
    whole = sketch_of(hashes, data)
    left, right = sketch_of(hashes, data[:700]), sketch_of(hashes, data[700:])
    backwards = sketch_of(hashes, data[::-1])
    # drawn again from the same seed
    again = sketch_of(l2_rows(seed=4, rows=50, hashes_per_row=2), data[700:])
    for other in (left.merged(right), right.merged(left), backwards, left.merged(again)):
        np.testing.assert_array_equal(other.counts, whole.counts)
        assert other.n_items == whole.n_items == 2000
    assert (whole.counts.sum(axis=1) == 2000).all()
    assert left.n_items == 700  # merging changes neither


def test_removing_takes_back_what_was_added(mixture, l2_rows):
    data = mixture()
    hashes = l2_rows(seed=5, rows=20)
    sketch = sketch_of(hashes, data[:300], data[300:])
    sketch.remove(data[300:])
    np.testing.assert_array_equal(sketch.counts, sketch_of(hashes, data[:300]).counts)
    assert sketch.n_items == 300


def test_what_was_not_added_cannot_be_removed(mixture, l2_rows):
    data = mixture()
    sketch = sketch_of(l2_rows(seed=6, rows=20), data[:10])
    before = sketch.counts.copy()
    with pytest.raises(InputError, match="only what was counted can be removed: 20 of 10 items"):
        sketch.remove(data[:20])
    with pytest.raises(InputError, match="only what was counted can be removed: 1 of 10 items"):
        sketch.remove(-7 * np.eye(16, dtype=np.float32)[:1])
    np.testing.assert_array_equal(sketch.counts, before)
    assert sketch.n_items == 10


def test_sketches_of_other_hashes_are_not_merged(l2_rows):
    first = RaceSketch(l2_rows(seed=1, rows=5))
    for other in (
        l2_rows(seed=2, rows=5),
        l2_rows(seed=1, rows=6),
        l2_rows(seed=1, rows=5, columns=999),
        l2_rows(seed=1, rows=5, bandwidth=2.0),
    ):
        with pytest.raises(InputError, match="the same hash functions can be merged"):
            first.merged(RaceSketch(other))


def test_copies_of_one_point_meet_in_every_row(l2_rows):
    point = np.full((1, 16), 0.3, dtype=np.float32)
    sketch = sketch_of(l2_rows(seed=7, rows=64, hashes_per_row=4), np.repeat(point, 5, axis=0))
    assert sketch.row_counts(point).tolist() == [[5]] * 64
    # B = 20,000: (5 - 5 / B) / (1 - 1 / B) = 5 exactly
    assert sketch.kernel_sums(point) == pytest.approx([5.0], abs=1e-12)
    assert sketch.kernel_sums_without_self(point) == pytest.approx([4.0], abs=1e-12)


@pytest.mark.parametrize("columns", [20, 100, 1000])
def test_sharing_a_column_by_accident_is_as_likely_as_said(mixture, l2_rows, columns):
    data = mixture()
    power, rows = 4, 400
    exact = exact_l2_sums(data[QUERIES], data, bandwidth=1.0, hashes_per_row=power)
    expected = exact + (2000 - exact) / columns
    raw, estimates, variance = [], [], []
    for seed in range(5):
        hashes = l2_rows(seed=100 + seed, rows=rows, hashes_per_row=power, columns=columns)
        sketch = sketch_of(hashes, data)
        counts = sketch.row_counts(data[QUERIES])
        raw.append(counts.mean(axis=0))
        estimates.append(sketch.kernel_sums(data[QUERIES]))
        variance.append(counts.var(axis=0, ddof=1) / rows)
    sigma = np.sqrt(np.mean(variance, axis=0) / 5)
    assert (np.abs(np.mean(raw, axis=0) - expected) < 5 * sigma).all()
    assert (np.abs(np.mean(estimates, axis=0) - exact) < 5 * sigma / (1 - 1 / columns)).all()
    if columns == 20:  # where it can be told from noise
        assert (np.abs(np.mean(raw, axis=0) - exact) > 5 * sigma).all()


def test_neighbouring_codes_share_a_column_as_often_as_any_others():
    # what a bare remainder would never let happen
    rows, columns = 20_000, 20
    items = np.repeat([[7], [8], [7 + columns]], rows, axis=1)
    ((_, cells),) = race._row_groups(items, given_rows(rows, columns), 1)
    shares = (cells[:, 1:] == cells[:, :1]).mean(axis=0)
    sigma = np.sqrt(1 / columns * (1 - 1 / columns) / rows)
    assert (np.abs(shares - 1 / columns) < 5 * sigma).all()


def test_tuples_share_a_column_neither_for_their_sum_nor_their_order():
    rows, columns = 5000, 1000
    first = np.tile([[1, 2]], rows)
    items = np.concatenate([first, np.tile([[2, 1]], rows), np.tile([[0, 3]], rows)])
    ((_, cells),) = race._row_groups(items, given_rows(rows, columns, 2), 1)
    assert ((cells[:, 1:] == cells[:, :1]).mean(axis=0) < 0.004).all()  # 1 / B = 0.001


def test_batches_threads_and_groups_of_rows_change_no_count(mixture, l2_rows, monkeypatch):
    data = mixture()
    hashes = l2_rows(seed=8, rows=70, hashes_per_row=3)
    whole = sketch_of(hashes, data)
    sums = whole.kernel_sums(data)
    for other in (
        sketch_of(hashes, *np.array_split(data, 37)),
        sketch_of(hashes, data, threads=3),
    ):
        np.testing.assert_array_equal(other.counts, whole.counts)
        np.testing.assert_array_equal(other.kernel_sums(data, threads=2), sums)
    monkeypatch.setattr(race, "_COLUMN_BYTES", 1)  # 32 rows at once
    monkeypatch.setattr(race, "_HASHES_AT_ONCE", 12)
    monkeypatch.setattr(families, "_BLOCK_VECTORS", 300)
    for threads in (1, 3):
        narrow = sketch_of(hashes, data, threads=threads)
        np.testing.assert_array_equal(narrow.counts, whole.counts)
        np.testing.assert_array_equal(narrow.kernel_sums(data, threads=threads), sums)
        np.testing.assert_array_equal(pool_kernel_sums(data, hashes, threads=threads), sums)


def test_a_pool_has_the_sums_of_its_sketch_with_one_hashing(mixture, l2_rows):
    data = mixture()
    hashes = l2_rows(seed=9, rows=40, hashes_per_row=2, columns=300)
    expected = sketch_of(hashes, data).kernel_sums(data)
    np.testing.assert_array_equal(pool_kernel_sums(data, hashes), expected)
    np.testing.assert_array_equal(pool_kernel_sums(data, hashes, threads=2), expected)
    order = np.random.default_rng(0).permutation(len(data))
    np.testing.assert_array_equal(pool_kernel_sums(data[order], hashes), expected[order])


def test_more_columns_than_two_bytes_tell_are_kept_apart(mixture, l2_rows):
    data = mixture()
    exact = exact_l2_sums(data[:5], data, bandwidth=2.0, hashes_per_row=4)
    hashes = l2_rows(seed=2, rows=100, hashes_per_row=4, columns=200_000, bandwidth=2.0)
    sketch = sketch_of(hashes, data)
    assert sketch.counts[:, 1 << 16 :].sum() > sketch.counts.sum() / 2
    np.testing.assert_allclose(sketch.kernel_sums(data[:5]), exact, rtol=0.25)


def test_adding_never_lowers_a_count(mixture, l2_rows):
    data = mixture()
    sketch = sketch_of(l2_rows(seed=10, rows=30), data[:1000])
    before = sketch.row_counts(data[QUERIES])
    sketch.add(data[1000:])
    after = sketch.row_counts(data[QUERIES])
    assert (after >= before).all()
    assert (after > before).any()


def test_the_median_of_means_equals_a_slow_twin(mixture, l2_rows):
    data = mixture()
    sketch = sketch_of(l2_rows(seed=11, rows=10), data)
    counts = sketch.row_counts(data[QUERIES])
    # 10 rows in 3 groups: 3, 3, 4
    parts = [counts[:3].mean(axis=0), counts[3:6].mean(axis=0), counts[6:].mean(axis=0)]
    medians = [sorted(means)[1] for means in zip(*parts, strict=True)]
    expected = (np.array(medians) - 2000 / 20_000) / (1 - 1 / 20_000)
    np.testing.assert_allclose(sketch.kernel_sums(data[QUERIES], groups=3), expected, rtol=1e-12)
    plain = (counts.mean(axis=0) - 2000 / 20_000) / (1 - 1 / 20_000)
    np.testing.assert_allclose(sketch.kernel_sums(data[QUERIES]), plain, rtol=1e-12)


def test_counts_go_beyond_four_bytes():
    hashes = given_rows(3, 50)
    sketch = sketch_of(hashes, np.array([[1, 1, 1]]))
    for _ in range(33):  # 2^33 copies
        sketch = sketch.merged(sketch)
    assert sketch.row_counts(np.array([[1, 1, 1]])).tolist() == [[2**33]] * 3
    assert sketch.n_items == 2**33
    assert sketch.kernel_sums(np.array([[1, 1, 1]])) == pytest.approx([2.0**33], rel=1e-12)


def test_texts_are_counted_by_jaccard():
    keys = np.sort(np.random.default_rng(3).integers(0, 1 << 64, 150, dtype=np.uint64))
    sets = ShingleSets(
        np.concatenate([keys[:100], keys[50:150], keys[:100]]), np.array([0, 100, 200, 300])
    )
    rng = np.random.default_rng(4)
    hashes = draw_row_hashes(
        draw_min_hashes(2000, rng=rng), hashes_per_row=1, columns=10_000, rng=rng
    )
    # Jaccard 50 / 150 of the first two, 1 of the first and third; 5 sd of 2,000 rows are 0.05
    np.testing.assert_allclose(pool_kernel_sums(sets, hashes), [7 / 3, 5 / 3, 7 / 3], atol=0.11)


def test_no_items_change_nothing_and_have_no_sums(mixture, l2_rows):
    data = mixture()
    sketch = sketch_of(l2_rows(seed=1, rows=4), data[:5])
    before = sketch.counts.copy()
    sketch.add(data[:0])
    np.testing.assert_array_equal(sketch.counts, before)
    assert sketch.n_items == 5
    assert sketch.kernel_sums(data[:0]).tolist() == []
    assert sketch.row_counts(data[:0]).shape == (4, 0)
    with pytest.raises(InputError, match="at least one item"):
        pool_kernel_sums(data[:0], sketch.hashes)


def test_choices_outside_their_domain_are_refused(mixture, l2_rows):
    rng = np.random.default_rng(0)
    for hashes_per_row in (0, 4):
        with pytest.raises(InputError, match=f"divide 6, got {hashes_per_row}"):
            draw_row_hashes(Given(6), hashes_per_row=hashes_per_row, columns=10, rng=rng)
    for columns in (1, 2**32 + 1):
        with pytest.raises(InputError, match=rf"columns must be in 2 .. 2\^32, got {columns}"):
            draw_row_hashes(Given(6), hashes_per_row=2, columns=columns, rng=rng)
    sketch = RaceSketch(l2_rows(seed=1, rows=4))
    for groups in (0, 5):
        with pytest.raises(InputError, match=f"groups must be in 1 .. 4, got {groups}"):
            sketch.kernel_sums(mixture()[:3], groups=groups)
    with pytest.raises(InputError, match="threads must be >= 1, got 0"):
        sketch.add(mixture()[:3], threads=0)

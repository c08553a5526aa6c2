import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.manifests.epochs import epoch_order, resampled_copies, share
from databourse.manifests.progress_states import cut, first_of, without_first

BLOCKS = st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(sum)


def sequence(order):
    """Spell an epoch out: the global row of every place."""
    rows = []
    for window in order.windows:
        starts = order.block_starts
        mine = np.concatenate([np.arange(starts[b], starts[b + 1]) for b in window.blocks])
        rows += mine[order.rows_of(window)].tolist()
    return rows


@given(BLOCKS, st.integers(0, 3), st.integers(0, 20))
def test_every_row_has_exactly_one_place(blocks, epoch, window_rows):
    order = epoch_order(blocks, seed=5, epoch=epoch, window_rows=window_rows)

    assert sorted(sequence(order)) == list(range(sum(blocks)))
    assert order.n_places == sum(blocks)


@given(BLOCKS, st.integers(0, 20), st.data())
def test_windows_between_two_places_are_that_part_of_the_sequence(blocks, window_rows, data):
    order = epoch_order(blocks, seed=5, epoch=1, window_rows=window_rows)
    start = data.draw(st.integers(0, sum(blocks)))
    end = data.draw(st.integers(start, sum(blocks)))

    found = []
    for window, first, last in order.windows_between(start, end):
        mine = np.concatenate(
            [np.arange(order.block_starts[b], order.block_starts[b + 1]) for b in window.blocks]
        )
        found += mine[order.rows_of(window)[first:last]].tolist()

    assert found == sequence(order)[start:end]


@given(st.integers(0, 50), st.integers(1, 7))
def test_shares_lie_end_to_end_and_differ_by_at_most_one(n_places, consumers):
    shares = [share(n_places, each, consumers) for each in range(consumers)]

    assert [start for start, _ in shares] == [0, *(end for _, end in shares[:-1])]
    assert shares[-1][1] == n_places
    sizes = {end - start for start, end in shares}
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 5), st.integers(0, 60))
def test_cut_intervals_hold_every_place_once(lengths, consumers, read):
    edges = np.cumsum([0, *lengths]).tolist()
    intervals = [pair for pair in zip(edges[::2], edges[1::2], strict=False) if pair[0] < pair[1]]

    def places(some):
        return [place for start, end in some for place in range(start, end)]

    parts = [places(cut(intervals, each, consumers)) for each in range(consumers)]
    assert [place for part in parts for place in part] == places(intervals)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert places(without_first(intervals, read)) == places(intervals)[read:]
    assert places(first_of(intervals, read)) == places(intervals)[:read]


def test_an_order_depends_on_seed_and_epoch_alone():
    def order(**changes):
        settings = {"seed": 5, "epoch": 0, "window_rows": 1}
        return sequence(epoch_order([50, 50, 50], **{**settings, **changes}))

    assert order() == order()
    assert len({tuple(order()), tuple(order(epoch=1)), tuple(order(seed=6))}) == 3


def test_a_window_as_large_as_the_data_mixes_all_blocks():
    narrow = sequence(epoch_order([100] * 10, seed=1, epoch=0, window_rows=1))
    wide = sequence(epoch_order([100] * 10, seed=1, epoch=0, window_rows=1_000))

    def blocks_of_first(rows):
        return {row // 100 for row in rows[:100]}

    assert len(blocks_of_first(narrow)) == 1
    assert len(blocks_of_first(wide)) == 10
    assert len({tuple(narrow), tuple(wide)}) == 2


def test_without_a_window_the_order_is_that_of_the_files():
    assert sequence(epoch_order([2, 3], seed=1, epoch=7, window_rows=0)) == [0, 1, 2, 3, 4]


def test_every_place_is_equally_likely_for_a_row():
    # 600 epochs of 6 rows in 3 blocks: each row is first with a chance of 1/6 (100 +- 9)
    firsts = [
        sequence(epoch_order([2, 2, 2], seed=9, epoch=epoch, window_rows=4))[0]
        for epoch in range(600)
    ]
    assert np.all(np.abs(np.bincount(firsts, minlength=6) - 100) < 5 * 9)


def test_copies_by_hand():
    class Half:
        def random(self):
            return 0.5

    # parts of 4 places by weights 1, 1, 4, 2: running sums 0.5, 1, 3, 4; with u = 0.5: 1, 1, 3, 4
    assert resampled_copies(np.array([1.0, 1.0, 4.0, 2.0]), 4, Half()).tolist() == [1, 0, 2, 1]


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40), st.integers(0, 99))
def test_copies_are_the_exact_parts_rounded_up_or_down(weights, seed):
    weights = np.array(weights)
    n = len(weights)

    copies = resampled_copies(weights, n, np.random.default_rng(seed))

    exact = n * weights / weights.sum()
    assert copies.sum() == n
    assert np.all(copies >= np.floor(exact - 1e-6))
    assert np.all(copies <= np.ceil(exact + 1e-6))


def test_copies_are_right_on_average():
    weights = np.array([0.5, 1.0, 2.5, 0.25, 0.75])
    mean = np.mean(
        [resampled_copies(weights, 5, np.random.default_rng(seed)) for seed in range(1_000)], axis=0
    )
    np.testing.assert_allclose(mean, weights, atol=0.08)  # five standard errors


@given(BLOCKS, st.integers(0, 12), st.integers(0, 3))
def test_a_resampled_epoch_holds_each_row_as_often_as_its_copies(blocks, window_rows, epoch):
    weights = np.linspace(0.5, 3.0, sum(blocks))
    order = epoch_order(blocks, seed=2, epoch=epoch, window_rows=window_rows, weights=weights)

    rows = sequence(order)

    assert len(rows) == sum(blocks) == order.n_places
    assert np.bincount(rows, minlength=sum(blocks)).tolist() == order.copies.tolist()


def test_bad_numbers_are_refused():
    for changes in ({"seed": -1}, {"epoch": -1}, {"window_rows": -1}):
        with pytest.raises(InputError, match="must be >= 0"):
            epoch_order([3], **{"seed": 1, "epoch": 0, "window_rows": 1, **changes})
    for weights in ([1.0], [1.0, 0.0], [1.0, np.nan], [1.0, np.inf]):
        with pytest.raises(InputError, match="weights must be finite and > 0"):
            epoch_order([2], seed=1, epoch=0, window_rows=1, weights=np.array(weights))
    with pytest.raises(InputError, match=r"consumer must be in 0\.\.1"):
        share(5, 2, 2)

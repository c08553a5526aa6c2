"""The linear datamodeling score against scipy, hand-made ranks, and planted truths."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from databourse.errors import InputError
from databourse.influence import lds
from databourse.influence.lds import linear_datamodeling_score, spearman_by_target

law = settings(derandomize=True, deadline=None, max_examples=50)


def half_subsets(rng, n_subsets, n_documents):
    return np.argsort(rng.random((n_subsets, n_documents)), axis=1) < n_documents // 2


def planted(seed=0, *, n_documents=40, n_targets=6, n_subsets=50, noise=0.0, n_seeds=1):
    """Return values, masks and losses that the values foretell up to noise."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_documents, n_targets))
    masks = half_subsets(rng, n_subsets, n_documents)
    losses = 3.0 - masks @ values
    seeds = losses + noise * rng.normal(size=(n_seeds, *losses.shape))
    return values, masks, seeds[0] if n_seeds == 1 else seeds


def score(values, masks, outputs, output="loss", *, seed=1, n_resamples=50, **options):
    rng = np.random.default_rng(seed)
    return linear_datamodeling_score(
        values, masks, outputs, output=output, rng=rng, n_resamples=n_resamples, **options
    )


def test_hand_made_sums_give_hand_made_ranks():
    # subsets {0,1}, {0,2}, {1,2}, {2}: sums 3, 5, 6, 4, foretold losses -3, -5, -6, -4, whose
    # ranks are 4, 2, 1, 3; losses rank 4, 3, 1, 2: squared differences 0, 1, 0, 1
    masks = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 1]], dtype=bool)
    losses = np.array([[9.0], [8.0], [2.0], [3.0]])

    result = score(np.array([[1.0], [2.0], [4.0]]), masks, losses)

    assert result.score == pytest.approx(1 - 6 * 2 / (4 * 15), abs=1e-15)
    assert (result.n_subsets, result.n_documents, result.n_targets) == (4, 3, 1)
    assert result.subset_share == pytest.approx(7 / 12)
    assert result.seed_agreement is None


def test_tied_numbers_share_the_mean_of_their_ranks():
    # ranks 1.5, 1.5, 3 against 1, 2, 3: covariance 1.5, variances 1.5 and 2
    correlation = spearman_by_target(np.array([[1.0], [1.0], [2.0]]), np.array([[1.0], [2], [3]]))

    np.testing.assert_allclose(correlation, 1.5 / np.sqrt(1.5 * 2), rtol=1e-15)


@law
@given(st.integers(0, 2**31), st.integers(3, 12), st.integers(1, 4), st.integers(2, 6))
def test_it_equals_a_loop_over_scipy_with_and_without_ties(seed, n_subsets, n_targets, n_levels):
    rng = np.random.default_rng(seed)
    left = rng.integers(0, n_levels, (n_subsets, n_targets)).astype(float)
    right = rng.integers(0, n_levels, (n_subsets, n_targets)) + 0.5 * (rng.random() < 0.5)
    left[0], right[0] = -1.0, 99.0  # no column is constant: scipy would warn

    expected = [spearmanr(a, b).statistic for a, b in zip(left.T, right.T, strict=True)]

    np.testing.assert_allclose(spearman_by_target(left, right), expected, atol=1e-12)


def test_resamples_equal_scipy_on_rows_written_out():
    rng = np.random.default_rng(3)
    left = rng.integers(0, 4, (9, 3)).astype(float)
    right = rng.normal(size=(9, 3))
    draws = lds._draws(9, 3, n_resamples=20, rng=rng)

    means = draws.mean_of(lds._Ranked(left), lds._Ranked(right))

    for mean, subsets, targets in zip(means, draws.subsets, draws.targets, strict=True):
        rows = np.repeat(np.arange(9), subsets.astype(int))
        columns = np.repeat(np.arange(3), targets.astype(int))
        drawn = [spearmanr(left[rows, j], right[rows, j]).statistic for j in columns]
        assert mean == pytest.approx(np.mean(drawn), abs=1e-12)
        assert len(rows) == 9
        assert len(columns) == 3


def test_true_values_score_one_for_losses_and_for_margins():
    values, masks, losses = planted()

    assert score(values, masks, losses).score == pytest.approx(1.0, abs=1e-12)
    assert score(values, masks, -losses, "margin").score == pytest.approx(1.0, abs=1e-12)


def test_turned_signs_score_the_opposite():
    values, masks, losses = planted(noise=4.0)
    good = score(values, masks, losses).score

    assert good > 0.3
    assert score(-values, masks, losses).score == pytest.approx(-good, abs=1e-12)
    assert score(values, masks, losses, "margin").score == pytest.approx(-good, abs=1e-12)


def test_shuffled_document_ids_score_about_zero():
    values, masks, losses = planted(n_targets=40, n_subsets=100)
    shuffled = values[np.random.default_rng(5).permutation(len(values))]

    result = score(shuffled, masks, losses)

    # one permutation moves all targets alike, but their values are independent
    assert abs(result.score) < 4 * result.random_sd
    assert result.low < 0 < result.high


def test_random_values_spread_as_stated():
    _, masks, losses = planted(n_targets=60, n_subsets=100, n_documents=3_000)
    rng = np.random.default_rng(6)

    def of_random_values():
        return score(rng.normal(size=(3_000, 60)), masks, losses, n_resamples=1)

    draws = [of_random_values().by_target for _ in range(20)]

    stated = of_random_values()
    assert stated.random_sd_by_target == pytest.approx(0.1005, abs=1e-4)  # 1 / sqrt(99)
    assert stated.random_sd == pytest.approx(0.0130, abs=1e-4)  # / sqrt(60)
    # 1,200 correlations: their standard deviation is known to 2 %, and 3,000 documents add 2 %
    assert np.std(draws) == pytest.approx(stated.random_sd_by_target, rel=0.08)


def test_a_scorer_that_knows_no_target_counts_for_every_target():
    values, masks, losses = planted(n_targets=3)

    once = score(values[:, 0], masks, losses)
    thrice = score(np.repeat(values[:, :1], 3, axis=1), masks, losses)

    np.testing.assert_array_equal(once.by_target, thrice.by_target)
    assert once.by_target[0] == pytest.approx(1.0, abs=1e-12)


def test_equal_values_foretell_nothing_and_rounding_is_not_ranked():
    _, masks, losses = planted(n_documents=2_001)
    values = np.full((2_001, 6), 1 / 3)  # sums of thirds in different places differ in last bits

    result = score(values, masks, losses)

    assert result.score == 0.0
    assert result.n_constant_predictions == 6
    assert (result.low, result.high) == (0.0, 0.0)


def test_outputs_that_never_change_are_refused():
    values, masks, losses = planted()
    losses[:, 2] = 1.0

    with pytest.raises(InputError, match="the first at 2, are the same for every subset"):
        score(values, masks, losses)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    # normal sums with correlation 0.5: the rank correlation is 6 / pi asin(0.25) = 0.4826
    truth, hits = 6 / np.pi * np.arcsin(0.25), 0
    rng = np.random.default_rng(11)
    for repetition in range(60):
        masks = half_subsets(rng, 40, 60)
        values = rng.normal(size=(60, 8))
        sums = masks @ values
        sums = (sums - sums.mean(axis=0)) / sums.std(axis=0)
        margins = 0.5 * sums + np.sqrt(0.75) * rng.normal(size=sums.shape)
        result = score(values, masks, margins, "margin", seed=repetition, n_resamples=200)
        hits += result.low <= truth <= result.high

    # 95 % of 60 is 57; a binomial of 60 at 0.9 has sd 2.3
    assert 50 <= hits <= 60


@pytest.mark.parametrize(("level", "end"), [(0.5, 0.2), (0.95, 0.6)])
def test_drawing_targets_alone_gives_a_binomial_interval(level, end):
    # five targets are foretold perfectly and five turned round, in every draw of subsets, so that
    # a resample scores 2 B / 10 - 1 with B binomial of 10 at 1/2: quartiles 4 and 6, the central
    # 95 % from 2 to 8
    values, masks, losses = planted(n_targets=10)
    values[:, ::2] *= -1

    result = score(values, masks, losses, n_resamples=2_000, level=level)

    assert result.score == pytest.approx(0.0, abs=1e-12)
    assert (result.low, result.high) == pytest.approx((-end, end), abs=1e-12)
    assert (result.level, result.n_resamples) == (level, 2_000)


def test_the_interval_widens_with_fewer_subsets_and_with_fewer_targets():
    widths = {}
    for n_subsets, n_targets in ((100, 20), (25, 20), (100, 2)):
        values, masks, losses = planted(n_subsets=n_subsets, n_targets=n_targets, noise=3.0)
        # targets of unlike difficulty, so that drawing them matters
        losses = losses + np.linspace(0, 8, n_targets) * np.random.default_rng(2).normal(
            size=losses.shape
        )
        result = score(values, masks, losses, n_resamples=400)
        widths[n_subsets, n_targets] = result.high - result.low

    assert widths[25, 20] > 1.3 * widths[100, 20]
    assert widths[100, 2] > 1.3 * widths[100, 20]


def test_the_interval_depends_on_the_seed_and_on_nothing_else():
    values, masks, losses = planted(noise=3.0)

    first, again = (score(values, masks, losses, seed=9) for _ in range(2))
    other = score(values, masks, losses, seed=10)

    assert (first.low, first.high) == (again.low, again.high)
    assert (first.low, first.high) != (other.low, other.high)
    assert first.score == other.score


def test_seeds_are_averaged_and_their_agreement_is_the_ceiling():
    values, masks, losses = planted(noise=2.0, n_seeds=3, n_subsets=60)

    result = score(values, masks, losses)

    assert result.n_seeds == 3
    assert result.score == score(values, masks, losses.mean(axis=0)).score
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean(
        [spearmanr(losses[a][:, j], losses[b][:, j]).statistic for a, b in pairs for j in range(6)]
    )
    assert result.seed_agreement == pytest.approx(expected, abs=1e-12)
    assert lds.seed_agreement(losses).mean() == pytest.approx(expected, abs=1e-12)


def test_the_difference_of_a_scorer_to_itself_is_zero_and_turns_with_the_order():
    values, masks, losses = planted(noise=3.0, n_targets=12)
    worse = values + 2 * np.random.default_rng(4).normal(size=values.shape)

    def difference(first, second):
        rng = np.random.default_rng(1)
        return lds.lds_difference(
            first, second, masks, losses, output="loss", rng=rng, n_resamples=200
        )

    same, ahead, behind = (
        difference(values, values),
        difference(values, worse),
        difference(worse, values),
    )
    assert (same.difference, same.low, same.high) == (0.0, 0.0, 0.0)
    assert not same.excludes_zero
    assert ahead.difference == pytest.approx(
        score(values, masks, losses).score - score(worse, masks, losses).score, abs=1e-12
    )
    assert ahead.low > 0
    assert ahead.excludes_zero
    assert behind.high == pytest.approx(-ahead.low, abs=1e-12)
    assert behind.excludes_zero


def test_a_paired_difference_is_surer_than_two_intervals():
    values, masks, losses = planted(noise=6.0, n_targets=8)
    close = values + 0.3 * np.random.default_rng(4).normal(size=values.shape)
    rng = np.random.default_rng(1)
    paired = lds.lds_difference(
        values, close, masks, losses, output="loss", rng=rng, n_resamples=300
    )
    alone = score(values, masks, losses, n_resamples=300)

    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"values": np.ones((39, 6))}, "values must have shape \\(40, 6\\)"),
        ({"values": np.full((40, 6), np.nan)}, "got nan at document 0, target 0"),
        ({"masks": np.ones((50, 40))}, "masks must be booleans"),
        ({"outputs": np.ones((49, 6))}, "outputs must have shape \\(50, n_targets\\)"),
        ({"outputs": np.full((50, 6), np.inf)}, "got inf at seed 0, subset 0, target 0"),
        ({"output": "accuracy"}, "output must be 'loss' or 'margin', got 'accuracy'"),
        ({"n_resamples": 0}, "n_resamples must be >= 1"),
        ({"level": 1.0}, "level must be in \\(0, 1\\)"),
    ],
)
def test_malformed_arguments_are_refused(change, said):
    values, masks, losses = planted()
    arguments = {"values": values, "masks": masks, "outputs": losses, "output": "loss", **change}

    with pytest.raises(InputError, match=said):
        score(**arguments)


def test_two_subsets_are_too_few_to_rank():
    values, masks, losses = planted()

    with pytest.raises(InputError, match="at least 3 subsets, got 2"):
        score(values, masks[:2], losses[:2])


def test_one_seed_has_no_agreement():
    with pytest.raises(InputError, match="train every subset with a second seed"):
        lds.seed_agreement(np.ones((1, 5, 2)))

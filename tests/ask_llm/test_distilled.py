import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from databourse.ask_llm.distilled import distil, labelled_sample, spearman
from databourse.errors import InputError
from databourse.signals.folds import document_folds

IDS = [f"{number:032x}" for number in range(300)]


@pytest.fixture
def pool():
    """Return embeddings, positions of the labelled, and labels that a line in them explains."""
    rng = np.random.default_rng(5)
    embeddings = rng.normal(size=(300, 8)).astype(np.float32)
    labelled = labelled_sample(IDS, 120, seed=3)
    logits = embeddings.astype(np.float64) @ rng.normal(size=8) + 0.4
    labels = 1 / (1 + np.exp(-logits))
    return embeddings, labelled, labels[labelled], labels


def run(pool, **changes):
    embeddings, labelled, labels, _ = pool
    choices = {"head": "logistic", "penalty": 0.01, "folds": 4, **changes}
    return distil(IDS, embeddings, labelled=labelled, labels=labels, **choices)


def test_the_rest_is_ranked_as_the_truth_is(pool):
    rest = np.setdiff1d(np.arange(300), pool[1])
    for head in ("ridge", "logistic"):
        found = run(pool, head=head)
        assert scipy.stats.spearmanr(found.scores[rest], pool[3][rest]).statistic > 0.97
        assert found.held_out_spearman > 0.97
        assert found.n_labelled == 120
    assert found.scores.shape == (300,)


def test_labels_of_pure_chance_are_reported_as_not_learnt(pool):
    chance = np.random.default_rng(8).random(120)
    found = run((pool[0], pool[1], chance, None))
    assert abs(found.held_out_spearman) < 0.3  # 3.3 standard errors of 1 / sqrt(119)


def test_a_labelled_document_is_predicted_without_its_own_label(pool):
    embeddings, labelled, labels, _ = pool
    changed = labels.copy()
    changed[7] = 1 - changed[7]
    before, after = run(pool), run((embeddings, labelled, changed, None))
    fold_of = document_folds([IDS[position] for position in labelled], 4)
    same_fold = labelled[fold_of == fold_of[7]]
    others = labelled[fold_of != fold_of[7]]
    np.testing.assert_array_equal(before.scores[same_fold], after.scores[same_fold])
    assert (before.scores[others] != after.scores[others]).all()


def test_ridge_is_the_solution_of_its_normal_equations(pool):
    embeddings, labelled, labels, _ = pool
    inside = embeddings[labelled].astype(np.float64)
    centre, mean = inside.mean(axis=0), labels.mean()
    centred = inside - centre
    weights = np.linalg.solve(centred.T @ centred + 2.5 * np.eye(8), centred.T @ (labels - mean))
    rest = np.setdiff1d(np.arange(300), labelled)
    expected = (embeddings[rest].astype(np.float64) - centre) @ weights + mean
    found = run(pool, head="ridge", penalty=2.5)
    np.testing.assert_allclose(found.scores[rest], expected, atol=1e-9)  # rounding of a solve


def test_logistic_minimises_the_cross_entropy_of_soft_labels():
    # one feature at 0 and 1: without a penalty the fit is the mean label of each group
    ids = [f"{number:032x}" for number in range(40)]
    embeddings = np.array([[number % 2] for number in range(40)], dtype=np.float32)
    labels = np.where(np.arange(40) % 2 == 0, 0.25, 0.75)
    labels[:4] += [0.1, 0.1, -0.1, -0.1]
    found = distil(
        [*ids, "x", "y"],
        np.concatenate([embeddings, embeddings[:2]]),
        labelled=np.arange(40),
        labels=labels,
        head="logistic",
        penalty=1e-6,
        folds=2,
    )
    np.testing.assert_allclose(
        found.scores[40:], [labels[::2].mean(), labels[1::2].mean()], atol=1e-3
    )  # the optimiser stops at 1e-4 of the gradient


def test_the_same_arguments_give_the_same_bits(pool):
    for head in ("ridge", "logistic"):
        first, second = run(pool, head=head), run(pool, head=head)
        np.testing.assert_array_equal(first.scores, second.scores)
        assert first.held_out_spearman == second.held_out_spearman


def test_the_held_out_correlations_are_those_of_the_out_of_fold_predictions(pool):
    found = run(pool)
    _, labelled, labels, _ = pool
    unseen = found.scores[labelled]
    assert found.held_out_spearman == pytest.approx(
        scipy.stats.spearmanr(labels, unseen).statistic, abs=1e-12
    )
    fold_of = document_folds([IDS[position] for position in labelled], 4)
    for fold, value in enumerate(found.fold_spearmans):
        members = fold_of == fold
        assert value == pytest.approx(
            scipy.stats.spearmanr(labels[members], unseen[members]).statistic, abs=1e-12
        )


def test_progress_counts_every_document_once(pool):
    done = []
    run(pool, progress=done.append)
    assert sum(done) == 300


def test_a_sample_does_not_depend_on_order_and_keeps_most_when_the_pool_grows():
    chosen = {IDS[position] for position in labelled_sample(IDS[:200], 50, seed=3)}
    shuffled = IDS[199::-1]
    assert {shuffled[position] for position in labelled_sample(shuffled, 50, seed=3)} == chosen
    grown = {IDS[position] for position in labelled_sample(IDS, 50, seed=3)}
    assert grown & set(IDS[:200]) <= chosen
    assert len(grown & chosen) >= 20  # a third of the pool is new
    assert {IDS[position] for position in labelled_sample(IDS[:200], 50, seed=4)} != chosen


def test_a_sample_is_ascending_distinct_and_never_more_than_there_is():
    chosen = labelled_sample(IDS, 50, seed=0)
    assert len(chosen) == 50
    assert (np.diff(chosen) > 0).all()
    assert labelled_sample(IDS[:3], 50, seed=0).tolist() == [0, 1, 2]
    assert labelled_sample([], 5, seed=0).tolist() == []
    with pytest.raises(InputError, match="n_labelled"):
        labelled_sample(IDS, 0, seed=0)


def test_rank_correlation_by_hand():
    # ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4: covariance 4.5, variances 4.5 and 5
    found = spearman(np.array([0.1, 0.5, 0.5, 0.9]), np.array([1.0, 3.0, 2.0, 4.0]))
    assert found == pytest.approx(4.5 / np.sqrt(4.5 * 5), abs=1e-15)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20))
def test_rank_correlation_is_that_of_scipy(pairs):
    left, right = np.array(pairs, dtype=np.float64).T
    found = spearman(left, right)
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert found is None
    else:
        expected = scipy.stats.spearmanr(left, right).statistic
        assert found == pytest.approx(expected, abs=1e-12)


def test_rank_correlation_needs_two_numbers():
    assert spearman(np.array([1.0]), np.array([2.0])) is None
    with pytest.raises(InputError, match="NaN"):
        spearman(np.array([1.0, np.nan]), np.array([1.0, 2.0]))
    with pytest.raises(InputError, match="one length"):
        spearman(np.array([1.0]), np.array([1.0, 2.0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "forest"}, "head must be"),
        ({"penalty": 0.0}, "penalty"),
        ({"penalty": float("inf")}, "penalty"),
        ({"folds": 1}, "folds must be"),
    ],
)
def test_choices_outside_their_domain_are_refused(pool, changes, message):
    with pytest.raises(InputError, match=message):
        run(pool, **changes)


def test_arrays_that_do_not_fit_are_refused(pool):
    embeddings, labelled, labels, _ = pool
    bad = embeddings.copy()
    bad[3, 3] = np.nan
    off = labels.copy()
    off[0] = np.nan
    twice = labelled.copy()
    twice[1] = twice[0]
    for wrong, message in [
        ((embeddings[:-1], labelled, labels), "one row for each"),
        ((bad, labelled, labels), "finite"),
        ((embeddings, labelled[:-1], labels), "one label for each"),
        ((embeddings, twice, labels), "twice"),
        ((embeddings, labelled + 300, labels), r"positions in \[0, 300\)"),
        ((embeddings, labelled - 300, labels), r"positions in \[0, 300\)"),
        ((embeddings, labelled, off), r"labels must be in \[0, 1\]"),
        ((embeddings, labelled, labels + 1), r"labels must be in \[0, 1\]"),
        ((embeddings, labelled, np.full(120, 0.5)), "must differ"),
        ((embeddings, labelled[:0], labels[:0]), "must differ"),
        ((embeddings, labelled[:2], labels[:2]), "too few for 4 folds"),
    ]:
        with pytest.raises(InputError, match=message):
            run((*wrong, None))

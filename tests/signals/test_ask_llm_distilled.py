import dataclasses
import hashlib

import numpy as np
import pytest
import scipy.stats

from databourse.errors import InputError
from databourse.seeds import stage_seed
from databourse.signals.ask_llm_distilled import AskLlmDistilledParameters, documents_to_ask
from databourse.signals.folds import document_folds
from databourse.signals.inputs import QualityAnswers

ENTRY = {"name": "ask_llm_distilled", "labelled": 120}
N = 300


def answers(p_yes, yes_share=None):
    return QualityAnswers(p_yes=p_yes, yes_share=p_yes if yes_share is None else yes_share)


def asked_of(inputs, **choices):
    parameters = AskLlmDistilledParameters(**{"labelled": 120, **choices})
    return documents_to_ask(parameters, inputs.document_ids, inputs.seed)


@pytest.fixture(name="planted", scope="module")
def _planted():
    """Return vectors and answers that a line in them explains."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(N, 8))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return vectors, 1 / (1 + np.exp(-3 * vectors.astype(np.float64) @ rng.normal(size=8)))


def slow_ridge(vectors, labels, training, rows, penalty):
    """Solve the normal equations of ridge regression with an intercept that is not penalised."""
    inside = vectors[training].astype(np.float64)
    centre, mean = inside.mean(axis=0), labels[training].mean()
    centred = inside - centre
    gram = centred.T @ centred + penalty * np.eye(vectors.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (labels[training] - mean))
    return (vectors[rows].astype(np.float64) - centre) @ weights + mean


def test_every_value_is_a_prediction_of_a_head_that_did_not_see_the_answer(score, pool, planted):
    vectors, p_yes = planted
    inputs = pool(vectors, answers=answers(p_yes))
    asked = asked_of(inputs)
    expected = slow_ridge(vectors, p_yes, asked, range(N), 0.5)
    folds = document_folds(inputs.document_ids, 3)
    for fold in range(3):
        inside = asked[folds[asked] == fold]
        others = asked[folds[asked] != fold]
        expected[inside] = slow_ridge(vectors, p_yes, others, inside, 0.5)

    result = score({**ENTRY, "penalty": 0.5, "folds": 3}, inputs)

    np.testing.assert_allclose(result.values, expected, atol=1e-9)  # rounding of a solve
    held_out = scipy.stats.spearmanr(expected[asked], p_yes[asked]).statistic
    of_folds = [
        scipy.stats.spearmanr(expected[asked[rows]], p_yes[asked[rows]]).statistic
        for rows in (folds[asked] == fold for fold in range(3))
    ]
    assert result.details == {
        "held_out_spearman": pytest.approx(held_out, abs=1e-12),
        "lowest_fold_spearman": pytest.approx(min(of_folds), abs=1e-12),
        "highest_fold_spearman": pytest.approx(max(of_folds), abs=1e-12),
        "n_labelled": 120,
        "failed": 0,
    }


@pytest.mark.parametrize("head", ["ridge", "logistic"])
def test_documents_that_nobody_asked_about_are_ranked_as_their_answers_would_be(
    score, pool, planted, head
):
    vectors, p_yes = planted
    inputs = pool(vectors, answers=answers(p_yes))
    rest = np.setdiff1d(np.arange(N), asked_of(inputs))
    values = score({**ENTRY, "head": head}, inputs).values
    assert rest.size == N - 120
    assert scipy.stats.spearmanr(values[rest], p_yes[rest]).statistic > 0.97
    if head == "logistic":
        assert 0 < values.min() < values.max() < 1


def test_answers_of_chance_are_reported_as_not_learnt(score, pool, planted):
    chance = np.random.default_rng(8).random(N)
    result = score(ENTRY, pool(planted[0], answers=answers(chance)))
    assert abs(result.details["held_out_spearman"]) < 0.3  # 3.3 standard errors of 1 / sqrt(119)


def test_answers_about_other_documents_change_nothing(score, pool, planted):
    vectors, p_yes = planted
    inputs = pool(vectors, answers=answers(p_yes))
    rest = np.setdiff1d(np.arange(N), asked_of(inputs))
    expected = score(ENTRY, inputs)
    for other in (np.nan, 0.123):
        changed = p_yes.copy()
        changed[rest] = other
        found = score(ENTRY, pool(vectors, answers=answers(changed)))
        np.testing.assert_array_equal(found.values, expected.values)
        assert found.details == expected.details


def test_failed_answers_train_nothing_and_are_predicted_like_the_rest(score, pool, planted):
    vectors, p_yes = planted
    inputs = pool(vectors, answers=answers(p_yes))
    asked = asked_of(inputs)
    failed, learnt = asked[::4], np.setdiff1d(asked, asked[::4])
    partly = p_yes.copy()
    partly[failed] = np.nan
    result = score(ENTRY, pool(vectors, answers=answers(partly)))
    assert (result.details["n_labelled"], result.details["failed"]) == (90, 30)
    expected = slow_ridge(vectors, p_yes, learnt, failed, 1.0)
    np.testing.assert_allclose(result.values[failed], expected, atol=1e-9)


def test_the_measure_chooses_what_is_learnt(score, pool, planted):
    vectors, p_yes = planted
    both = pool(vectors, answers=answers(p_yes, 1 - p_yes))
    turned = pool(vectors, answers=answers(1 - p_yes))
    np.testing.assert_array_equal(
        score({**ENTRY, "measure": "yes_share"}, both).values, score(ENTRY, turned).values
    )


def test_the_documents_to_ask_are_those_with_the_smallest_hash_of_the_stage(pool):
    inputs = pool(n=N)
    seed = stage_seed(17, "ask_llm_distilled")

    def draw(each):
        return hashlib.blake2b(f"label\x1f{seed}\x1f{each}".encode(), digest_size=16).digest()

    smallest = sorted(inputs.document_ids, key=draw)[:120]
    found = asked_of(inputs)
    assert found.dtype == np.int64
    assert [inputs.document_ids[each] for each in found] == sorted(smallest)
    # head and measure ask about the same, so that answers are shared
    for choices in ({"head": "logistic"}, {"measure": "yes_share"}, {"folds": 3}):
        np.testing.assert_array_equal(asked_of(inputs, **choices), found)


def test_more_are_asked_about_in_addition_and_never_more_than_there_are(pool):
    inputs = pool(n=N)
    assert set(asked_of(inputs, labelled=60)) < set(asked_of(inputs, labelled=61))
    assert asked_of(inputs, labelled=301).tolist() == list(range(N))
    assert asked_of(dataclasses.replace(inputs, seed=18)).tolist() != asked_of(inputs).tolist()


@pytest.mark.parametrize(("n_failed", "refused"), [(70, False), (71, True), (120, True)])
def test_fewer_than_fifty_answers_are_refused(score, pool, planted, n_failed, refused):
    vectors, p_yes = planted
    partly = p_yes.copy()
    partly[asked_of(pool(n=N))[:n_failed]] = np.nan
    inputs = pool(vectors, answers=answers(partly))
    if refused:
        message = rf"at least 50 answers are needed .* got {120 - n_failed} about 120 of 300"
        with pytest.raises(InputError, match=message):
            score(ENTRY, inputs)
    else:
        assert score(ENTRY, inputs).details["n_labelled"] == 50


def test_answers_that_are_all_equal_are_refused(score, pool, planted):
    with pytest.raises(InputError, match=r"signal 'ask_llm_distilled': labels must differ"):
        score(ENTRY, pool(planted[0], answers=answers(np.full(N, 0.5))))


def test_a_head_that_tells_nothing_apart_is_refused(score, pool, unit):
    # equal vectors, and as many answers of 1/4 as of 3/4 in every fold: all are predicted as 1/2
    inputs = pool(unit(np.ones((100, 4))))
    folds = document_folds(inputs.document_ids, 5)
    p_yes = np.full(100, np.nan)
    for fold in range(5):
        members = np.flatnonzero(folds == fold)
        half = len(members) // 2
        p_yes[members[:half]], p_yes[members[half : 2 * half]] = 0.25, 0.75
    with pytest.raises(InputError, match="the head must tell documents apart"):
        score(ENTRY, dataclasses.replace(inputs, answers=answers(p_yes)))


def test_progress_adds_up_to_the_documents(score, pool, planted):
    told = []
    score(ENTRY, pool(planted[0], answers=answers(planted[1]), progress=told.append))
    assert sum(told) == N

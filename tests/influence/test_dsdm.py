"""DsDm selection: mixes by hand, budgets, controls, and rounds that see redundancy."""

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.influence import dsdm, trak
from databourse.influence.dsdm import dsdm_values, select_bottom, select_in_rounds, select_top
from databourse.influence.trak import RowBlock, TrakEnsemble

TOKENS = np.array([10, 20, 40])
VALUES = {"qa": np.array([1.0, 2.0, 3.0]), "code": np.array([100.0, -300.0, 200.0])}


def test_plain_mixes_are_hand_computed_means():
    per_document = dsdm_values(VALUES, TOKENS, mix="plain", per="document")
    per_token = dsdm_values(VALUES, TOKENS, mix="plain", per="token")

    np.testing.assert_allclose(per_document, [50.5, -149.0, 101.5])
    np.testing.assert_allclose(per_token, [5.05, -7.45, 2.5375])


def test_a_z_scored_mix_is_the_hand_computed_mean_of_z_scores():
    # qa: mean 2, sd sqrt(2/3); code: mean 0, sd sqrt(140000/3)
    mixed = dsdm_values(VALUES, TOKENS, mix="z_scored", per="document")

    qa, code = np.sqrt(2 / 3), np.sqrt(140_000 / 3)
    expected = [(-1 / qa + 100 / code) / 2, (-300 / code) / 2, (1 / qa + 200 / code) / 2]
    np.testing.assert_allclose(mixed, expected, rtol=1e-12)


def test_values_per_token_are_standardised_after_the_division():
    per_token = dsdm_values(VALUES, TOKENS, mix="z_scored", per="token")

    divided = {name: values / TOKENS for name, values in VALUES.items()}
    expected = dsdm_values(divided, TOKENS, mix="z_scored", per="document")
    np.testing.assert_allclose(per_token, expected, rtol=1e-12)


@pytest.mark.parametrize("per", ["token", "document"])
def test_of_one_target_both_mixes_give_one_order(per):
    rng = np.random.default_rng(0)
    values, tokens = {"qa": rng.normal(size=200)}, rng.integers(1, 90, 200)

    orders = [
        np.argsort(dsdm_values(values, tokens, mix=mix, per=per)) for mix in ("plain", "z_scored")
    ]

    np.testing.assert_array_equal(*orders)


def test_a_target_with_large_gradients_rules_the_plain_mix_alone():
    rng = np.random.default_rng(1)
    quiet, loud = rng.normal(size=300), rng.normal(size=300)
    ones = np.ones(300, dtype=int)

    def order(mix, factor):
        values = {"quiet": quiet, "loud": factor * loud}
        return np.argsort(-dsdm_values(values, ones, mix=mix, per="document")).tolist()

    assert order("z_scored", 1.0) == order("z_scored", 1e4)
    assert order("plain", 1e8) == np.argsort(-loud).tolist()
    assert order("plain", 1.0) != order("plain", 1e4)


def test_mixes_are_compared_by_rank_spread_and_shared_tokens():
    # plain means of code alone rank 2, 0, 1; z-scores rank 2, 0, 1 too: 60 tokens buy 2 and 0
    same = dsdm.compare_mixes(VALUES, TOKENS, per="document", budget_tokens=60)
    assert same.rank_correlation == pytest.approx(1.0)
    assert same.shared_tokens == 1.0
    assert same.spread_by_target["qa"] == pytest.approx(np.sqrt(2 / 3))
    assert same.spread_by_target["code"] == pytest.approx(np.sqrt(140_000 / 3))

    # plain means 0.67, 30, 0; z-scores 0.71, 0, -0.71: 20 tokens buy document 1, or 0 alone
    values = {
        "a": np.array([1.0, 0.0, 0.0]),
        "b": np.array([1.0, 0.0, 0.0]),
        "loud": np.array([0.0, 90.0, 0.0]),
    }
    other = dsdm.compare_mixes(values, TOKENS, per="document", budget_tokens=20)
    assert other.shared_tokens == 0.0
    assert other.rank_correlation == pytest.approx(0.5)
    nothing = dsdm.compare_mixes(VALUES, TOKENS, per="document", budget_tokens=0)
    assert nothing.shared_tokens == 1.0


def test_the_best_that_fit_are_selected_best_first():
    values = np.array([0.1, 0.9, 0.5, 0.7, 0.9])
    tokens = np.array([5, 50, 20, 30, 40])

    # of equal values the shorter first: 4, then 1 does not fit, 3 does, 2 does not, and 0 does
    assert select_top(values, tokens, budget_tokens=85).tolist() == [4, 3, 0]
    assert select_top(values, tokens, budget_tokens=90).tolist() == [4, 1]
    assert select_bottom(values, tokens, budget_tokens=60).tolist() == [0, 2, 3]
    assert select_top(values, tokens, budget_tokens=0).tolist() == []


def test_with_documents_of_one_token_it_is_the_top_k():
    values = np.random.default_rng(2).normal(size=50)
    ones = np.ones(50, dtype=int)

    top = select_top(values, ones, budget_tokens=7)
    bottom = select_bottom(values, ones, budget_tokens=7)

    assert top.tolist() == np.argsort(-values)[:7].tolist()
    assert bottom.tolist() == np.argsort(values)[:7].tolist()


def test_averaging_values_equals_scoring_the_mean_target():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(60, 8)).astype(np.float32)
    targets = {name: rng.normal(size=(m, 8)) for name, m in (("qa", 5), ("code", 30))}

    def scored(target_features):
        ensemble = TrakEnsemble(n_documents=60, n_targets=len(target_features), output="loss")
        ensemble.add(
            lambda: [RowBlock(np.arange(60), features)], target_features, features_id="proxy"
        )
        return ensemble.values().values

    shortcut = scored(trak.mean_features(targets))
    values = {name: scored(rows).mean(axis=1) for name, rows in targets.items()}

    for column, name in enumerate(targets):
        np.testing.assert_allclose(shortcut[:, column], values[name], rtol=1e-6, atol=1e-12)
    ones = np.ones(60, dtype=int)
    np.testing.assert_allclose(
        dsdm_values(
            dict(zip(targets, shortcut.T, strict=True)), ones, mix="z_scored", per="document"
        ),
        dsdm_values(values, ones, mix="z_scored", per="document"),
        rtol=1e-6,
        atol=1e-9,
    )


def test_a_selection_does_not_depend_on_the_order_of_the_pool():
    rng = np.random.default_rng(4)
    values = {"qa": rng.normal(size=80), "code": 5 * rng.normal(size=80)}
    tokens, order = rng.integers(1, 40, 80), rng.permutation(80)
    reordered = {name: column[order] for name, column in values.items()}

    for mix in ("plain", "z_scored"):
        here = select_top(
            dsdm_values(values, tokens, mix=mix, per="token"), tokens, budget_tokens=300
        )
        there = select_top(
            dsdm_values(reordered, tokens[order], mix=mix, per="token"),
            tokens[order],
            budget_tokens=300,
        )
        assert order[there].tolist() == here.tolist()


# A model that can be refitted: ridge regression, whose target needs two directions


class RidgePool:
    """60 copies of a document along one direction, 20 along another; targets need both."""

    def __init__(self, rng):
        directions = np.repeat(np.eye(2), [60, 20], axis=0)
        self.inputs = directions + 0.01 * rng.normal(size=(80, 2))
        self.answers = self.inputs @ np.array([1.2, 1.0])
        self.tokens = np.full(80, 3)

    def fit(self, documents):
        x, y = self.inputs[documents], self.answers[documents]
        return np.linalg.solve(x.T @ x + np.eye(2), x.T @ y), x.T @ x + np.eye(2)

    def target_loss(self, documents):
        weights, _ = self.fit(documents)
        return float(((weights - [1.2, 1.0]) ** 2).sum() / 2)

    def score(self, documents):
        """Return the first-order effect of each document on the target loss, larger is better."""
        weights, curvature = self.fit(documents)
        gradients = (self.inputs @ weights - self.answers)[:, None] * self.inputs
        return gradients @ np.linalg.solve(curvature, weights - [1.2, 1.0])


def test_rounds_see_redundancy_that_one_ranking_does_not():
    pool = RidgePool(np.random.default_rng(5))
    seed_set = np.array([0, 60])  # one of each kind
    once = select_top(pool.score(seed_set), pool.tokens, budget_tokens=60)

    rounds = select_in_rounds(
        pool.score, pool.tokens, budget_tokens=60, n_rounds=10, rng=np.random.default_rng(1)
    )

    assert once.size == rounds.positions.size == 20
    assert (once < 60).all()  # one ranking takes copies of the steeper direction alone
    assert (rounds.positions >= 60).sum() >= 5
    assert pool.target_loss(rounds.positions) < 0.1 * pool.target_loss(once)


def test_the_top_lowers_the_target_loss_and_the_bottom_raises_it():
    rng = np.random.default_rng(6)
    inputs, truth = rng.normal(size=(120, 4)), rng.normal(size=4)
    answers = inputs @ truth + 0.1 * rng.normal(size=120)
    answers[:40] = inputs[:40] @ -truth  # a third of the pool answers wrongly
    targets = rng.normal(size=(50, 4))

    def fitted(documents):
        x = inputs[documents]
        return np.linalg.solve(x.T @ x + np.eye(4), x.T @ answers[documents])

    def target_loss(documents):
        return float(((targets @ (fitted(documents) - truth)) ** 2).mean())

    weights = fitted(np.arange(120))
    features = (inputs @ weights - answers)[:, None] * inputs
    target_features = (targets @ (weights - truth))[:, None] * targets
    ensemble = TrakEnsemble(n_documents=120, n_targets=1, output="loss")
    ensemble.add(
        lambda: [RowBlock(np.arange(120), features)],
        trak.mean_features({"all": target_features}),
        features_id="proxy",
    )
    ones = np.ones(120, dtype=int)
    values = dsdm_values({"all": ensemble.values().values[:, 0]}, ones, mix="plain", per="document")

    top = target_loss(select_top(values, ones, budget_tokens=30))
    bottom = target_loss(select_bottom(values, ones, budget_tokens=30))
    draws = [target_loss(rng.permutation(120)[:30]) for _ in range(20)]

    assert top < np.mean(draws) - 2 * np.std(draws)
    assert bottom > np.mean(draws) + 2 * np.std(draws)


def test_each_round_spends_its_share_on_the_best_of_the_rest():
    tokens = np.array([4, 4, 4, 4, 4, 4, 4, 4, 4, 4])
    asked = []

    def score(documents):
        asked.append(documents.tolist())
        return np.arange(10.0) * (-1) ** len(asked)  # later documents last, then first

    result = select_in_rounds(
        score, tokens, budget_tokens=24, n_rounds=3, rng=np.random.default_rng(0)
    )

    drawn = result.positions[:2].tolist()
    rest = [document for document in range(10) if document not in drawn]
    assert result.rounds.tolist() == [0, 0, 1, 1, 2, 2]
    assert result.positions[2:4].tolist() == rest[:2]
    assert result.positions[4:].tolist() == rest[::-1][:2]
    assert asked == [sorted(drawn), sorted([*drawn, *rest[:2]])]
    assert result.tokens == 24


def test_what_a_round_could_not_spend_is_spent_later():
    # 20 tokens in 4 rounds on documents of 3: up to 5, 10, 15 and 20 buy 1, 3, 5 and 6 of them
    result = select_in_rounds(
        lambda documents: np.arange(9.0),
        np.full(9, 3),
        budget_tokens=20,
        n_rounds=4,
        rng=np.random.default_rng(0),
    )

    assert result.rounds.tolist() == [0, 1, 1, 2, 2, 3]
    assert result.tokens == 18


def test_rounds_never_overspend_and_pass_on_what_is_left():
    rng = np.random.default_rng(7)
    tokens = rng.integers(1, 30, 60)
    for n_rounds in (1, 2, 5):
        result = select_in_rounds(
            lambda documents: rng.normal(size=60),
            tokens,
            budget_tokens=200,
            n_rounds=n_rounds,
            rng=np.random.default_rng(n_rounds),
        )
        assert len(set(result.positions.tolist())) == result.positions.size
        assert result.tokens == tokens[result.positions].sum() <= 200
        left = np.setdiff1d(np.arange(60), result.positions)
        assert tokens[left].min() > 200 - result.tokens  # nothing left out would fit


def test_one_round_is_random_and_asks_nobody():
    def score(documents):
        raise AssertionError

    picks = [
        select_in_rounds(
            score,
            np.ones(30, dtype=int),
            budget_tokens=10,
            n_rounds=1,
            rng=np.random.default_rng(seed),
        ).positions.tolist()
        for seed in (0, 0, 1)
    ]

    assert picks[0] == picks[1] != picks[2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"values_by_target": {}}, "at least one target set, got none"),
        ({"values_by_target": {"qa": np.ones(2)}}, "for each of 3 documents, got shape \\(2,\\)"),
        ({"values_by_target": {"qa": np.array([1, np.nan, 2])}}, "got nan at position 1"),
        ({"values_by_target": {"qa": np.ones(3)}}, "the same for every document: no z-score"),
        ({"tokens": np.array([1, 0, 2])}, "must cost at least 1"),
        ({"tokens": np.array([1.0, 2.0, 3.0])}, "costs must be a vector of integers"),
        ({"mix": "median"}, "mix must be z_scored or plain, got 'median'"),
        ({"per": "byte"}, "per must be token or document, got 'byte'"),
    ],
)
def test_malformed_mixes_are_refused(change, said):
    arguments = {
        "values_by_target": VALUES,
        "tokens": TOKENS,
        "mix": "z_scored",
        "per": "document",
        **change,
    }
    with pytest.raises(InputError, match=said):
        dsdm_values(
            arguments["values_by_target"],
            arguments["tokens"],
            mix=arguments["mix"],
            per=arguments["per"],
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_rounds": 0}, "n_rounds must be >= 1"),
        ({"budget_tokens": 0}, "budget_tokens and n_rounds must be >= 1"),
        ({"budget_tokens": 12, "n_rounds": 2}, "round 0 may spend 6 tokens"),
        ({"score": lambda documents: np.ones(2)}, "the values of score must be one number"),
        ({"score": lambda documents: np.full(3, np.inf)}, "got inf at position 0"),
    ],
)
def test_rounds_that_cannot_be_are_refused(change, said):
    arguments = {
        "score": lambda documents: np.ones(3),
        "budget_tokens": 70,
        "n_rounds": 2,
        **change,
    }
    with pytest.raises(InputError, match=said):
        select_in_rounds(
            arguments["score"],
            TOKENS,
            budget_tokens=arguments["budget_tokens"],
            n_rounds=arguments["n_rounds"],
            rng=np.random.default_rng(0),
        )

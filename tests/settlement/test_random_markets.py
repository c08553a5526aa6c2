"""What random markets buy, and what models trained on it say of documents."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from databourse.errors import InputError
from databourse.settlement import random_markets
from databourse.settlement.random_markets import random_market_picks, worth_of_documents


def market(seed=0, n=300, k=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)), rng.integers(5, 60, n)


def picks_of(scores, costs, **settings):
    asked = {"budget": 1_500, "n_markets": 60, "heat": 1.0, "least_share": 0.5, "seed": 1}
    asked |= settings
    rng = np.random.default_rng(asked.pop("seed"))
    return random_market_picks(scores, costs, rng=rng, **asked)


def test_no_market_spends_more_than_the_budget_or_less_than_its_least_share_allows():
    scores, costs = market()
    spent = picks_of(scores, costs) @ costs
    assert (spent <= 1_500).all()
    assert (spent > 750 - costs.max()).all()
    assert np.ptp(spent) > 300


def test_the_same_seed_buys_the_same_and_another_one_does_not():
    scores, costs = market()
    assert (picks_of(scores, costs) == picks_of(scores, costs)).all()
    assert (picks_of(scores, costs) != picks_of(scores, costs, seed=2)).any()


def test_markets_without_heat_buy_any_document_as_often_as_any_other():
    scores, _ = market(n=60)
    picks = picks_of(
        scores, np.ones(60, dtype=np.int64), heat=0.0, budget=15, least_share=1.0, n_markets=4_000
    )
    # 15 of 60 each time: binomial sd of a frequency is sqrt(.25 * .75 / 4000) = 0.0068
    assert np.abs(picks.mean(axis=0) - 0.25).max() < 4 * 0.0068


def test_one_trader_market_draws_in_proportion_to_its_price():
    scores = np.array([[0.0], [np.log(3.0)]])
    picks = picks_of(scores, np.ones(2, dtype=np.int64), budget=1, least_share=1.0, n_markets=8_000)
    # The direction is +1 or -1, each half of the time: the dear one is bought 3/4, then 1/4.
    of_dear = picks[:, 1]
    assert of_dear.mean() == pytest.approx(0.5, abs=4 * 0.0056)
    rng = np.random.default_rng(1)
    up = []
    for _ in range(8_000):
        up.append(rng.standard_normal(1)[0] > 0)
        rng.uniform(1.0, 1.0)
        rng.uniform(0.0, 0.0)
        rng.gumbel(size=2)
    assert of_dear[np.array(up)].mean() == pytest.approx(0.75, abs=4 * 0.0069)


def test_markets_with_a_length_bias_buy_as_short_documents_as_a_selection_with_it():
    scores, costs = market()

    def lengths(bias):
        picks = picks_of(scores, costs, heat=0.0, length_bias=bias, n_markets=300)
        return (picks @ costs) / picks.sum(axis=1)

    plain, biased = lengths(0.0), lengths(2.0)
    rng = np.random.default_rng(8)
    # By the same rule at the far end: prices all alike, in descending order of noise - 2 ln c.
    keys = rng.gumbel(size=(300, 300)) - 2.0 * np.log(costs)
    order = np.argsort(-keys, axis=1)
    at_most = np.array([costs[each[np.cumsum(costs[each]) <= 1_000]].mean() for each in order])
    assert biased.min() < np.percentile(at_most, 75)
    assert biased.mean() < plain.mean() - 2
    assert np.ptp(biased) > np.ptp(plain)


def test_a_market_whose_documents_are_all_too_dear_buys_one_it_can_afford():
    scores = np.zeros((2, 1))
    costs = np.array([10, 1_000])
    picks = picks_of(scores, costs, budget=10, least_share=0.1, n_markets=20)
    assert picks.tolist() == [[True, False]] * 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"least_share": 0.0}, "least_share"),
        ({"heat": float("nan")}, "heat"),
        ({"length_bias": -1.0}, "length_bias"),
        ({"budget": 4}, "no document fits"),
    ],
)
def test_markets_that_cannot_be_are_refused(settings, message):
    scores, costs = market()
    with pytest.raises(InputError, match=message):
        picks_of(scores, costs, **settings)


def outcomes(scores, costs, picks, *, own=0.0, noise=0.0, token_value=0.0, seed=5):
    """Return losses of models, and what each document was worth to them."""
    rng = np.random.default_rng(seed)
    worth = scores @ np.array([1.0, -0.5, 0.0]) + own * rng.normal(size=len(scores))
    worth += token_value * costs
    gain = 2.0 + picks @ worth / 100 + noise * rng.normal(size=len(picks))
    return -gain, worth


def test_worth_that_signals_foresee_is_found_from_few_markets():
    scores, costs = market()
    picks = picks_of(scores, costs, n_markets=25)
    losses, worth = outcomes(scores, costs, picks, noise=0.02)
    found = worth_of_documents(picks, losses, scores=scores, costs=costs)
    assert found.signal_share >= 0.9
    assert found.explained > 0.9
    assert spearmanr(found.values, worth).statistic > 0.95


def test_worth_that_no_signal_foresees_is_found_from_many_markets():
    scores, costs = market(n=60)
    picks = picks_of(scores, costs, n_markets=300, budget=600, heat=0.3)
    rng = np.random.default_rng(3)
    worth = rng.normal(size=60)
    found = worth_of_documents(picks, -(picks @ worth), scores=scores, costs=costs)
    assert found.signal_share <= 0.25
    assert np.corrcoef(found.values, worth)[0, 1] > 0.95


def test_the_value_of_a_token_is_part_of_what_a_document_is_worth():
    scores, costs = market()
    picks = picks_of(scores, costs)
    losses, worth = outcomes(scores, costs, picks, token_value=0.3)
    found = worth_of_documents(picks, losses, scores=scores, costs=costs)
    assert found.token_value == pytest.approx(0.3 / 100, rel=0.1)
    assert np.corrcoef(found.values, worth)[0, 1] > 0.98


def test_markets_that_spend_the_same_say_nothing_of_the_value_of_a_token():
    scores, _ = market()
    costs = np.full(300, 10)
    picks = picks_of(scores, costs, least_share=1.0)
    losses, _ = outcomes(scores, costs, picks)
    assert worth_of_documents(picks, losses, scores=scores, costs=costs).token_value == 0.0


def test_losses_that_have_nothing_to_do_with_picks_explain_nothing():
    scores, costs = market()
    explained = []
    for seed in range(8):
        picks = picks_of(scores, costs, seed=seed)
        losses = np.random.default_rng(100 + seed).normal(size=len(picks))
        found = worth_of_documents(picks, losses, scores=scores, costs=costs)
        explained.append(found.explained)
    assert np.mean(explained) < 0.15


def test_the_error_of_a_fit_is_that_of_leaving_each_market_out(monkeypatch):
    """Against as many fits as there are markets, by generalised least squares, at one prior."""
    scores, costs = market(n=40)
    picks = picks_of(scores, costs, budget=300, n_markets=12)
    losses, _ = outcomes(scores, costs, picks, own=0.5, noise=0.1)
    share, noise = 0.5, 0.1
    monkeypatch.setattr(random_markets, "SIGNAL_SHARES", (share,))
    monkeypatch.setattr(random_markets, "NOISE_RATIOS", (noise,))
    found = worth_of_documents(picks, losses, scores=scores, costs=costs)

    masks = picks.astype(float)
    free = np.column_stack([np.ones(12), masks @ costs - (masks @ costs).mean()])
    left = np.eye(12) - free @ np.linalg.pinv(free)
    by_signal, by_document = left @ masks @ scores, left @ masks
    prior = share * scores @ scores.T * 12 / np.trace(by_signal @ by_signal.T) + (
        1 - share
    ) * np.eye(40) * 12 / np.trace(by_document @ by_document.T)

    def fitted(rows):
        """Return free coefficients and worth by the normal equations of the penalised problem."""
        f, x, y = free[rows], masks[rows], -losses[rows]
        system = np.block([[f.T @ f, f.T @ x], [x.T @ f, x.T @ x + noise * np.linalg.inv(prior)]])
        solved = np.linalg.solve(system, np.concatenate([f.T @ y, x.T @ y]))
        return solved[:2], solved[2:]

    every = np.arange(12)
    alone = []
    for place in every:
        coefficients, worth = fitted(every[every != place])
        alone.append(-losses[place] - free[place] @ coefficients - masks[place] @ worth)
    gain = -losses
    expected = 1 - np.sum(np.square(alone)) / np.sum((gain - gain.mean()) ** 2)
    assert found.explained == pytest.approx(expected, rel=1e-6)
    coefficients, worth = fitted(every)
    np.testing.assert_allclose(found.values, worth + coefficients[1] * costs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, y, z: (p[:3], y[:3], z), "at least 4 picks"),
        (lambda p, y, z: (p, y[:-1], z), "a loss each"),
        (lambda p, y, z: (p, y, z[:-1]), "scores of every document"),
        (lambda p, y, z: (p, np.where(np.arange(len(y)) == 2, np.nan, y), z), "finite"),
    ],
)
def test_outcomes_that_do_not_fit_are_refused(change, message):
    scores, costs = market()
    picks = picks_of(scores, costs)
    picks, losses, scores = change(picks, np.ones(len(picks)), scores)
    with pytest.raises(InputError, match=message):
        worth_of_documents(picks, losses, scores=scores, costs=costs)

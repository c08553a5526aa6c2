"""The worked example, number for number, by the Python market and by the SQL market."""

import numpy as np
import pytest

from databourse.market.clearing import clear_market
from databourse.market.liquidity import EffectiveShare
from databourse.selection.greedy import buy_within_budget, order_by_price_per_token

# The example is printed to six decimals.
SIX = {"rtol": 0, "atol": 5.1e-7}

SHARES = [-0.402492, -0.304615, 0.290100, 0.417007, 0.424264, 0.400240, -0.824504]
PRICE_IN_TOPIC = [0.088014, 0.107045, 0.351666, 0.453274, 0.491310, 0.468262, 0.040429]
PRICE = {
    "proportional": [0.050294, 0.061169, 0.200952, 0.259014, 0.210561, 0.200684, 0.017327],
    "balanced": [0.044007, 0.053523, 0.175833, 0.226637, 0.245655, 0.234131, 0.020214],
}
POOL_SIZE = {"proportional": 5.033951, "balanced": 4.934492}

# mass, length bias, order, bought with 170 tokens by stop, by skip, with 300 tokens by skip
BOUGHT = [
    ("proportional", 0.0, "decfbag", ("de", 120), ("deb", 170), ("defb", 290)),
    ("proportional", 1.0, "edfbcag", ("ed", 120), ("edb", 170), ("edfb", 290)),
    ("balanced", 0.0, "efdcbag", ("ef", 160), ("ef", 160), ("efdb", 290)),
    ("balanced", 1.0, "edfbcag", ("ed", 120), ("edb", 170), ("edfb", 290)),
]


@pytest.fixture(params=["python", "sql"])
def clear(request, golden, open_bourse):
    """Return a function that clears the example by one of the two markets, in order of document."""

    def in_python(**choices):
        market = clear_market(**golden.arrays, **choices)
        order = order_by_price_per_token(market.log_price_per_token, market_tokens, golden.ids)
        return {
            "shares": market.shares,
            "price": np.exp(market.log_price),
            "order": "".join(golden.ids[position] for position in order),
            "size": market.effective_sample_size,
            "pool_size": market.pool_effective_sample_size(),
            "liquidity": market.liquidity,
        }

    def in_sql(**choices):
        bourse = open_bourse()
        bourse.fill(golden.ids, golden.topics, golden.tokens, golden.signals)
        summary = bourse.clear(weights=golden.weight_of, **choices)
        return {
            "shares": bourse.by_document("shares"),
            "price": np.exp(bourse.by_document("log_price")),
            "order": "".join(bourse.ranked()["document_id"]),
            "size": [topic.effective_sample_size for topic in summary.topics],
            "pool_size": summary.pool_effective_sample_size(),
            "liquidity": [topic.liquidity for topic in summary.topics],
        }

    market_tokens = np.array(golden.tokens)
    return {"python": in_python, "sql": in_sql}[request.param]


@pytest.mark.parametrize("mass", PRICE)
def test_shares_prices_and_sizes_are_those_of_the_example(clear, mass):
    market = clear(liquidity=0.5, topic_mass=mass, length_bias=0.0)

    np.testing.assert_allclose(market["shares"], SHARES, **SIX)
    np.testing.assert_allclose(market["price"], PRICE[mass], **SIX)
    np.testing.assert_allclose(market["size"], [2.870827, 2.163150], **SIX)
    np.testing.assert_allclose(market["pool_size"], POOL_SIZE[mass], **SIX)


def test_price_within_the_topic_is_the_price_over_the_mass(clear):
    market = clear(liquidity=0.5, topic_mass="balanced", length_bias=0.0)

    np.testing.assert_allclose(market["price"] * 2, PRICE_IN_TOPIC, rtol=0, atol=1.1e-6)


def test_liquidity_for_two_effective_documents_of_four_is_that_of_the_example(clear):
    market = clear(liquidity=EffectiveShare(0.5), topic_mass="balanced", length_bias=0.0)

    np.testing.assert_allclose(market["liquidity"][0], 0.219887, **SIX)
    np.testing.assert_allclose(market["size"], [2.0, 1.5], rtol=1e-9)


@pytest.mark.parametrize("row", BOUGHT, ids=str)
def test_budget_buys_the_documents_of_the_example(clear, golden, row):
    mass, length_bias, order, stop, skip, skip_more = row
    market = clear(liquidity=0.5, topic_mass=mass, length_bias=length_bias)
    costs = np.array([golden.tokens[golden.ids.index(name)] for name in market["order"]])

    def bought(budget, rule):
        is_bought = buy_within_budget(costs=costs, budget=budget, rule=rule)
        names = "".join(np.array(list(market["order"]))[is_bought])
        return names, int(costs[is_bought].sum())

    assert market["order"] == order
    assert bought(170, "stop") == stop
    assert bought(170, "skip") == skip
    assert bought(300, "skip") == skip_more

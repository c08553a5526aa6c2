"""What is said would change a document's fate does change it, on the real market."""

import numpy as np
import pytest


def left_and_bought(market):
    is_bought, _ = market.bought(market.cleared().log_price_per_token)
    return np.flatnonzero(~is_bought).tolist(), np.flatnonzero(is_bought).tolist()


def stories_of(store, market, numbers, most=3):
    """Return the stories of some documents, spread evenly over those given."""
    numbers = list(numbers)
    some = numbers[:: -(-len(numbers) // most)]
    return {number: store.explain(market.ids[number]) for number in some}


def with_orders(market, number, shares):
    """Return the prices per token after so many more shares of one document were bought."""
    standing = market.cleared().shares.copy()
    standing[number] += shares
    return market.log_price_per_token(standing)


@pytest.mark.parametrize(
    ("kind", "bias", "rule"),
    [
        ("tokens", 1.0, "skip"),
        ("tokens", 0.5, "stop"),
        ("documents", 0.5, "skip"),
        ("share", 0.0, "skip"),
    ],
)
def test_suggested_shares_bring_a_document_exactly_to_its_target(
    store, market_of, kind, bias, rule
):
    amount = {"tokens": 120, "documents": 6, "share": 0.3}[kind]
    market = market_of(
        3,
        kind=kind,
        amount=amount,
        length_bias=bias,
        rule=rule,
        settings={"selection": {"rule": rule}},
    )
    store.add_market(market)

    reached = 0
    for number, story in stories_of(store, market, range(market.n), 6).items():
        change = story.change
        if change.shares is None:
            assert change.remarks
            continue
        after = with_orders(market, number, change.shares)
        assert after[number] == pytest.approx(change.target_log_price_per_token, abs=1e-9)
        reached += 1
    assert reached > 3


def test_each_suggested_signal_value_alone_places_the_suggested_order(store, market_of):
    market = market_of(5, amount=120)
    store.add_market(market)
    weights = market.weights / market.weights.sum()

    for number, story in stories_of(store, market, range(market.n)).items():
        of_topic = market.values[market.topic_index == market.topic_index[number]]
        for trader, signal in enumerate(story.signals):
            if story.change.shares is None:
                assert signal.needed_value is None
                continue
            z = (signal.needed_value - of_topic[:, trader].mean()) / of_topic[:, trader].std()
            before = (market.values[number, trader] - of_topic[:, trader].mean()) / of_topic[
                :, trader
            ].std()
            more = weights[trader] * (z - before)
            after = with_orders(market, number, more)[number]
            assert after == pytest.approx(story.change.target_log_price_per_token, abs=1e-8)


@pytest.mark.parametrize("seed", range(2))
def test_a_left_document_is_bought_just_above_its_target_and_not_below(store, market_of, seed):
    market = market_of(seed, amount=150)
    store.add_market(market)
    prices = market.cleared().log_price_per_token

    for number, story in stories_of(store, market, left_and_bought(market)[0]).items():
        for step, expected in ((1e-7, True), (-1e-7, False)):
            changed = prices.copy()
            changed[number] = story.change.target_log_price_per_token + step
            assert market.bought(changed)[0][number] == expected


def test_a_purchase_that_leaves_just_enough_is_not_the_one_to_beat(store, market_of, changed):
    # 6 of 10 tokens go to the first and leave 4, which the second takes: the third must beat that
    market = changed(
        market_of(0, n=3),
        values=np.array([[3.0], [2.0], [1.0]]),
        topic_index=np.array([0, 0, 0]),
        tokens=np.array([6, 4, 4]),
        weights=np.array([1.0]),
        length_bias=0.0,
        amount=10,
    )
    cleared, _, _ = store.add_market(market)

    change = store.explain(market.ids[2]).change

    assert change.target_log_price_per_token == cleared.log_price_per_token[1]


@pytest.mark.parametrize("seed", range(2))
def test_under_the_stop_rule_a_left_document_is_bought_just_above_its_target(
    store, market_of, seed
):
    market = market_of(seed, amount=150, rule="stop", settings={"selection": {"rule": "stop"}})
    store.add_market(market)
    prices = market.cleared().log_price_per_token

    for number, story in stories_of(store, market, left_and_bought(market)[0]).items():
        changed = prices.copy()
        changed[number] = story.change.target_log_price_per_token + 1e-7
        assert market.bought(changed)[0][number]


@pytest.mark.parametrize(("bias", "seed"), [(1.0, 0), (0.5, 1), (0.0, 0)])
def test_the_suggested_length_is_the_longest_that_the_skip_rule_buys(store, market_of, bias, seed):
    market = market_of(seed, amount=150, length_bias=bias)
    store.add_market(market)
    log_price = market.cleared().log_price

    for number, story in stories_of(store, market, left_and_bought(market)[0]).items():
        buys = []
        for length in range(1, int(market.tokens[number])):
            tokens = market.tokens.copy()
            tokens[number] = length
            prices = log_price - bias * np.log(tokens)
            if market.bought(prices, tokens=tokens)[0][number]:
                buys.append(length)
        assert story.change.tokens == max(buys, default=None)


def test_the_suggested_length_is_bought_under_the_stop_rule(store, market_of):
    market = market_of(2, amount=150, rule="stop", settings={"selection": {"rule": "stop"}})
    store.add_market(market)
    log_price = market.cleared().log_price

    suggested = 0
    for number, story in stories_of(store, market, left_and_bought(market)[0]).items():
        if story.change.tokens is None:
            continue
        tokens = market.tokens.copy()
        tokens[number] = story.change.tokens
        assert market.bought(log_price - np.log(tokens), tokens=tokens)[0][number]
        suggested += 1
    assert suggested


def test_where_documents_are_counted_the_suggested_length_is_bought_and_one_more_is_not(
    store, market_of
):
    market = market_of(2, kind="documents", amount=5)
    store.add_market(market)
    log_price = market.cleared().log_price

    for number, story in stories_of(store, market, left_and_bought(market)[0]).items():
        suggested = story.change.tokens or 0
        for length, expected in ((suggested, True), (suggested + 1, False)):
            tokens = market.tokens.copy()
            tokens[number] = length
            if length:
                bought, _ = market.bought(log_price - np.log(tokens), tokens=tokens)
                assert bought[number] == expected


@pytest.mark.parametrize("kind", ["tokens", "documents", "share"])
def test_the_suggested_budget_buys_the_document_under_both_rules(store, market_of, kind):
    amount = {"tokens": 60, "documents": 3, "share": 0.15}[kind]
    market = market_of(4, kind=kind, amount=amount)
    store.add_market(market)
    prices = market.cleared().log_price_per_token

    for number, story in stories_of(store, market, range(market.n)).items():
        change = story.change
        assert (change.budget_share is None) == (kind != "share")
        if kind == "documents":
            assert change.budget == story.price.price_rank
        larger = change.budget_share if kind == "share" else change.budget
        for rule in ("skip", "stop"):
            assert market.bought(prices, amount=larger, rule=rule)[0][number]


@pytest.mark.parametrize(
    ("settings", "reason", "expected"),
    [
        ({"topic_cap": 1.0}, "topic_cap", "the cap on its topic"),
        ({"source_cap": {"rows": 0.5}}, "source_cap", "selection.source_cap"),
        ({"diversity": 0.3}, "did_not_fit", "diversity"),
        ({"topic_floor": 0.5}, "did_not_fit", "floors and caps"),
        ({"best_single": True}, "did_not_fit", "the best single document"),
        ({"method": "sample"}, "not_drawn", "its chance was 25.00%"),
    ],
)
def test_where_more_than_the_price_decides_a_remark_says_what(
    store, market_of, settings, reason, expected
):
    market = market_of(3, amount=120, settings={"selection": settings})
    left = left_and_bought(market)[0][0]
    chance = 0.25 if "method" in settings else None
    store.add_market(market, reasons={left: reason}, chance=chance)

    change = store.explain(market.ids[left]).change

    assert expected in " ".join(change.remarks)
    assert change.budget is None
    assert change.left_at_turn is None
    if reason != "did_not_fit":
        assert (change.shares, change.tokens) == (None, None)


def test_a_document_longer_than_the_budget_has_no_price_to_reach(store, market_of):
    market = market_of(3, amount=12)
    store.add_market(market)
    longest = int(np.argmax(market.tokens))

    story = store.explain(market.ids[longest])

    assert story.reason == "longer_than_budget"
    assert story.change.shares is None
    assert story.change.target_log_price_per_token is None
    assert "no price buys it" in story.change.remarks[0]
    assert story.change.tokens is None or story.change.tokens <= 12
    assert story.change.budget >= market.tokens[longest]


def test_a_document_bought_for_a_floor_is_not_credited_to_its_price(store, market_of):
    market = market_of(3, amount=120, settings={"selection": {"topic_floor": 0.5}})
    prices = market.cleared().log_price_per_token
    poorest = int(np.argmin(prices))
    selected, _ = market.bought(prices)
    margin = float(prices[selected].min())
    selected[poorest] = True
    store.add_market(market, selected=selected, margin=margin, reasons={poorest: "topic_floor"})

    story = store.explain(market.ids[poorest])

    assert story.outcome == "selected"
    assert "fill the floor of its topic" in story.summary
    assert story.change.shares is None
    assert "floors and caps" in story.change.remarks[0]


@pytest.mark.parametrize("reason", ["topic_floor", "best_single"])
def test_a_dear_document_that_was_not_bought_by_its_price_has_no_way_to_the_margin(
    store, market_of, reason
):
    market = market_of(3, amount=120, settings={"selection": {"topic_floor": 0.5}})
    dearest = int(np.argmax(market.cleared().log_price_per_token))
    store.add_market(market, reasons={dearest: reason})

    change = store.explain(market.ids[dearest]).change

    assert (change.log_rise, change.shares, change.tokens) == (None, None, None)
    assert "not its price per token bought it" in change.remarks[0]


def test_opening_prices_by_length_leave_no_length_to_suggest(store, market_of):
    market = market_of(3, amount=120, settings={"market": {"prior": "tokens"}})
    store.add_market(market)
    left = left_and_bought(market)[0][0]

    change = store.explain(market.ids[left]).change

    assert change.tokens is None
    assert "market.prior: tokens" in change.remarks[-1]

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.influence.quad import (
    QuadRun,
    QuadSettings,
    excess_utility,
    exhaustive_of,
    plan_of,
    quad_select,
    quad_signal,
    recovered_share,
    resumed_run,
)

SMALL = QuadSettings(
    arms_per_round=2,
    probe_documents=2,
    block_documents=4,
    most_evaluated=1.0,
    reward_per="document",
    drop_probed_below_tau=False,
)
"""Of few documents, and without a limit on evaluations."""


class Recorder:
    """A table of values that remembers what it was asked for."""

    def __init__(self, values):
        self.values = np.asarray(values, dtype=np.float64)
        self.calls = []

    def __call__(self, positions):
        self.calls.append(positions.tolist())
        return self.values[positions]

    @property
    def asked(self):
        return [position for call in self.calls for position in call]


def pool(n, n_clusters, *, share=0.2, seed=0):
    """Return clusters, costs and values per document; `share` of the variance lies between."""
    rng = np.random.default_rng(seed)
    clusters = rng.integers(n_clusters, size=n)
    heavy = rng.standard_t(3, size=n) / math.sqrt(3)
    per_token = rng.normal(0, math.sqrt(share), n_clusters)[clusters]
    per_token += math.sqrt(1 - share) * heavy
    costs = np.clip(rng.lognormal(5, 0.7, n), 8, 4000).astype(np.int64)
    return clusters, costs, per_token * costs


def select(clusters, costs, values_of, *, budget, settings=SMALL, seed=5, **more):
    return quad_select(
        np.array(clusters),
        np.array(costs),
        values_of,
        budget=budget,
        settings=settings,
        rng=np.random.default_rng(seed),
        **more,
    )


def fields_of(result):
    """Return everything a result says, as JSON types."""
    arrays = {
        each.name: getattr(result, each.name).tolist()
        for each in dataclasses.fields(result)
        if isinstance(getattr(result, each.name), np.ndarray)
    }
    arrays["mean_rewards"] = [repr(mean) for mean in arrays["mean_rewards"]]
    return {**result.summary(), **arrays, "history": list(result.history)}


def test_three_clusters_of_equal_documents_are_bought_as_worked_out_by_hand():
    # clusters 0, 1, 4 of 8 documents each, worth -1, 3 and 2 a piece; blocks of 4, probes of 2
    clusters = np.repeat([0, 1, 4], 8)
    values = Recorder(np.repeat([-1.0, 3.0, 2.0], 8))
    result = select(clusters, np.ones(24, dtype=np.int64), values, budget=14)
    # rounds 1 and 2 visit 0 and 1, and 4; tau is the median of -1, 3 and 2
    assert result.tau == 2.0
    # only cluster 1 gives more than 2: 8 documents; 4 and 0 are read to their end in vain
    assert sorted(result.positions.tolist()) == list(range(8, 16))
    assert result.spent == 8
    assert result.shortfall == 6
    assert result.stop_reason == "all_exhausted"
    assert result.accepted_blocks.tolist() == [0, 2, 0]
    assert result.bought_documents.tolist() == [0, 8, 0]
    assert result.pulls.tolist() == [2, 2, 2]
    assert result.mean_rewards.tolist() == [-1.0, 3.0, 2.0]
    assert result.cluster_numbers.tolist() == [0, 1, 4]
    assert result.coverage == pytest.approx(1 / 3)
    assert result.effective_clusters == pytest.approx(1.0)
    assert result.evaluated.size == 12
    assert result.evaluated_share == 0.5
    # round 3 takes what is left of 1 and 4, round 4 of 0
    assert [told["clusters"] for told in result.history] == [[0, 1], [4], [1, 4], [0]]
    assert [told["accepted_clusters"] for told in result.history] == [[], [1], [1], []]
    assert result.calls == len(values.calls) == 4


def twin_order(queues, seen, alpha):
    """Return the clusters that have documents left, by priority."""
    means = {number: sum(rewards) / len(rewards) for number, rewards in seen.items() if rewards}
    spread = np.std(list(means.values()), ddof=1) if len(means) > 1 else 0.0
    total = sum(map(len, seen.values()))

    def key(number):
        priority = math.inf
        if number in means:
            bonus = math.sqrt(2 * math.log(total) / len(seen[number]))
            priority = means[number] + alpha * spread * bonus
        return -priority, len(seen[number]), -len(queues[number]), number

    return sorted((number for number in queues if queues[number]), key=key)


def twin_blocks(queues, order, n_arms, *, is_affordable, length):
    """Return number and block of each pull of a round; blocks and what is passed over are gone."""
    pulls = []
    for number in order:
        if len(pulls) == n_arms:
            break
        queue = queues[number]
        while queue and not any(is_affordable(i) for i in queue[:length]):
            del queue[:length]
        if queue:
            pulls.append((number, queue[:length]))
            del queue[:length]
    return pulls


def twin(clusters, costs, values, *, budget, choice, seed=5):
    """Return positions bought, evaluated and tau, in the plainest way; no limits, no credit."""
    root = int(np.random.default_rng(seed).integers(2**63))
    numbers = sorted(set(clusters.tolist()))
    plan = plan_of(
        choice,
        n_documents=costs.size,
        n_clusters=len(numbers),
        budget_share=min(1.0, budget / int(costs.sum())),
    )
    queues = {}
    for number in numbers:
        members = [i for i, cluster in enumerate(clusters.tolist()) if cluster == number]
        order = np.random.default_rng([root, number]).permutation(members).tolist()
        queues[number] = [i for i in order if costs[i] <= budget]
    terms = (values / costs if choice.reward_per == "token" else values).tolist()
    seen = {number: [] for number in numbers}
    tau, waiting, bought, evaluated, left, is_cut, idle = choice.tau, [], [], [], budget, False, 0
    while left >= costs.min() and not (is_cut and left <= 0.01 * budget) and any(queues.values()):
        if idle == choice.patience_rounds:
            break
        order = twin_order(queues, seen, choice.alpha)
        if tau is None:
            order = [number for number in order if not seen[number]]
        for number, block in twin_blocks(
            queues,
            order,
            choice.arms_per_round,
            is_affordable=lambda i, left=left: costs[i] <= left,
            length=plan.block_documents,
        ):
            probe = block if choice.evaluate == "block" else block[: plan.probe_documents]
            reward = math.fsum(terms[i] for i in probe) / len(probe)
            seen[number].append(reward)
            evaluated += probe
            is_bad = choice.drop_probed_below_tau
            waiting.append((-reward, number, block, set(probe) if is_bad else set()))
        if tau is None and all(seen[number] for number in numbers if queues[number]):
            tau = float(np.quantile([-minus for minus, *_ in waiting], choice.tau_quantile))
        if tau is None:
            continue
        n_bought = len(bought)
        for minus, _, block, known in sorted(waiting, key=lambda pull: pull[:2]):
            for i in block if -minus > tau else []:
                if i in known and terms[i] <= tau:
                    continue
                is_cut |= bool(costs[i] > left)
                if costs[i] <= left:
                    bought.append(i)
                    left -= int(costs[i])
        waiting = []
        idle = 0 if len(bought) > n_bought else idle + 1
    return bought, evaluated, tau


@pytest.mark.parametrize("evaluate", ["probe", "block"])
@pytest.mark.parametrize("reward_per", ["token", "document"])
@pytest.mark.parametrize("budget_share", [0.03, 0.3, 0.9])
def test_a_run_is_that_of_a_plain_loop(evaluate, reward_per, budget_share):
    for seed in range(3):
        clusters, costs, values = pool(300, 9, seed=seed)
        choice = dataclasses.replace(
            SMALL,
            probe_documents=3,
            block_documents=6 + seed,
            evaluate=evaluate,
            reward_per=reward_per,
            drop_probed_below_tau=seed % 2 == 0,
            tau_quantile=[0.5, 0.4, 0.8][seed],
            patience_rounds=4,
        )
        budget = int(budget_share * costs.sum())
        result = select(clusters, costs, Recorder(values), budget=budget, settings=choice)
        bought, evaluated, tau = twin(clusters, costs, values, budget=budget, choice=choice)
        assert result.positions.tolist() == bought
        assert result.evaluated.tolist() == evaluated
        assert result.tau == tau


@given(
    n=st.integers(1, 60),
    n_clusters=st.integers(1, 8),
    budget=st.integers(0, 4000),
    seed=st.integers(0, 5),
    most_evaluated=st.sampled_from([0.05, 0.3, 1.0]),
    drop=st.booleans(),
)
@settings(max_examples=60)
def test_budget_and_limit_are_kept_and_no_document_comes_twice(
    *, n, n_clusters, budget, seed, most_evaluated, drop
):
    rng = np.random.default_rng(seed)
    clusters, costs = rng.integers(n_clusters, size=n), rng.integers(1, 200, size=n)
    values = Recorder(rng.normal(size=n))
    choice = dataclasses.replace(
        SMALL, most_evaluated=most_evaluated, drop_probed_below_tau=drop, patience_rounds=3
    )
    result = select(clusters, costs, values, budget=budget, settings=choice)
    assert len(set(result.positions.tolist())) == result.positions.size
    assert len(set(values.asked)) == len(values.asked) <= most_evaluated * n
    assert result.evaluated.tolist() == values.asked
    assert result.values.tolist() == values.values[result.evaluated].tolist()
    assert result.spent == costs[result.positions].sum() <= budget
    assert result.spent + result.shortfall == budget
    assert result.calls == len(values.calls)
    assert all(values.calls)
    if result.stop_reason == "budget_reached":
        assert result.shortfall < costs.min() or result.shortfall <= 0.01 * budget
    assert json.loads(json.dumps([result.summary(), result.history]))
    per_cluster = np.bincount(clusters[result.positions], minlength=n_clusters)
    assert result.bought_documents.tolist() == per_cluster[result.cluster_numbers].tolist()


def test_probes_of_a_round_are_one_call_and_the_reward_is_of_the_block_alone():
    clusters, costs, values = pool(400, 10, seed=3)
    recorder = Recorder(values)
    result = select(clusters, costs, recorder, budget=int(costs.sum()) // 3)
    assert len(recorder.calls) == len(result.history)
    for call, told in zip(recorder.calls, result.history, strict=True):
        asked_of = clusters[call]
        assert sorted(set(asked_of.tolist())) == sorted(told["clusters"])
        for cluster, reward in zip(told["clusters"], told["rewards"], strict=True):
            probe = np.array(call)[asked_of == cluster]
            assert 1 <= probe.size <= 2
            assert reward == pytest.approx(values[probe].mean(), rel=1e-12)
    # what was bought lies in blocks whose probe was accepted: each of its clusters has one
    accepted = {cluster for told in result.history for cluster in told["accepted_clusters"]}
    assert set(clusters[result.positions].tolist()) == accepted


def test_a_probe_comes_from_the_block_that_is_bought():
    _, costs, values = pool(400, 10, seed=4)
    clusters = np.repeat(np.arange(10), 40)  # whole blocks of 4, probes of 2
    result = select(clusters, costs, Recorder(values), budget=int(costs.sum()) // 3)
    bought = set(result.positions.tolist())
    told_rewards = iter(result.evaluated.tolist())
    for told in result.history:
        for _, reward in zip(told["clusters"], told["rewards"], strict=True):
            probe = [next(told_rewards) for _ in range(2)]
            if reward <= result.tau:
                assert not bought & set(probe)
            elif told["spent"] < result.spent:  # before the budget could cut a block
                assert set(probe) <= bought


def test_values_of_documents_that_are_not_drawn_change_nothing():
    clusters, costs, values = pool(400, 10, seed=6)
    budget = int(costs.sum()) // 5
    result = select(clusters, costs, Recorder(values), budget=budget)
    elsewhere = np.setdiff1d(np.arange(400), result.evaluated)
    assert elsewhere.size > 100
    changed = values.copy()
    changed[elsewhere] = -1e6
    again = select(clusters, costs, Recorder(changed), budget=budget)
    assert fields_of(again) == fields_of(result)


def test_a_pool_read_in_another_order_gives_the_same_documents():
    clusters, costs, values = pool(500, 12, seed=7)
    names = [f"{number * 7919 % 500:03d}" for number in range(500)]

    def bought_of(files):
        by_id = sorted(files, key=names.__getitem__)
        recorder = Recorder(values[by_id])
        result = select(clusters[by_id], costs[by_id], recorder, budget=int(costs.sum()) // 4)
        return [names[by_id[position]] for position in result.positions.tolist()]

    assert bought_of(range(500)) == bought_of(np.random.default_rng(0).permutation(500).tolist())


def test_a_cluster_is_read_in_the_same_order_whatever_lies_around_it():
    clusters, costs, values = pool(200, 4, seed=8)
    alone = clusters == 2
    recorder = Recorder(values[alone])
    choice = dataclasses.replace(SMALL, evaluate="block", tau=-1e9)
    select(clusters[alone], costs[alone], recorder, budget=10**9, settings=choice)
    among = Recorder(values)
    select(clusters, costs, among, budget=10**9, settings=choice)
    of_cluster = [position for position in among.asked if clusters[position] == 2]
    assert [int(np.flatnonzero(alone)[i]) for i in recorder.asked] == of_cluster


def test_a_run_is_the_same_again_and_another_with_another_seed():
    clusters, costs, values = pool(400, 10, seed=9)
    once, again, other = (
        select(clusters, costs, Recorder(values), budget=9000, seed=seed) for seed in (5, 5, 6)
    )
    assert fields_of(once) == fields_of(again)
    assert once.positions.tolist() != other.positions.tolist()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"neighbour_radius": 1.5},
        {"tau": 1e9, "patience_rounds": 5},  # ends by patience
    ],
    ids=["plain", "neighbours", "patience"],
)
def test_a_run_that_is_stopped_at_any_round_ends_as_if_it_had_not_been(changes):
    clusters, costs, values = pool(200, 6, seed=10)
    choice = dataclasses.replace(
        SMALL, **{"reward_per": "token", "drop_probed_below_tau": True, **changes}
    )
    more = {"budget": 9000, "settings": choice}
    more["centroids"] = np.arange(12.0).reshape(6, 2)
    whole = select(clusters, costs, Recorder(values), **more)
    n_rounds = len(whole.history)
    assert n_rounds > 4
    for n_before in range(n_rounds + 1):
        run = QuadRun(clusters, costs, rng=np.random.default_rng(5), **more)
        for _ in range(n_before):
            run.step(Recorder(values))
        saved = json.loads(json.dumps(run.to_json()))
        after = Recorder(values)
        resumed = resumed_run(saved, clusters, costs, **more)
        while resumed.stop_reason is None:
            resumed.step(after)
        assert fields_of(resumed.result()) == fields_of(whole)
        assert len(after.calls) == n_rounds - n_before  # nothing is evaluated twice


def test_once_a_block_was_cut_a_run_ends_where_a_hundredth_is_left():
    # unknown clusters first, the largest before: 3 of cluster 2, 3 of cluster 1 and of cluster 0
    # one, whose other document does not fit into 100; then the last of cluster 1. Of the 1 that is
    # left one more of cluster 2 could be bought
    clusters = np.repeat([0, 1, 2], [2, 4, 8])
    costs = np.repeat([600, 99, 1], [2, 4, 8])
    values = Recorder(np.repeat([9.0, 5.0, 1.0], [2, 4, 8]))
    choice = dataclasses.replace(SMALL, tau=0.0, alpha=0.0, arms_per_round=1)
    more = {"budget": 1000, "settings": choice}
    run = QuadRun(clusters, costs, rng=np.random.default_rng(5), **more)
    assert run.plan.block_documents == 3
    for _ in range(3):
        run.step(values)
    saved = json.loads(json.dumps(run.to_json()))
    for started in (run, resumed_run(saved, clusters, costs, **more)):
        started.step(values)
        result = started.result()
        assert result.bought_documents.tolist() == [1, 4, 3]
        assert result.spent == 600 + 4 * 99 + 3
        assert result.stop_reason == "budget_reached"


def test_a_callback_that_fails_leaves_the_run_as_it_was():
    clusters, costs, values = pool(200, 6, seed=11)
    run = QuadRun(clusters, costs, budget=9000, settings=SMALL, rng=np.random.default_rng(5))
    run.step(Recorder(values))
    before = run.to_json()

    def failing(positions):
        raise OSError("out of memory")

    with pytest.raises(OSError, match="memory"):
        run.step(failing)
    assert run.to_json() == before


def test_a_state_of_another_pool_budget_or_setting_is_refused():
    clusters, costs, _ = pool(200, 6, seed=12)
    more = {"budget": 9000, "settings": SMALL}
    saved = QuadRun(clusters, costs, rng=np.random.default_rng(5), **more).to_json()
    others = [
        (clusters, costs + 1, more),
        (np.roll(clusters, 1), costs, more),
        (clusters, costs, {**more, "budget": 9001}),
        (clusters, costs, {**more, "settings": dataclasses.replace(SMALL, alpha=0.2)}),
    ]
    for other_clusters, other_costs, other in others:
        with pytest.raises(InputError, match="another pool"):
            resumed_run(saved, other_clusters, other_costs, **other)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_by_its_position(bad):
    clusters, costs, values = pool(100, 4, seed=13)
    values[17] = bad
    choice = dataclasses.replace(SMALL, evaluate="block", tau=-1e9)
    with pytest.raises(InputError, match="position 17;"):
        select(clusters, costs, Recorder(values), budget=10**9, settings=choice)


def test_a_callback_that_gives_another_number_of_values_is_refused():
    clusters, costs, _ = pool(100, 4, seed=14)
    with pytest.raises(InputError, match="one value each"):
        select(clusters, costs, lambda positions: np.ones(1), budget=1000)


@pytest.mark.parametrize("budget", [0, 6])
def test_a_budget_that_no_document_fits_into_asks_for_nothing(budget):
    values = Recorder(np.ones(20))
    result = select(np.arange(20) % 3, np.full(20, 7), values, budget=budget)
    assert result.positions.size == result.evaluated.size == result.calls == 0
    assert result.stop_reason == "budget_reached"
    assert result.shortfall == budget
    assert result.tau is None
    assert result.effective_clusters == result.coverage == 0.0


def test_a_document_dearer_than_the_budget_is_never_evaluated():
    costs = np.array([5, 120, 5, 5, 5, 5, 5, 120, 5, 5, 5, 5])
    values = Recorder(np.where(costs > 100, 99.0, 1.0))
    choice = dataclasses.replace(SMALL, tau=0.0, evaluate="block")
    result = select(np.repeat([0, 1], 6), costs, values, budget=100, settings=choice)
    assert sorted(values.asked) == sorted(result.positions.tolist())
    assert sorted(values.asked) == [0, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert result.stop_reason == "all_exhausted"
    assert result.shortfall == 50


def test_a_budget_above_the_pool_is_not_filled_with_what_was_not_accepted():
    clusters, costs, values = pool(300, 6, seed=15)
    result = select(clusters, costs, Recorder(values), budget=10 * int(costs.sum()))
    assert result.stop_reason in ("all_exhausted", "no_accept")
    assert 0 < result.positions.size < 300
    assert result.shortfall > 9 * costs.sum()


def test_a_low_tau_buys_the_whole_pool():
    clusters, costs, values = pool(300, 6, seed=15)
    choice = dataclasses.replace(SMALL, tau=-1e9, drop_probed_below_tau=True)
    result = select(clusters, costs, Recorder(values), budget=int(costs.sum()), settings=choice)
    assert sorted(result.positions.tolist()) == list(range(300))
    assert result.stop_reason == "budget_reached"
    assert result.coverage == 1.0


def test_a_high_tau_buys_nothing_and_ends_after_patience():
    clusters, costs, values = pool(300, 6, seed=16)
    choice = dataclasses.replace(SMALL, tau=1e9, patience_rounds=4)
    result = select(clusters, costs, Recorder(values), budget=5000, settings=choice)
    assert result.positions.size == 0
    assert result.stop_reason == "no_accept"
    assert len(result.history) == 4
    assert result.shortfall == 5000


def test_clusters_of_one_document_are_bought_by_their_own_value():
    values = Recorder([4.0, 1.0, 3.0, 2.0, 5.0, 0.0])
    result = select(np.arange(6), np.ones(6, dtype=np.int64), values, budget=2)
    # half of 6 evaluations are for first visits: tau is the median of 4, 1 and 3, and 4 is bought;
    # of 3 and 4, which are visited next, the latter
    assert result.tau == 3.0
    assert result.positions.tolist() == [0, 4]
    assert result.effective_clusters == pytest.approx(2.0)


def test_equal_values_everywhere_buy_nothing_under_a_quantile():
    result = select(np.arange(60) % 4, np.ones(60, dtype=np.int64), Recorder(np.ones(60)), budget=9)
    assert result.tau == 1.0
    assert result.positions.size == 0
    assert result.stop_reason in ("no_accept", "all_exhausted")


def test_a_block_of_which_nothing_fits_is_passed_over_without_a_probe():
    # 0 is bought first and leaves 10; of cluster 1 nothing fits, of cluster 2 all does
    clusters = np.array([0] * 2 + [1] * 8 + [2] * 4)
    costs = np.array([45] * 2 + [60] * 8 + [5] * 4)
    values = Recorder([9.0] * 2 + [5.0] * 8 + [1.0] * 4)
    choice = dataclasses.replace(SMALL, tau=0.5, arms_per_round=1, alpha=0.0)
    run = QuadRun(clusters, costs, budget=100, settings=choice, rng=np.random.default_rng(5))
    while run.stop_reason is None:
        run.step(values)
    result = run.result()
    asked_of_1 = [position for position in values.asked if clusters[position] == 1]
    assert len(asked_of_1) <= 2  # its first visit alone
    assert result.spent <= 100


def test_probed_documents_no_better_than_tau_are_left_out_of_an_accepted_block():
    clusters, costs, values = pool(600, 8, seed=17)
    budget = int(costs.sum()) // 4
    choice = dataclasses.replace(SMALL, reward_per="token")
    known_bad = {}
    for drop in (False, True):
        made = dataclasses.replace(choice, drop_probed_below_tau=drop)
        result = select(clusters, costs, Recorder(values), budget=budget, settings=made)
        terms = values[result.evaluated] / costs[result.evaluated]
        bad = set(result.evaluated[terms <= result.tau].tolist())
        known_bad[drop] = len(bad & set(result.positions.tolist()))
    assert known_bad[True] == 0 < known_bad[False]


def test_adding_a_number_per_token_to_all_values_changes_no_selection():
    clusters, costs, values = pool(600, 8, seed=18)
    choice = dataclasses.replace(SMALL, reward_per="token")
    budget = int(costs.sum()) // 4
    # values in 256ths, so that the shift is exact
    per_token = np.round(values / costs * 256) / 256
    picks = [
        select(
            clusters, costs, Recorder((per_token + shift) * costs), budget=budget, settings=choice
        ).positions.tolist()
        for shift in (0.0, -64.0)
    ]
    assert picks[0] == picks[1]


def test_documents_count_per_token_or_as_they_are():
    # cluster 0: long documents worth 10 for 100 tokens; cluster 1: short ones worth 5 for 10
    clusters, costs = np.repeat([0, 1], 10), np.repeat([100, 10], 10)
    values = np.repeat([10.0, 5.0], 10)
    bought = {}
    for unit in ("token", "document"):
        choice = dataclasses.replace(SMALL, reward_per=unit)
        result = select(clusters, costs, Recorder(values), budget=100, settings=choice)
        bought[unit] = set(clusters[result.positions].tolist())
    assert bought == {"token": {1}, "document": {0}}


def test_good_topics_are_bought_and_bad_ones_left():
    rng = np.random.default_rng(19)
    clusters = rng.integers(40, size=8000)
    is_good, is_bad = clusters < 8, clusters >= 32
    costs = rng.integers(20, 200, size=8000)
    per_token = 0.5 * is_good - 0.5 * is_bad + rng.standard_t(3, size=8000) / math.sqrt(3)
    values = Recorder(per_token * costs)
    budget = int(0.15 * costs.sum())
    result = select(clusters, costs, values, budget=budget, settings=QuadSettings())
    assert result.evaluated_share <= 0.10
    assert result.shortfall <= 0.01 * budget

    def good_share(picked):
        return costs[picked][is_good[picked]].sum() / costs[picked].sum()

    def first_of(order):
        return order[np.cumsum(costs[order]) <= budget]

    at_random = rng.permutation(8000)
    rank_in_cluster = np.zeros(8000)
    for cluster in range(40):
        members = rng.permutation(np.flatnonzero(clusters == cluster))
        rank_in_cluster[members] = np.arange(members.size)
    uniform = first_of(np.argsort(rank_in_cluster, kind="stable"))
    top = first_of(np.argsort(-per_token))
    assert good_share(first_of(at_random)) == pytest.approx(0.20, abs=0.03)
    assert good_share(uniform) == pytest.approx(0.20, abs=0.03)
    assert 0.35 < good_share(top) < 0.50  # single documents tell less of a topic than means do
    assert good_share(result.positions) > 0.6
    assert (is_bad[result.positions]).mean() < 0.02
    assert result.effective_clusters < 25


@pytest.mark.parametrize(
    ("n_documents", "n_clusters", "budget_share"),
    [(5000, 50, 0.25), (5000, 50, 0.01), (5000, 400, 0.25), (20000, 200, 0.1), (40000, 50, 0.05)],
)
def test_at_most_a_tenth_is_evaluated_and_the_budget_is_spent(
    n_documents, n_clusters, budget_share
):
    clusters, costs, values = pool(n_documents, n_clusters, share=0.5, seed=20)
    budget = int(budget_share * costs.sum())
    result = select(clusters, costs, Recorder(values), budget=budget, settings=QuadSettings())
    assert result.evaluated_share <= 0.10
    assert result.shortfall <= 0.05 * budget


def test_the_limit_on_evaluations_ends_a_run_and_says_so():
    clusters, costs, values = pool(5000, 50, seed=21)
    choice = QuadSettings(tau_quantile=0.9)
    budget = int(costs.sum()) // 4
    result = select(clusters, costs, Recorder(values), budget=budget, settings=choice)
    assert result.stop_reason == "most_evaluated"
    assert 0.095 < result.evaluated_share <= 0.10
    assert result.shortfall > 0
    assert result.plan.most_documents == 500


def test_a_plan_for_a_small_pool_is_as_worked_out_by_hand():
    # E = 500, half for first visits: 250 / 50 = 5 of a probe; the budget buys 1,250 documents, 25
    # for each cluster; 500 / 5 = 100 pulls, half accepted, must buy 1,250: 25 again
    plan = plan_of(QuadSettings(), n_documents=5000, n_clusters=50, budget_share=0.25)
    assert (plan.probe_documents, plan.block_documents) == (5, 25)
    assert (plan.most_documents, plan.first_visits) == (500, 50)
    assert len(plan.notes) == 2
    # a large pool has the settings as they are
    plan = plan_of(QuadSettings(), n_documents=1_000_000, n_clusters=1000, budget_share=0.25)
    assert (plan.probe_documents, plan.block_documents, plan.notes) == (8, 64, ())
    # 1,000 clusters of 5: 250 first visits do not reach all, and it says so
    plan = plan_of(QuadSettings(), n_documents=5000, n_clusters=1000, budget_share=0.25)
    assert (plan.probe_documents, plan.block_documents) == (1, 5)
    assert plan.first_visits == 250
    assert "fewer clusters" in " ".join(plan.notes)


def test_a_pool_too_small_for_a_single_probe_is_left_and_says_so():
    result = select(np.zeros(9, int), np.ones(9, int), Recorder(np.ones(9)), budget=5,
                    settings=QuadSettings())  # fmt: skip
    assert result.stop_reason == "most_evaluated"
    assert result.calls == 0
    assert result.shortfall == 5


def test_the_yardstick_evaluates_the_same_blocks_whole():
    clusters, costs, values = pool(2000, 20, seed=22)
    budget = int(0.2 * costs.sum())
    choice = QuadSettings(drop_probed_below_tau=False)
    probed = select(clusters, costs, Recorder(values), budget=budget, settings=choice)
    full = select(clusters, costs, Recorder(values), budget=budget, settings=exhaustive_of(choice))
    assert full.plan.block_documents == probed.plan.block_documents
    assert full.plan.probe_documents == probed.plan.probe_documents
    first, block = full.history[0], full.plan.block_documents
    assert first["evaluated_documents"] == block * len(first["clusters"])
    of_first = full.evaluated[:block]
    expected = (values[of_first] / costs[of_first]).mean()
    assert first["rewards"][0] == pytest.approx(expected, rel=1e-12)
    assert first["clusters"] == probed.history[0]["clusters"]
    assert full.evaluated[: probed.plan.probe_documents].tolist() == (
        probed.evaluated[: probed.plan.probe_documents].tolist()
    )


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_four_fifths_of_the_utility_are_recovered_where_clusters_matter(share):
    # below a fifth of the variance between clusters this does not hold: 0.64 to 0.87 at 5 %
    found = []
    for seed in range(4):
        clusters, costs, values = pool(8000, 40, share=share, seed=seed)
        budget = int(0.2 * costs.sum())
        choice = QuadSettings(drop_probed_below_tau=False)
        picked = select(clusters, costs, Recorder(values), budget=budget, settings=choice)
        full = select(
            clusters, costs, Recorder(values), budget=budget, settings=exhaustive_of(choice)
        )
        assert picked.evaluated_share <= 0.10
        found.append(
            recovered_share(values, costs, selection=picked.positions, yardstick=full.positions)
        )
    assert np.mean(found) >= 0.8


def test_excess_over_random_is_as_worked_out_by_hand():
    values, costs = np.array([4.0, -6.0, 1.0, -3.0]), np.array([1, 2, 3, 4])
    # all: -4 for 10 tokens, so 4 tokens at random are worth -1.6; documents 0 and 2 are worth 5
    assert excess_utility(values, costs, np.array([0, 2])) == pytest.approx(6.6)
    assert excess_utility(values, costs, np.array([], dtype=np.int64)) == 0.0
    assert excess_utility(values, costs, np.arange(4)) == pytest.approx(0.0, abs=1e-12)
    # document 0 alone: 4 + 0.4 = 4.4
    share = recovered_share(values, costs, selection=np.array([0]), yardstick=np.array([0, 2]))
    assert share == pytest.approx(4.4 / 6.6)


def test_the_recovered_share_ignores_what_every_token_is_worth_alike():
    _, costs, values = pool(100, 4, seed=23)
    best = np.argsort(-values / costs)
    shares = [
        recovered_share(values + shift * costs, costs, selection=best[:15], yardstick=best[:20])
        for shift in (0.0, -100.0)
    ]
    assert shares[0] == pytest.approx(shares[1], rel=1e-9)


def test_a_yardstick_no_better_than_random_is_refused():
    values, costs = np.array([1.0, 2.0, 3.0]), np.ones(3, dtype=np.int64)
    with pytest.raises(InputError, match="worth more than a random"):
        recovered_share(values, costs, selection=np.array([2]), yardstick=np.array([0]))
    with pytest.raises(InputError, match="finite"):
        excess_utility(np.array([1.0, np.nan, 3.0]), costs, np.array([0]))


def evaluated_of(clusters, values, *, tau=-1e9):
    """Return the result of a run that evaluated every document of cost 1."""
    choice = dataclasses.replace(SMALL, evaluate="block", tau=tau)
    return select(
        np.array(clusters),
        np.ones(len(clusters), dtype=np.int64),
        Recorder(values),
        budget=10**6,
        settings=choice,
    )


def test_the_signal_shrinks_means_of_clusters_as_worked_out_by_hand():
    # clusters (1, 3), (5, 7): within = (2 + 2) / 2 = 2, between = ((2 * 4 + 2 * 4) - 2) / 2 = 7
    # grand mean 4; weight 7 / (7 + 2 / 2) = 0.875: means 4 -+ 0.875 * 2 = 2.25 and 5.75
    result = evaluated_of([0, 0, 1, 1], [1.0, 3.0, 5.0, 7.0])
    np.testing.assert_allclose(
        quad_signal(result, own_weight=0.0), [2.25, 2.25, 5.75, 5.75], rtol=1e-12
    )
    np.testing.assert_allclose(
        quad_signal(result, own_weight=0.5), [1.625, 2.625, 5.375, 6.375], rtol=1e-12
    )
    np.testing.assert_allclose(quad_signal(result, own_weight=1.0), [1, 3, 5, 7], rtol=1e-12)


def test_clusters_that_do_not_differ_are_all_worth_the_grand_mean():
    result = evaluated_of([0, 0, 1, 1], [1.0, 7.0, 7.0, 1.0])
    assert quad_signal(result, own_weight=0.0).tolist() == [4.0] * 4


def test_single_documents_of_clusters_are_all_worth_the_grand_mean():
    result = evaluated_of([0, 1, 2], [1.0, 2.0, 6.0])
    assert quad_signal(result, own_weight=0.0).tolist() == [3.0] * 3


def test_the_signal_orders_clusters_better_than_their_plain_means():
    rng = np.random.default_rng(24)
    plain, shrunk = [], []
    for _ in range(5):
        truth = rng.normal(0, 0.3, size=60)
        clusters = np.repeat(np.arange(60), rng.integers(3, 60, size=60))
        values = truth[clusters] + rng.normal(size=clusters.size)
        costs = np.ones(clusters.size, dtype=np.int64)
        result = select(clusters, costs, Recorder(values), budget=800)
        signal = quad_signal(result, own_weight=0.0)
        firsts = np.searchsorted(clusters, np.arange(60))
        seen = ~np.isnan(result.mean_rewards)
        plain.append(((result.mean_rewards - truth)[seen] ** 2).mean())
        shrunk.append(((signal[firsts] - truth)[seen] ** 2).mean())
    assert np.mean(shrunk) < 0.8 * np.mean(plain)


def test_the_signal_is_per_token_where_rewards_are_and_knows_unvisited_clusters():
    clusters, costs, values = pool(3000, 30, share=0.5, seed=25)
    result = select(
        clusters, costs, Recorder(values), budget=int(0.1 * costs.sum()), settings=QuadSettings()
    )
    signal = quad_signal(result, own_weight=1.0)
    assert signal.shape == (3000,)
    np.testing.assert_allclose(
        signal[result.evaluated], (values / costs)[result.evaluated], rtol=1e-9
    )
    elsewhere = np.setdiff1d(np.arange(3000), result.evaluated)
    assert np.corrcoef(signal[elsewhere], (values / costs)[elsewhere])[0, 1] > 0.4
    for cluster in range(30):
        assert np.unique(signal[elsewhere][clusters[elsewhere] == cluster]).size <= 1


def test_a_signal_of_nothing_is_refused():
    result = select(np.zeros(5, int), np.full(5, 9), Recorder(np.ones(5)), budget=3)
    with pytest.raises(InputError, match="evaluated no document"):
        quad_signal(result, own_weight=0.5)
    whole = evaluated_of([0, 0, 1, 1], [1.0, 3.0, 5.0, 7.0])
    with pytest.raises(InputError, match="own_weight"):
        quad_signal(whole, own_weight=1.5)


def test_credit_of_neighbours_saves_first_visits():
    # pairs of clusters at one place; one visit serves both, so 3 of 6 are visited at first
    clusters, costs = np.repeat(np.arange(6), 20), np.ones(120, dtype=np.int64)
    centroids = np.repeat([[0.0], [10.0], [20.0]], 2, axis=0)
    values = np.repeat([1.0, 1.0, 5.0, 5.0, 3.0, 3.0], 20)
    choice = dataclasses.replace(SMALL, arms_per_round=1, neighbour_radius=1.0)
    result = select(
        clusters, costs, Recorder(values), budget=20, settings=choice, centroids=centroids
    )
    assert [told["clusters"] for told in result.history[:3]] == [[0], [2], [4]]
    assert [told["tau"] for told in result.history[:3]] == [None, None, 3.0]
    assert set(clusters[result.positions].tolist()) == {2, 3}


def test_a_radius_without_centroids_is_refused():
    choice = dataclasses.replace(SMALL, neighbour_radius=1.0)
    for centroids in (None, np.zeros((2, 2))):
        with pytest.raises(InputError, match="centroid"):
            select([0, 1, 2], [1, 1, 1], Recorder(np.ones(3)), budget=3, settings=choice,
                   centroids=centroids)  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"arms_per_round": 0},
        {"probe_documents": 0},
        {"probe_documents": 65},
        {"patience_rounds": 0},
        {"alpha": -1.0},
        {"alpha": math.nan},
        {"tau": math.nan},
        {"tau_quantile": 1.1},
        {"most_evaluated": 0.0},
        {"evaluate": "all"},
        {"reward_per": "byte"},
        {"neighbour_radius": 0.0},
    ],
)
def test_settings_outside_their_domain_are_refused_by_name(change):
    with pytest.raises(InputError, match=next(iter(change))):
        QuadSettings(**change)


@pytest.mark.parametrize(
    ("clusters", "costs", "budget", "message"),
    [
        ([0, 1], [1], 1, "cluster_index"),
        ([0.0], [1], 1, "cluster_index"),
        ([-1], [1], 1, ">= 0, got -1 at position 0"),
        ([0], [0], 1, "at least 1"),
        ([0], [1], -1, "budget"),
        (np.array([], dtype=int), np.array([], dtype=int), 1, "at least one document"),
    ],
)
def test_a_pool_outside_its_domain_is_refused(clusters, costs, budget, message):
    with pytest.raises(InputError, match=message):
        select(clusters, costs, Recorder([1.0]), budget=budget)


def test_a_run_has_no_result_before_its_end_and_no_step_after_it():
    run = QuadRun(
        np.zeros(4, int), np.ones(4, int), budget=4, settings=SMALL, rng=np.random.default_rng(5)
    )
    with pytest.raises(InputError, match="has not ended"):
        run.result()
    while run.stop_reason is None:
        run.step(Recorder(np.ones(4)))
    with pytest.raises(InputError, match="has ended"):
        run.step(Recorder(np.ones(4)))

import pytest

from databourse.comparison.signal_costs import SignalCost
from databourse.comparison.summary import best_of, summarised


def row(sampler, seed, value, metric="accuracy", budget=10):
    return {
        "sampler": sampler,
        "budget_tokens": budget,
        "seed": seed,
        "target": "dev",
        "metric": metric,
        "value": value,
        "documents": 3 + seed,
        "tokens": 9,
        "select_seconds": 0.6,
        "select_cpu_seconds": 0.5,
    }


def test_the_best_comes_first_whichever_way_a_metric_goes():
    accuracy = summarised([row("a", 0, 0.5), row("b", 0, 0.9)], seed=1)
    bits = summarised(
        [row("a", 0, 5.0, "bits_per_token"), row("b", 0, 9.0, "bits_per_token")], seed=1
    )
    assert [each.sampler for each in accuracy] == ["b", "a"]
    assert [each.sampler for each in bits] == ["a", "b"]


def test_differences_to_random_are_paired_by_seed():
    rows = [row("random", seed, 0.1 * seed) for seed in range(6)]
    rows += [row("good", seed, 0.1 * seed + 0.02) for seed in range(6)]
    good, random = summarised(rows, seed=1)
    assert random.over_random is None
    assert good.over_random.mean == pytest.approx(0.02)
    assert good.over_random.low == pytest.approx(0.02)
    assert good.over_random.excludes_zero
    assert good.documents == pytest.approx(5.5)


def test_only_seeds_that_both_have_are_compared_and_without_random_none():
    rows = [row("random", 0, 0.5), row("a", 0, 0.6), row("a", 1, 0.0)]
    a = next(each for each in summarised(rows, seed=1) if each.sampler == "a")
    assert (a.over_random.mean, a.over_random.seeds) == (pytest.approx(0.1), 1)
    assert a.value.mean == pytest.approx(0.3)
    assert summarised([row("a", 0, 0.6)], seed=1)[0].over_random is None


def test_budgets_and_metrics_are_apart():
    rows = [row("a", 0, 0.5), row("a", 0, 0.7, budget=20), row("a", 0, 3.0, "loss")]
    found = [(each.metric, each.budget_tokens) for each in summarised(rows, seed=1)]
    assert found == [("accuracy", 10), ("accuracy", 20), ("loss", 10)]


def test_everything_is_a_baseline_at_each_budget_though_it_has_one_of_its_own():
    rows = [row("all", seed, 0.8 + 0.1 * seed, budget=99) for seed in range(3)]
    rows += [
        row("a", seed, 0.9 + 0.1 * seed, budget=budget) for seed in range(3) for budget in (5, 7)
    ]
    found = {(each.sampler, each.budget_tokens): each for each in summarised(rows, seed=1)}
    assert found["a", 5].over_all.mean == pytest.approx(0.1)
    assert found["a", 7].over_all.low == pytest.approx(0.1)
    assert found["all", 99].over_all is None


def test_the_best_that_reads_one_signal_is_chosen_at_each_budget_by_each_metric():
    values = {"one": (0.7, 0.5), "two": (0.6, 0.6), "both": (0.9, 0.55), "random": (0.8, 0.9)}
    rows = [
        row(name, seed, value + 0.01 * seed, budget=budget)
        for name, by_budget in values.items()
        for budget, value in zip((5, 7), by_budget, strict=True)
        for seed in range(3)
    ]
    costs = {
        "one": SignalCost(("x",), 1.0, 2.0),
        "two": SignalCost(("y",), 1.0, 3.0),
        "both": SignalCost(("x", "y"), 2.0, 5.0),
    }
    found = {
        (each.sampler, each.budget_tokens): each for each in summarised(rows, seed=1, costs=costs)
    }
    assert found["both", 5].best_single == found["random", 5].best_single == "one"
    assert found["both", 7].best_single == "two"
    assert found["both", 5].over_best_single.mean == pytest.approx(0.2)
    assert found["both", 7].over_best_single.mean == pytest.approx(-0.05)
    assert found["one", 5].over_best_single is None
    assert found["both", 5].total_cpu_seconds == pytest.approx(5.5)
    assert found["random", 5].total_cpu_seconds == pytest.approx(0.5)
    best = best_of(list(summarised(rows, seed=1, costs=costs)))
    assert [(each.budget_tokens, each.sampler) for each in best] == [(5, "both"), (7, "random")]


def test_deviations_are_compared_with_those_of_random_from_three_seeds_on():
    rows = [row("random", seed, 0.2 * seed) for seed in range(4)]
    rows += [row("a", seed, 0.1 * seed) for seed in range(4)]
    a = next(each for each in summarised(rows, seed=1) if each.sampler == "a")
    assert a.deviation_over_random.ratio == pytest.approx(0.5)
    assert a.deviation_over_random.high <= 0
    few = [each for each in rows if each["seed"] < 2]
    assert all(each.deviation_over_random is None for each in summarised(few, seed=1))

import pytest

from databourse.comparison.summary import summarised


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

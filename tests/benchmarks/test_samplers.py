"""Candidates in a folder, and every sampler run on them in a process of its own."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from databourse.samplers.interface import Candidates
from databourse.samplers.registry import sampler_spec
from databourse.targets import TargetSet
from databourse.topics import topics_from_names

N = 500


@pytest.fixture(scope="module")
def samplers():
    """Return the modules that run samplers, which import others of the benchmarks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(Path(__file__).parents[2]), *sys.path])
        from benchmarks.samplers import bundle, measure_sampler, run_all

        yield bundle, measure_sampler, run_all


def unit(rng, n):
    rows = rng.normal(size=(n, 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def full(n=N):
    """Return candidates that have everything."""
    rng = np.random.default_rng(3)
    rows = unit(rng, n)
    texts = [f"text {number} — é\n" for number in range(n)]
    loss = rng.uniform(1, 5, n)
    loss[::50] = np.nan
    labels = np.array([None if number % 7 == 0 else f"l{number % 3}" for number in range(n)])
    return Candidates(
        document_ids=[f"{number:05d}" for number in range(n)],
        costs=rng.integers(1, 60, n),
        measures={"mean_token_loss": loss, "el2n": rng.uniform(0, 1, n)},
        embeddings=rows,
        topics=topics_from_names(
            [f"topic {number % 4}" for number in range(n)], rows, merged={"small": "topic 1"}
        ),
        labels=labels,
        texts=lambda: iter([texts[: n // 2], texts[n // 2 :]]),
        targets=(
            TargetSet(
                name="with labels",
                texts=["a", "b"],
                labels=np.array(["x", None], dtype=np.object_),
                prompt_characters=np.array([0, 1]),
                embeddings=unit(rng, 2),
            ),
            TargetSet(
                name="without",
                texts=["c"],
                labels=np.array([None], dtype=np.object_),
                prompt_characters=np.array([0]),
            ),
        ),
        influence_of=lambda positions: np.sqrt(positions) - 3.0,
        signals={"rarity": rng.normal(size=n), "loss": rng.normal(size=n)},
        weights={"rarity": 2.0, "loss": 0.5},
    )


@pytest.fixture(scope="module")
def stored(samplers, tmp_path_factory):
    """Return the folder of a bundle of everything."""
    folder = tmp_path_factory.mktemp("bundle")
    samplers[0].save_bundle(full(), folder)
    return folder


def test_candidates_come_back_as_they_were(samplers, stored):
    before, after = full(), samplers[0].load_bundle(stored)
    assert list(after.document_ids) == list(before.document_ids)
    for name in ("measures", "signals"):
        mine, its = getattr(before, name), getattr(after, name)
        assert list(mine) == list(its)
        for each, values in mine.items():
            np.testing.assert_array_equal(its[each], values)
            assert its[each].dtype == np.float64
    for name in ("costs", "embeddings", "labels"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        assert getattr(after, name).dtype == getattr(before, name).dtype
    assert after.weights == before.weights
    np.testing.assert_array_equal(after.influence_of(np.array([9, 4])), [0.0, -1.0])
    assert [text for batch in after.texts() for text in batch] == [
        text for batch in before.texts() for text in batch
    ]
    assert list(after.texts()) == list(after.texts())  # anew at each call
    for name in ("names", "similarities", "centroids", "index"):
        np.testing.assert_array_equal(getattr(after.topics, name), getattr(before.topics, name))
    assert after.topics.topics == before.topics.topics
    assert after.topics.merged == before.topics.merged
    for mine, its in zip(before.targets, after.targets, strict=True):
        assert (its.name, list(its.texts)) == (mine.name, list(mine.texts))
        assert its.labels.tolist() == mine.labels.tolist()
        assert its.prompt_characters.tolist() == mine.prompt_characters.tolist()
        assert (its.embeddings is None) == (mine.embeddings is None)
    np.testing.assert_array_equal(after.targets[0].embeddings, before.targets[0].embeddings)


def test_what_candidates_lack_they_lack_when_they_come_back(samplers, tmp_path):
    bare = Candidates(document_ids=["a"], costs=np.array([3]))
    samplers[0].save_bundle(bare, tmp_path)
    after = samplers[0].load_bundle(tmp_path)
    for field in dataclasses.fields(Candidates):
        if field.name not in {"document_ids", "costs", "measures"}:
            assert getattr(after, field.name) is None, field.name
    assert after.measures == {}


def test_no_targets_and_no_signals_are_not_the_same_as_none_known(samplers, tmp_path):
    empty = Candidates(document_ids=["a"], costs=np.array([3]), targets=(), signals={}, weights={})
    samplers[0].save_bundle(empty, tmp_path)
    after = samplers[0].load_bundle(tmp_path)
    assert (tuple(after.targets), after.signals, after.weights) == ((), {}, {})


def test_a_folder_of_another_format_is_refused(samplers, tmp_path):
    (tmp_path / "bundle.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="has format 99, expected 1"):
        samplers[0].load_bundle(tmp_path)


@pytest.mark.parametrize(
    ("bought", "budget", "is_drawn", "rule"),
    [
        ([0, 1], 8, False, None),  # 3 + 5; 9 and 1 are left and do not fit into 0
        ([0, 1], 7, False, "it spent 8 of a budget of 7"),
        ([0, 1], 7, True, "it spent 8 of a budget of 7"),
        ([0], 4, False, "1 are unspent, and 1 documents left would fit"),
        ([0], 3, True, None),
        ([3], 8, True, "7 are unspent, and the longest document left costs 5"),
        ([1], 7, True, None),  # 2 are unspent; the longest left that 7 could buy costs 3
        ([1], 8, True, "3 are unspent, and the longest document left costs 3"),
        ([0, 0], 8, False, "1 of its purchases are repetitions"),
        ([0, 4], 8, False, "positions must be in 0 .. 3, got 0 .. 4"),
        ([-1], 18, False, "positions must be in 0 .. 3, got -1 .. -1"),
        ([0.5], 8, False, "positions must be a vector of integers, got float64 of (1,)"),
    ],
)
def test_a_selection_that_breaks_a_promise_is_told_how(samplers, bought, budget, is_drawn, rule):
    found = samplers[2].broken_rule(
        np.array(bought),
        np.array([3, 5, 9, 1]),
        budget,
        eligible=np.arange(4),
        is_drawn=is_drawn,
    )
    assert found == rule


def test_what_a_sampler_would_never_buy_may_fit(samplers):
    costs = np.array([3, 5, 1])
    broken_rule = samplers[2].broken_rule
    bought = np.array([0])
    assert broken_rule(bought, costs, 5, eligible=np.array([0, 1]), is_drawn=False) is None
    assert broken_rule(bought, costs, 5, eligible=np.array([0, 2]), is_drawn=False)


def test_documents_that_lack_a_measure_are_not_what_a_sampler_would_buy(samplers):
    documents = full()
    found = samplers[2].eligible_positions("perplexity_low", documents)
    assert set(range(N)) - set(found.tolist()) == set(range(0, N, 50))
    assert len(samplers[2].eligible_positions("random", documents)) == N


def test_what_a_sampler_lacks_is_said_in_words(samplers):
    bare = Candidates(document_ids=["a"], costs=np.array([3]))
    lacks = samplers[1].what_it_lacks
    assert lacks(sampler_spec("perplexity_low"), bare) == ["the measure mean_token_loss"]
    assert lacks(sampler_spec("semdedup"), bare) == ["embeddings", "topics"]
    assert lacks(sampler_spec("random"), bare) == []


@pytest.fixture(scope="module")
def outcome(samplers, stored, tmp_path_factory):
    """Return the result of four samplers at two budgets, and the folder of what they bought."""
    _, _, run_all = samplers
    selections = tmp_path_factory.mktemp("selections")
    runs = run_all.Runs(stored, 17, 300.0, selections)
    names = ["ccnet_head", "perplexity_low", "ask_llm_top", "quad"]
    found = run_all.run_all(names, samplers[0].load_bundle(stored), runs, shares=(0.1, 0.9))
    return found, selections


def test_every_sampler_is_run_or_listed_with_the_reason(outcome):
    result, _ = outcome
    assert list(result["samplers"]) == ["ccnet_head", "perplexity_low", "quad"]
    assert result["not_run"] == {"ask_llm_top": "the bundle lacks the measure p_yes"}
    # ccnet_head leaves most of the larger budget, and quad what it has no block for
    assert result["broken"] == {}


def test_what_is_stored_is_what_the_sampler_buys(outcome):
    result, selections = outcome
    documents = full()
    run = result["samplers"]["perplexity_low"]["runs"][0]
    with np.load(selections / run["selection"], allow_pickle=False) as kept:
        bought = kept["bought"]
    budget = int(documents.costs.sum()) // 10
    loss = documents.measures["mean_token_loss"]
    left, slow = budget, []
    for position in np.argsort(loss, kind="stable")[: int((~np.isnan(loss)).sum())].tolist():
        if documents.costs[position] <= left:
            slow.append(position)
            left -= int(documents.costs[position])
    assert bought.tolist() == slow
    assert run["n_bought"] == len(slow)
    assert run["unspent_share"] == pytest.approx(left / budget)
    assert run["cpu_seconds"] > 0
    assert run["bytes_above_bundle"] >= 0


def test_a_sampler_that_overspends_is_broken_and_the_run_fails(samplers, stored, tmp_path):
    _, _, run_all = samplers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["run_all", str(stored), "--name", "tiny", "--only", "random"])
        patch.setattr(sys, "argv", [*sys.argv, "--shares", "0.2", "--results", str(tmp_path)])
        assert run_all.main() == 0
        # every document costs twice as much as the sampler is told
        loaded = samplers[0].load_bundle(stored)
        dearer = dataclasses.replace(loaded, costs=loaded.costs * 2)
        runs = run_all.Runs(stored, 17, 300.0, tmp_path)
        result = run_all.run_all(["random"], dearer, runs, shares=(0.2,))
    assert list(result["broken"]) == ["random"]
    assert "it spent" in result["broken"]["random"]
    stored_result = json.loads((tmp_path / "samplers_tiny.json").read_text())
    assert list(stored_result["samplers"]) == ["random"]
    assert stored_result["command"].endswith("--only random --shares 0.2 --seed 17")
    assert str(stored) not in json.dumps(stored_result)


def test_a_run_that_takes_too_long_is_listed(samplers, stored, tmp_path):
    _, _, run_all = samplers
    runs = run_all.Runs(stored, 17, 0.01, tmp_path)
    result = run_all.run_all(["random"], samplers[0].load_bundle(stored), runs, shares=(0.2,))
    assert result["not_run"] == {"random": "it did not finish within 0.01 s"}
    assert result["samplers"] == {}


def test_a_process_that_fails_is_broken_and_not_left_out(samplers, tmp_path):
    _, _, run_all = samplers
    runs = run_all.Runs(tmp_path / "nowhere", 17, 300.0, tmp_path)
    result = run_all.run_all(["random"], full(20), runs, shares=(0.2,))
    assert "nowhere" in result["broken"]["random"]

import dataclasses

import numpy as np
import pytest

from databourse.comparison.grid import ALL, Cell, Pick, cells_of, described, measured, pick
from databourse.comparison.proxies import Measurement
from databourse.errors import InputError
from databourse.samplers.interface import Candidates, SamplerSpec, restricted_to
from databourse.samplers.registry import sampler_spec
from databourse.topics import topics_from_names


def pool(n=60, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 5))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    texts = [f"text {i}" for i in range(n)]
    return Candidates(
        document_ids=[f"{i:03d}" for i in range(n)],
        costs=rng.integers(1, 9, n),
        measures={"age": np.arange(n, dtype=np.float64)},
        embeddings=vectors,
        topics=topics_from_names([f"t{i % 3}" for i in range(n)], vectors),
        labels=np.array([f"l{i % 2}" for i in range(n)], dtype=object),
        texts=lambda: iter([texts[:7], texts[7:]]),
        influence_of=lambda positions: positions * 2.0,
        signals={"age": np.arange(n, dtype=np.float64)},
    )


def test_all_counts_once_per_seed_and_first_seeds_come_first():
    cells = cells_of(["random", ALL], [5, 9], 2, whole_pool=99)
    assert cells == [
        Cell("random", 5, 0),
        Cell("random", 9, 0),
        Cell(ALL, 99, 0),
        Cell("random", 5, 1),
        Cell("random", 9, 1),
        Cell(ALL, 99, 1),
    ]


def chosen(name, budget, seed, share=1.0, root_seed=3):
    cell = Cell(name, budget, seed)
    spec = None if name == ALL else sampler_spec(name)
    return pick(pool(), spec, cell, root_seed=root_seed, share=share)


def test_a_pick_keeps_its_budget_and_depends_on_its_seed():
    one, again, other = chosen("random", 40, 0), chosen("random", 40, 0), chosen("random", 40, 1)
    assert one.spent == int(pool().costs[one.positions].sum()) <= 40
    assert one.positions.tolist() == again.positions.tolist() != other.positions.tolist()
    assert one.positions.tolist() != chosen("random", 40, 0, root_seed=4).positions.tolist()


def test_all_is_everything_for_sale():
    assert chosen(ALL, 0, 0).positions.tolist() == list(range(60))
    some = chosen(ALL, 0, 0, share=0.5)
    assert len(some.positions) == 30


def test_samplers_of_a_seed_choose_from_the_same_part_of_the_pool():
    for_sale = set(chosen(ALL, 0, 2, share=0.5).positions.tolist())
    other = set(chosen(ALL, 0, 3, share=0.5).positions.tolist())
    assert for_sale != other
    for name in ("random", "market", "age:top", "k_center"):
        assert set(chosen(name, 30, 2, share=0.5).positions.tolist()) <= for_sale
    # what draws nothing varies with the seed too
    top = [chosen("age:top", 30, seed, share=0.5).positions.tolist() for seed in (2, 3)]
    assert top[0] != top[1]


def test_what_is_restricted_keeps_every_row_together():
    whole = pool()
    kept = np.array([1, 5, 8, 40])
    part = restricted_to(whole, kept)
    assert list(part.document_ids) == ["001", "005", "008", "040"]
    assert part.costs.tolist() == whole.costs[kept].tolist()
    assert [text for batch in part.texts() for text in batch] == [
        "text 1",
        "text 5",
        "text 8",
        "text 40",
    ]
    assert part.measures["age"].tolist() == part.signals["age"].tolist() == [1, 5, 8, 40]
    assert part.influence_of(np.array([3, 0])).tolist() == [80.0, 2.0]
    assert part.topics.names.tolist() == whole.topics.names[kept].tolist()
    assert part.labels.tolist() == ["l1", "l1", "l0", "l0"]
    assert (part.embeddings == whole.embeddings[kept]).all()
    bare = restricted_to(Candidates(document_ids=["a", "b"], costs=np.ones(2, int)), np.array([1]))
    assert bare.texts is bare.influence_of is bare.topics is None


def test_a_sampler_that_buys_nothing_is_refused():
    with pytest.raises(InputError, match="'random' bought nothing for 0; raise the budget"):
        chosen("random", 0, 0)


def test_the_training_seed_is_that_of_the_cell_whoever_bought():
    seen = []

    class Proxy:
        proxy_id = "noting"

        def measure(self, positions, *, seed):
            seen.append(seed)
            return (Measurement("t", "accuracy", 1.0),)

    for name in ("random", "market"):
        for seed in (0, 1):
            cell = Cell(name, 20, seed)
            measured(Proxy(), chosen(name, 20, seed), cell, root_seed=3)
    assert seen[0] == seen[2] != seen[1] == seen[3]


def test_what_a_pick_is_like_is_counted_over_topics():
    spec = SamplerSpec(
        name="first",
        measures=frozenset(),
        sampler=lambda candidates, budget, *, rng: np.array([0, 3, 6, 1]),
        is_random=False,
        summary="",
    )
    candidates = dataclasses.replace(pool(), costs=np.ones(60, dtype=np.int64))
    found = pick(candidates, spec, Cell("first", 9, 0), root_seed=1, share=1.0)
    values = {each.metric: each.value for each in described(candidates, found)}
    assert values["topic_coverage"] == pytest.approx(2 / 3)
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert values["topic_balance"] == pytest.approx(entropy / np.log(3))
    assert values["topic_effective_share"] == pytest.approx(1 / (0.75**2 + 0.25**2) / 3)
    assert values["ess_equal_weights"] == pytest.approx(4.0)
    assert "label_noise" not in values


def test_wrong_labels_are_counted_among_those_whose_truth_is_known():
    candidates = dataclasses.replace(pool(), topics=None)
    wrong = np.zeros(60)
    wrong[[0, 1]], wrong[2] = 1.0, np.nan
    bought = Pick(np.array([0, 2, 5, 1]), 9, 0.0, 0.0)
    values = {each.metric: each.value for each in described(candidates, bought, wrong=wrong)}
    assert values["label_noise"] == pytest.approx(2 / 3)
    unknown = Pick(np.array([2]), 9, 0.0, 0.0)
    metrics = {each.metric for each in described(candidates, unknown, wrong=wrong)}
    assert metrics == {"ess_equal_weights", "ess_token_weights"}


def test_the_effective_size_by_tokens_is_that_of_the_costs():
    costs = np.ones(60, dtype=np.int64)
    costs[0] = 3
    candidates = dataclasses.replace(pool(), topics=None, costs=costs)
    bought = Pick(np.array([0, 4, 7]), 5, 0.0, 0.0)
    values = {each.metric: each.value for each in described(candidates, bought)}
    assert values["ess_token_weights"] == pytest.approx(25 / 11)
    assert values["ess_equal_weights"] == pytest.approx(3.0)

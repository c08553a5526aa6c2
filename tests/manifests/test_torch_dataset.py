import json
import sys
import threading
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from databourse.errors import InputError, MissingExtraError, UnknownNameError
from databourse.manifests import merge_states, open_manifest

torch = pytest.importorskip("torch")
N = 53


@pytest.fixture(scope="module")
def manifest(tmp_path_factory, many):
    """Return a manifest of 53 documents in five shards, with unequal weights."""
    return open_manifest(many(tmp_path_factory.mktemp("pool"), n_documents=N, shard_rows=11))


@pytest.fixture(scope="module")
def ids(manifest):
    return sorted(manifest.to_arrow(["document_id"])["document_id"].to_pylist())


def only_ids(example):
    return example["document_id"]


def data(manifest, **changes):
    options = {"seed": 3, "window_rows": 12, "transform": only_ids}
    return manifest.to_torch(**{**options, **changes})


def one_worker(dataset, worker, workers):
    """Read as a worker process does, in this process."""
    return dataset.examples_at(dataset.remaining_of(worker, workers))


@settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    layout=st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(1, 4)),
    batch=st.integers(1, 7),
    stops=st.lists(st.integers(0, 12), min_size=4, max_size=4),
    weighting=st.sampled_from(["carried", "resampled"]),
)
def test_stopped_anywhere_and_resumed_every_example_comes_exactly_once(
    manifest, ids, *, layout, batch, stops, weighting
):
    """Ranks stop after some batches; their states, as JSON, go on in as many or other ranks."""
    ranks, workers, later = layout
    options = {"weighting": weighting}
    expected = Counter(data(manifest, rank=0, ranks=1, **options))
    seen, states = Counter(), []
    for rank in range(ranks):
        loader = data(manifest, rank=rank, ranks=ranks, **options)
        rounds = {worker: one_worker(loader, worker, workers + 1) for worker in range(workers + 1)}
        left = {worker: loader.remaining_of(worker, workers + 1) for worker in rounds}
        for step in range(stops[rank]):
            worker = step % (workers + 1)
            taken = list(islice(rounds[worker], batch))
            seen.update(taken)
            left[worker] = drop(left[worker], len(taken))
        state = loader.state_dict()
        state["workers"] = workers + 1
        state["remaining"] = [[list(each) for each in left[worker]] for worker in rounds]
        states.append(json.loads(json.dumps(state)))
    merged = merge_states(states)

    same, other = Counter(seen), Counter(seen)
    for rank in range(ranks):
        resumed = data(manifest, rank=rank, ranks=ranks, **options)
        resumed.load_state_dict(states[rank])
        for worker in range(workers + 1):
            same.update(one_worker(resumed, worker, workers + 1))
    for rank in range(later):
        resumed = data(manifest, rank=rank, ranks=later, **options)
        resumed.load_state_dict(merged)
        other.update(resumed)

    assert same == other == expected
    if weighting == "carried":
        assert expected == Counter(ids)


@pytest.fixture(autouse=True)
def _no_hooks_of_other_tests(monkeypatch):
    """Forked workers run what this process registered for its end; that of Prefect fails there."""
    monkeypatch.setattr(threading, "_threading_atexits", [])


def drop(intervals, count):
    from databourse.manifests.progress_states import without_first

    return without_first([tuple(each) for each in intervals], count)


@pytest.mark.parametrize("stop", [0, 3, 9])
def test_two_ranks_with_two_worker_processes_resume_exactly(manifest, ids, stop):
    seen = []
    for rank in range(2):
        loader = data(manifest, rank=rank, ranks=2).loader(batch_size=2, num_workers=2)
        batches = iter(loader)
        seen += [each for _, batch in zip(range(stop), batches, strict=False) for each in batch]
        state = json.loads(json.dumps(loader.state_dict()))
        del batches

        resumed = data(manifest, rank=rank, ranks=2).loader(batch_size=2, num_workers=2)
        resumed.load_state_dict(state)
        seen += [each for batch in resumed for each in batch]
        assert resumed.state_dict()["remaining"] == [[], []]

    assert sorted(seen) == ids


@pytest.mark.filterwarnings("ignore:.set_vital. is deprecated:UserWarning")  # torchdata 0.11 does
@pytest.mark.parametrize(("workers", "stop"), [(0, 5), (2, 0), (2, 5)])
def test_the_stateful_loader_of_torchdata_resumes_exactly(manifest, ids, workers, stop):
    loaders = pytest.importorskip("torchdata.stateful_dataloader")

    def loader(rank):
        options = {"batch_size": 2, "num_workers": workers, "collate_fn": list}
        return loaders.StatefulDataLoader(data(manifest, rank=rank, ranks=2), **options)

    seen, again = [], []
    for rank in range(2):
        begun = loader(rank)
        seen += [each for batch in islice(begun, stop) for each in batch]
        resumed = loader(rank)
        resumed.load_state_dict(json.loads(json.dumps(begun.state_dict())))
        seen += [each for batch in resumed for each in batch]
        again += [each for batch in resumed for each in batch]

    assert sorted(seen) == sorted(again) == ids


def test_a_resumed_epoch_goes_on_in_the_very_order(manifest):
    whole = list(data(manifest))
    dataset = data(manifest)
    first = list(islice(dataset, 17))
    state = dataset.state_dict()
    resumed = data(manifest)
    resumed.load_state_dict(state)

    assert first + list(resumed) == whole


def test_epochs_follow_each_other_in_new_orders(manifest, ids):
    dataset = data(manifest)
    epochs = [list(dataset) for _ in range(3)]

    assert [sorted(each) for each in epochs] == [ids] * 3
    assert len({tuple(each) for each in epochs}) == 3
    assert dataset.epoch == 2
    again = data(manifest)
    again.set_epoch(2)
    assert list(again) == epochs[2]
    loader = data(manifest).loader(batch_size=8)
    assert [[each for batch in loader for each in batch] for _ in range(3)] == epochs


def test_an_epoch_that_has_begun_is_not_begun_again(manifest):
    dataset = data(manifest)
    taken = next(iter(dataset))
    dataset.set_epoch(0)  # as trainers do, also after a state was loaded

    assert taken not in list(dataset)


def test_a_plain_dataloader_shares_the_examples_among_its_workers(manifest, ids):
    loader = torch.utils.data.DataLoader(data(manifest), batch_size=None, num_workers=2)

    assert sorted(loader) == ids


def test_equal_ranks_by_dropping_the_remainder(manifest, ids):
    parts = [list(data(manifest, rank=rank, ranks=4, remainder="drop")) for rank in range(4)]

    assert {len(part) for part in parts} == {N // 4}
    assert len(data(manifest, rank=0, ranks=4, remainder="drop")) == N // 4
    assert len({each for part in parts for each in part}) == 4 * (N // 4)
    whole = [data(manifest, rank=rank, ranks=4) for rank in range(4)]
    assert [len(list(part)) for part in whole] == [len(part) for part in whole] == [13, 13, 13, 14]


def test_examples_carry_their_columns_and_weights(manifest):
    rows = {row["document_id"]: row for row in manifest.to_arrow().to_pylist()}

    for example in data(manifest, transform=None):
        assert list(example) == [
            "document_id",
            "text",
            "prompt_characters",
            "label",
            "source",
            "topic",
            "tokens",
            "price",
            "weight",
        ]
        assert example == {name: rows[example["document_id"]][name] for name in example}
    assert set(next(iter(data(manifest, transform=None, columns=["tokens"])))) == {"tokens"}
    with pytest.raises(UnknownNameError, match="unknown column 'tokenz'"):
        data(manifest, columns=["tokenz"])


def test_resampling_gives_documents_in_proportion_to_their_weights(manifest):
    weights = dict(
        zip(*manifest.to_arrow(["document_id", "weight"]).to_pydict().values(), strict=True)
    )
    dataset = data(manifest, weighting="resampled", transform=None)

    counts = Counter()
    for epoch in range(60):
        dataset.set_epoch(epoch)
        examples = list(dataset)
        assert len(examples) == N
        assert {example["weight"] for example in examples} == {1.0}
        counts.update(example["document_id"] for example in examples)

    exact = {each: N * weight / sum(weights.values()) for each, weight in weights.items()}
    # a draw has a spread of at most a half: the mean of 60 has one of 0.065
    np.testing.assert_allclose(
        [counts[each] / 60 for each in exact], list(exact.values()), atol=0.3
    )


def test_the_state_of_something_else_is_refused(manifest):
    state = data(manifest).state_dict()
    with pytest.raises(InputError, match="taken with seed 3, this data set has 4"):
        data(manifest, seed=4).load_state_dict(state)
    with pytest.raises(InputError, match="taken with weighting 'carried'"):
        data(manifest, weighting="resampled").load_state_dict(state)
    with pytest.raises(InputError, match="taken with manifest_id"):
        data(manifest).load_state_dict({**state, "manifest_id": "0" * 64})
    with pytest.raises(InputError, match=r"of rank 0 of 1, this is rank 1 of 2; merge_states"):
        data(manifest, rank=1, ranks=2).load_state_dict(state)
    two = [data(manifest, rank=rank, ranks=2).state_dict() for rank in (0, 1)]
    with pytest.raises(InputError, match="states of all ranks are needed"):
        merge_states(two[:1])
    with pytest.raises(InputError, match="agree on epoch; got 0, 1"):
        merge_states([two[0], {**two[1], "epoch": 1}])


def test_a_rank_that_nobody_names_is_refused_where_there_are_several(manifest, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"WORLD_SIZE is 2, but torch\.distributed"):
        data(manifest)
    assert data(manifest, rank=1, ranks=2).rank == 1
    with pytest.raises(InputError, match=r"rank must be in 0\.\.1, got 2"):
        data(manifest, rank=2, ranks=2)


def test_more_ranks_than_examples_leave_some_with_none(made, tmp_path):
    few = open_manifest(made.publish(tmp_path).path)

    parts = [list(data(few, rank=rank, ranks=8)) for rank in range(8)]

    assert sorted(map(len, parts)) == [0, 0, 0, 1, 1, 1, 1, 1]
    empty = data(few, rank=0, ranks=8)
    assert [list(empty), empty.epoch, list(empty), empty.epoch] == [[], 0, [], 1]


def test_without_torch_the_package_is_named(manifest, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "databourse.manifests.torch_dataset", raising=False)
    with pytest.raises(MissingExtraError, match="to_torch needs the package torch"):
        data(manifest)

"""Influence measured on demand: stored, never measured twice, by the model of another fold."""

import json
from pathlib import Path

import numpy as np
import pytest

from databourse.influence.transformer import InfluenceSettings
from databourse.language_models.loading import load_trained_model
from databourse.progress import silent
from databourse.refresh import influence_measuring
from databourse.refresh.context import ModelIds, SnapshotIds
from databourse.refresh.examples import read_examples, targets_id
from databourse.refresh.influence_measuring import (
    FOLDER,
    PoolInfluence,
    influence_id,
    influence_settings,
)
from databourse.refresh.reference_model import model_folder
from databourse.signals.folds import document_folds


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.fixture(name="measured")
def _measured(trained):
    """Return a pool with targets, and a function that gives what measures its influence."""
    pool, fingerprints = trained
    text = next(iter(pool.texts().values()))
    root = Path(pool.run.root)
    (root / "dev.jsonl").write_text(json.dumps({"text": text + " and more"}) + "\n")
    target = {"name": "dev", "path": "dev.jsonl", "text": "{text}"}

    def measure(pool=pool, **influence):
        own = pool.configured(
            targets=[target], influence={"sample_documents": 20, "batch_tokens": 256, **influence}
        )
        run = own.run
        read_examples(pool.warehouse, run, kind="target", advance=silent)
        ids = SnapshotIds(
            pool.snapshot_id,
            "tokens",
            "vectors",
            "topics",
            None,
            ModelIds(trained=fingerprints),
            targets_id(pool.warehouse, run.run_id),
        )
        ids_of_documents = pool.documents()["document_id"].to_pylist()
        return PoolInfluence(pool.warehouse, run, ids, ids_of_documents)

    return pool, measure, fingerprints


def test_what_was_measured_is_not_measured_again_and_order_is_that_of_the_asker(measured):
    pool, measure, _ = measured
    first = measure()
    some = first(np.array([5, 1, 9]))
    assert first.n_measured == 3
    second = measure()
    more = second(np.array([1, 2, 5, 9]))
    assert second.n_measured == 1
    assert more[[2, 0, 3]].tolist() == some.tolist()
    stored = pool.query("select count(*), count(distinct document_id) from influences")
    assert stored == [(4, 4)]


def test_a_document_is_measured_by_the_model_that_has_not_seen_it(measured, monkeypatch):
    pool, measure, fingerprints = measured
    opened = []

    def noting(run, trained, fold):
        opened.append(fold)
        return load_trained_model(model_folder(run.warehouse_path, trained[fold])).model

    monkeypatch.setattr(influence_measuring, "open_model", noting)
    ids = pool.documents()["document_id"].to_pylist()
    folds = document_folds(ids, len(fingerprints))
    measure()(np.flatnonzero(folds == 1)[:2])
    assert opened == [1]


def test_a_curvature_is_fitted_once_and_a_damaged_one_again(measured):
    pool, measure, _ = measured
    measure()(np.arange(4))
    folders = sorted((pool.warehouse.root / FOLDER).iterdir())
    files = [each for folder in folders for each in folder.iterdir()]
    before = {each: each.stat().st_mtime_ns for each in files}
    expected = measure()(np.arange(8))
    assert {each: each.stat().st_mtime_ns for each in files} == before
    for each in files:
        each.write_bytes(each.read_bytes()[:-7])
    with pool.warehouse.transaction() as cursor:
        cursor.execute("delete from influences")
    np.testing.assert_allclose(measure()(np.arange(8)), expected, rtol=1e-6)
    assert all(each.stat().st_mtime_ns > before[each] for each in files)


def test_a_call_that_was_interrupted_is_repeated_bit_by_bit(measured, monkeypatch):
    pool, measure, _ = measured
    calls = [np.arange(0, 7), np.arange(7, 14)]
    whole = measure()
    expected = [whole(each).tolist() for each in calls]
    with pool.warehouse.transaction() as cursor:
        cursor.execute("delete from influences")
    first = measure()
    first(calls[0])
    with monkeypatch.context() as broken:
        broken.setattr(influence_measuring, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            first(calls[1])
    again = measure()
    assert [again(each).tolist() for each in calls] == expected
    assert again.n_measured == 7


def test_values_do_not_depend_on_what_is_asked_together(measured):
    pool, measure, _ = measured
    together = measure()(np.arange(12))
    with pool.warehouse.transaction() as cursor:
        cursor.execute("delete from influences")
    one_by_one = measure()
    alone = [float(one_by_one(np.array([place]))[0]) for place in range(12)]
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-5)


def test_the_id_changes_with_what_decides_a_value_and_with_nothing_else(measured):
    _, measure, _ = measured
    base = measure().influence_id
    assert measure(damping=0.2).influence_id != base
    assert measure(layers="mlp").influence_id != base
    assert measure(batch_tokens=512).influence_id == base
    assert measure(gradients={"features": 64}).influence_id == base


def test_the_config_s_words_are_those_of_measuring(measured):
    _, measure, _ = measured
    config = measure()._run.config.influence
    assert influence_settings(config) == InfluenceSettings(batch_tokens=256)


def test_influence_depends_on_the_targets(measured):
    pool, measure, _ = measured
    first = measure()
    before = first(np.arange(3))
    (Path(pool.run.root) / "dev.jsonl").write_text('{"text": "something else"}\n')
    other = measure()
    assert other.influence_id != first.influence_id
    assert (other(np.arange(3)) != before).all()
    assert influence_id(other._run, other._ids) == other.influence_id

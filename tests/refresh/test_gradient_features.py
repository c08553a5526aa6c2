"""Features of gradients of a snapshot: kept by batch, resumed, found damaged, comparable."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from databourse.influence.gradient_twins import loop_gradients
from databourse.influence.layers import layer_shapes, tracked_layers
from databourse.influence.projecting import Projector
from databourse.influence.weighted_documents import whole_documents
from databourse.progress import silent
from databourse.refresh import gradient_features
from databourse.refresh.examples import read_examples
from databourse.refresh.gradient_features import FOLDER, measure_gradients, stored_gradients
from databourse.refresh.language_models import open_model

TEXTS = ["the first example of the task", "another one of it"]


@pytest.fixture(name="pool")
def _pool(trained):
    """Return a pool with targets, and its reference models."""
    pool, fingerprints = trained
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    (Path(pool.run.root) / "dev.jsonl").write_text(lines)
    own = pool.configured(
        targets=[{"name": "dev", "path": "dev.jsonl", "text": "{text}"}],
        influence={"batch_tokens": 256, "gradients": {"features": 64}},
    )
    read_examples(own.warehouse, own.run, kind="target", advance=silent)
    return own, fingerprints


def measure(pool, fingerprints, advance=silent):
    return measure_gradients(
        pool.warehouse, pool.run, pool.snapshot_id, fingerprints, advance=advance
    )


def features_of(pool, fingerprints, measured):
    found = stored_gradients(pool.warehouse, pool.run, measured.stores)
    return [np.concatenate([block.features for block in each.blocks()]) for each in found], found


def files(pool):
    root = pool.warehouse.root / FOLDER
    return {
        str(each.relative_to(root)): each.read_bytes() for each in root.rglob("*") if each.is_file()
    }


def test_features_are_projected_gradients_of_each_document_by_each_model(pool):
    pool, fingerprints = pool
    measured = measure(pool, fingerprints)
    rows, checkpoints = features_of(pool, fingerprints, measured)
    texts = [text for _, text in sorted(pool.texts().items())]
    assert measured.n_measured == 2 * len(texts)
    for fold in range(2):
        model = open_model(pool.run, fingerprints, fold)
        layers = tracked_layers(model, "all")
        folder = pool.warehouse.root / FOLDER / measured.stores[fold]
        manifest = gradient_features.read_feature_manifest(folder)
        projector = Projector(manifest.projection, layer_shapes(model, layers))
        gradients = loop_gradients(model, whole_documents(model, texts[:4]), layers, output="loss")
        expected = projector.of_gradients(gradients)
        scale = np.linalg.norm(expected)
        assert np.linalg.norm(rows[fold][:4] - expected) < 1e-4 * scale
        assert checkpoints[fold].targets["dev"].shape == (2, measured.n_features)
    assert np.abs(rows[0] - rows[1]).max() > 0.01 * np.abs(rows[0]).max()


def test_an_interrupted_run_measures_only_what_is_missing_and_ends_byte_for_byte_alike(
    pool, monkeypatch
):
    pool, fingerprints = pool
    whole = measure(pool, fingerprints)
    expected = files(pool)
    for each in sorted((pool.warehouse.root / FOLDER).rglob("*"), reverse=True):
        each.unlink() if each.is_file() else each.rmdir()
    seen = []

    def stop(done):
        seen.append(done)
        if sum(seen) >= 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(pool, fingerprints, stop)
    again = measure(pool, fingerprints)
    assert 0 < again.n_measured < whole.n_measured
    assert files(pool) == expected
    assert measure(pool, fingerprints).n_measured == 0


def test_a_damaged_store_is_measured_again(pool):
    pool, fingerprints = pool
    measured = measure(pool, fingerprints)
    expected = files(pool)
    file = pool.warehouse.root / FOLDER / measured.stores[0] / "features.bin"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(bytes(content))
    again = measure(pool, fingerprints)
    assert again.n_measured == len(pool.texts())
    assert files(pool) == expected


def test_other_examples_of_a_target_are_measured_anew_and_documents_are_not(pool):
    pool, fingerprints = pool
    measured = measure(pool, fingerprints)
    _, before = features_of(pool, fingerprints, measured)
    (Path(pool.run.root) / "dev.jsonl").write_text('{"text": "something else"}\n')
    read_examples(pool.warehouse, pool.run, kind="target", advance=silent)
    again = measure(pool, fingerprints)
    assert again.n_measured == 0
    _, after = features_of(pool, fingerprints, again)
    assert after[0].targets["dev"].shape[0] == 1
    assert before[0].targets["dev"].shape[0] == 2


@pytest.mark.parametrize(
    "gradients",
    [{"projection": "sjlt"}, {"projection": "rademacher"}, {"precision": "float16"}],
    ids=["sjlt", "rademacher", "float16"],
)
def test_another_projection_or_precision_has_stores_of_its_own(pool, gradients):
    pool, fingerprints = pool
    first = measure(pool, fingerprints)
    section = pool.run.config.influence.model_dump()
    section["gradients"] |= gradients
    other = pool.configured(influence=section)
    second = measure(other, fingerprints)
    assert set(first.stores).isdisjoint(second.stores)
    rows, found = features_of(other, fingerprints, second)
    assert all(np.isfinite(each).all() for each in rows)
    assert [each.features_id for each in found] == list(second.stores)


def test_the_number_of_features_is_about_that_of_the_config(pool):
    pool, fingerprints = pool
    section = pool.run.config.influence.model_dump()
    section["gradients"]["features"] = 256
    measured = measure(pool.configured(influence=section), fingerprints)
    assert 200 <= measured.n_features <= 256


def test_what_gradients_cost_is_written_down(pool):
    pool, fingerprints = pool
    measured = measure(pool, fingerprints)
    costs = dict(
        pool.query(
            "select measured_id, sum(documents) from model_costs "
            "where list_contains($1, measured_id) group by 1",
            list(measured.stores),
        )
    )
    n_documents = len(pool.texts())
    assert costs == dict.fromkeys(measured.stores, n_documents)
    assert dataclasses.is_dataclass(measured)

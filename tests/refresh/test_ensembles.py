"""Ensembles of gradients and steps of checkpoints: trained, stored, resumed, read together."""

import json
import shutil

import numpy as np
import pytest

from databourse.config import RefreshConfig
from databourse.errors import ConfigError
from databourse.influence.gradient_twins import loop_gradients
from databourse.influence.layers import layer_shapes, tracked_layers
from databourse.influence.pool_gradients import less_by_target, trak_by_target
from databourse.influence.projecting import Projector
from databourse.influence.weighted_documents import whole_documents
from databourse.language_models.optimisation import learning_rate
from databourse.progress import silent
from databourse.refresh import ensembles
from databourse.refresh.ensembles import open_member, train_members
from databourse.refresh.gradient_features import (
    FOLDER,
    gradients_progress_total,
    measure_gradients,
    stored_gradients,
)
from databourse.refresh.reference_model import FOLDER as MODELS
from databourse.refresh.step_features import measure_steps, steps_progress_total, stored_steps
from databourse.refresh.validation import check_ensembles
from databourse.signals.folds import document_folds


@pytest.fixture(name="pool")
def _pool(with_ensemble):
    """Return a pool with targets and the gradients of two seeds, two checkpoints each, per fold."""
    return with_ensemble


def measure(pool, advance=silent):
    return measure_gradients(
        pool.warehouse, pool.run, pool.snapshot_id, ("one", "two"), advance=advance
    )


def measure_its_steps(pool, advance=silent):
    return measure_steps(pool.warehouse, pool.run, pool.snapshot_id, advance=advance)


def members_of(pool):
    ensemble = pool.run.config.influence.gradients.ensemble
    return train_members(
        pool.warehouse, pool.run, pool.snapshot_id, ensemble=ensemble, advance=silent
    )


def files(pool, folder):
    root = pool.warehouse.root / folder
    return {
        str(each.relative_to(root)): each.read_bytes() for each in root.rglob("*") if each.is_file()
    }


def test_trak_reads_checkpoints_of_every_seed_and_fold_each_with_a_projection_of_its_own(pool):
    seen = []
    measured = measure(pool, seen.append)
    n_documents = len(pool.texts())
    assert len(set(measured.stores)) == 2 * 2 * 2
    assert measured.n_measured == 0
    assert sum(seen) == gradients_progress_total(pool.run, ("one", "two"), n_documents)
    found = stored_gradients(pool.warehouse, pool.run, measured.stores)
    texts = [text for _, text in sorted(pool.texts().items())]
    rows = [np.concatenate([block.features for block in each.blocks()]) for each in found]
    manifests = [
        json.loads(each) for name, each in files(pool, FOLDER).items() if "manifest" in name
    ]
    seeds = {each["projection"]["seed"] for each in manifests}
    assert len(seeds) == 8
    for member, own, checkpoint in zip(members_of(pool).members, rows, found, strict=True):
        model = open_member(pool.run, member)
        layers = tracked_layers(model, "all")
        documents = whole_documents(model, texts[:3])
        gradients = loop_gradients(model, documents, layers, output="loss")
        manifest = ensembles_manifest(pool, checkpoint.features_id)
        expected = Projector(manifest.projection, layer_shapes(model, layers)).of_gradients(
            gradients
        )
        np.testing.assert_allclose(own[:3], expected, atol=1e-4 * np.abs(expected).max())
    values = trak_by_target(found, n_documents=n_documents, damping=0.1)["dev"]
    single = [trak_by_target([each], n_documents=n_documents, damping=0.1)["dev"] for each in found]
    np.testing.assert_allclose(values, np.mean(single, axis=0), rtol=1e-6, atol=1e-12)
    assert np.corrcoef(single[0], single[-1])[0, 1] < 0.999


def ensembles_manifest(pool, store):
    from databourse.influence.feature_store import read_feature_manifest

    return read_feature_manifest(pool.warehouse.root / FOLDER / store)


def test_a_training_has_not_seen_the_documents_of_its_fold(pool, monkeypatch):
    seen = []
    real = ensembles.train_to_the_end

    def noted(texts, **others):
        seen.append(sorted(texts))
        return real(texts, **others)

    monkeypatch.setattr(ensembles, "train_to_the_end", noted)
    section = pool.run.config.language_model.model_dump()
    section["reference"]["folds"] = 3  # of two folds each is what the other has not seen
    own = pool.configured(language_model=section)
    ids, texts = zip(*sorted(own.texts().items()), strict=True)
    fold_of = document_folds(ids, 3)
    members = members_of(own).members
    assert [each.fold for each in members] == [0] * 4 + [1] * 4 + [2] * 4
    expected = [
        sorted(text for text, fold in zip(texts, fold_of, strict=True) if fold != left_out)
        for left_out in (0, 0, 1, 1, 2, 2)
    ]
    assert seen == expected


def test_a_checkpoint_that_is_missing_or_damaged_is_trained_again_to_the_same_bits(pool):
    first = members_of(pool)
    assert first.n_trained == 0
    expected = files(pool, MODELS)
    lost, damaged = first.members[0], first.members[-1]
    shutil.rmtree(pool.warehouse.root / MODELS / lost.fingerprint)
    file = pool.warehouse.root / MODELS / damaged.fingerprint / "adam.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    again = members_of(pool)
    assert (again.n_trained, again.members) == (2, first.members)
    assert files(pool, MODELS) == expected


def test_an_interrupted_ensemble_goes_on_and_ends_byte_for_byte_alike(pool):
    expected = files(pool, FOLDER)
    for store in measure(pool).stores[::3]:
        shutil.rmtree(pool.warehouse.root / FOLDER / store)
    seen = []

    def stop(done):
        seen.append(done)
        if seen.count(10) == 2:  # batches of ten documents
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(pool, stop)
    assert measure(pool).n_measured == 3 * len(pool.texts()) - 20
    assert files(pool, FOLDER) == expected


def test_what_trainings_cost_is_written_under_what_they_were_made_for(pool):
    measured = measure(pool)
    rows = pool.query(
        "select documents, seconds from model_costs where measured_id = $1", measured.stores[0]
    )
    of_training = [seconds for documents, seconds in rows if documents == 0]
    assert len(of_training) == 1
    assert of_training[0] > 0
    again = pool.query(
        "select count(*) from model_costs where measured_id = $1", measured.stores[0]
    )
    assert again == [(len(rows),)]


def test_one_seed_and_one_checkpoint_are_the_models_that_score(trained):
    pool, fingerprints = trained
    before = set((pool.warehouse.root / MODELS).iterdir())
    single = pool.configured(influence={"gradients": {"features": 64}})
    measured = measure_gradients(
        single.warehouse, single.run, single.snapshot_id, fingerprints, advance=silent
    )
    assert len(measured.stores) == 2
    assert set((pool.warehouse.root / MODELS).iterdir()) == before


def test_steps_are_of_every_checkpoint_and_weighted_by_its_learning_rate(pool):
    seen = []
    measured = measure_its_steps(pool, seen.append)
    n_documents = len(pool.texts())
    assert len(set(measured.stores)) == len(measured.rates) == 4
    assert sum(seen) == steps_progress_total(pool.run, n_documents)
    assert (
        measured.rates[0]
        > measured.rates[1]
        > learning_rate(1, steps=10**9, settings=_settings(pool))
    )
    found = stored_steps(pool.warehouse, pool.run, measured.stores, measured.rates)
    assert [each.learning_rate for each in found] == list(measured.rates)
    less = less_by_target(found, n_documents=n_documents)
    cosines = []
    for each in found:
        rows = np.concatenate([block.features for block in each.blocks()]).astype(np.float64)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        examples = each.targets["dev"].astype(np.float64)
        examples /= np.linalg.norm(examples, axis=1, keepdims=True)
        cosines.append((rows @ examples.T).mean(axis=1))
    expected = np.average(cosines, axis=0, weights=measured.rates)
    np.testing.assert_allclose(less.values, expected, atol=1e-9)
    assert measure_its_steps(pool).n_measured == 0


def _settings(pool):
    from databourse.refresh.reference_model import training_settings

    return training_settings(pool.run.config.language_model.reference)


def test_steps_with_and_without_momentum_have_stores_of_their_own_and_share_trainings(pool):
    first = measure_its_steps(pool)
    models = files(pool, MODELS)
    section = pool.run.config.influence.model_dump()
    section["steps"] |= {"momentum": False}
    other = pool.configured(influence=section)
    second = measure_its_steps(other)
    assert set(first.stores).isdisjoint(second.stores)
    assert files(pool, MODELS) == models


@pytest.mark.parametrize(
    ("sections", "what"),
    [
        ({"signals": ["trak"]}, "influence.gradients.ensemble"),
        ({"signals": ["less"], "influence": {}}, "signal less"),
    ],
    ids=["ensemble", "less"],
)
def test_checkpoints_of_a_model_that_is_not_trained_here_are_refused(pool, sections, what):
    config = pool.run.config.model_dump()
    own = {**config, **sections}
    check_ensembles(RefreshConfig(**own))
    own["language_model"] = {**config["language_model"], "name": "./some-model"}
    with pytest.raises(ConfigError, match=f"{what} needs checkpoints"):
        check_ensembles(RefreshConfig(**own))

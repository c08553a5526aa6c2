"""Jobs of stages: what another process computes from copies of files is bit for bit the same.

The other process is stood in for by a pickled job, other paths and other thread counts; a real one
computes in the tests of flows.
"""

import pickle
import shutil

import numpy as np
import pyarrow as pa
import pytest

from databourse.config import NearDuplicates
from databourse.config_engine import OnRay, RayConfig
from databourse.encoders import load_encoder
from databourse.errors import ConfigError
from databourse.influence.feature_manifest import feature_manifest
from databourse.influence.feature_store import FeatureComputation
from databourse.influence.layers import tracked_layers
from databourse.influence.projections import Projection
from databourse.influence.weighted_documents import whole_documents
from databourse.progress import silent
from databourse.refresh import near_duplicates
from databourse.refresh.document_parts import PartTexts
from databourse.refresh.embedding import embedding_job
from databourse.refresh.gradient_features import _carried_fold, feature_job
from databourse.refresh.language_models import open_model
from databourse.refresh.near_duplicates import sketching_of
from databourse.refresh.token_scoring import scoring_job

TWO_THREADS = OnRay(ray=RayConfig(cpus_per_worker=2))
TEXTS = ["rain and wind", "", "storm " * 70, "frost on the harbour wall", "sun, then hail"]


def elsewhere(job, tmp_path):
    """Return the work of a job as another process has it: pickled, from copies of its files."""
    there = job.there()
    copies = []
    for number, folder in enumerate(there.folders):
        copies.append(tmp_path / f"copy-{number}" / folder.name)
        shutil.copytree(folder, copies[-1])
    return pickle.loads(pickle.dumps(there.open))(copies)  # noqa: S301 - our own


@pytest.mark.parametrize("name", ["default", "hashing"])
def test_vectors_are_the_same_elsewhere(trained, tmp_path, name):
    pool, _ = trained
    run = pool.configured(encoder=name, engine=TWO_THREADS).run
    encoder = load_encoder(name, cache_dir=run.warehouse_path / "models", threads=1)
    (run.warehouse_path / "models").mkdir(exist_ok=True)
    job = embedding_job(run, encoder)
    batch = pa.table({"text": TEXTS})

    here, there = job.here()(batch, silent), elsewhere(job, tmp_path)(batch, silent)

    assert here.tobytes() == there.tobytes()
    alone = elsewhere(job, tmp_path / "again")(batch.slice(3, 1), silent)
    assert alone.tobytes() == here[3].tobytes()  # nor does the company of a text matter
    assert job.size(batch) == 5


def test_another_encoder_elsewhere_is_refused(trained, tmp_path):
    pool, _ = trained
    run = pool.configured(encoder="hashing").run
    encoder = load_encoder("hashing", cache_dir=tmp_path, threads=1)
    (run.warehouse_path / "models").mkdir(exist_ok=True)
    opened = embedding_job(run, encoder).there().open
    opened.keywords["encoder_id"] = "hashing of another revision"

    with pytest.raises(ConfigError, match="their vectors differ"):
        opened([tmp_path])


def test_losses_are_the_same_elsewhere(trained, tmp_path):
    pool, fingerprints = trained
    run = pool.configured(engine=TWO_THREADS).run
    job = scoring_job(run, fingerprints, 1)
    rows = pa.table({"document_id": TEXTS})
    batch = PartTexts(rows, TEXTS, ["before"] * len(TEXTS))

    (here, _), (there, clock) = job.here()(batch, silent), elsewhere(job, tmp_path)(batch, silent)

    assert here.loss_sums.tobytes() == there.loss_sums.tobytes()
    assert here.entropy_sums.tobytes() == there.entropy_sums.tobytes()
    assert here.token_counts.tolist() == there.token_counts.tolist()
    assert clock.cpu_seconds > 0  # of the process that scored
    other, _ = scoring_job(run, fingerprints, 0).here()(batch, silent)
    assert not np.array_equal(other.loss_sums, here.loss_sums)


def features_job(run, fingerprints, fold, seed=3):
    model = open_model(run, fingerprints, fold)
    manifest = feature_manifest(
        model,
        ["a", "b", "c", "d", "e"],
        pool="tiny",
        weighting="whole documents",
        layers=tracked_layers(model, "all"),
        projection=Projection(kind="rademacher", seed=seed, size=32),
        output="margin",
        precision="float32",
        batch_documents=10,
    )
    computation = FeatureComputation(manifest, batch_tokens=64)
    documents = whole_documents(model, TEXTS)

    def carried():
        return _carried_fold(run, fingerprints, fold)

    return feature_job(run, model, carried, computation), documents


def test_gradients_are_the_same_elsewhere(trained, tmp_path):
    pool, fingerprints = trained
    job, documents = features_job(pool.configured(engine=TWO_THREADS).run, fingerprints, 0)

    here, there = job.here()(documents, silent), elsewhere(job, tmp_path)(documents, silent)

    assert here.features.tobytes() == there.features.tobytes()
    assert here.out_to_loss.tobytes() == there.out_to_loss.tobytes()
    assert np.abs(here.features).max() > 0


def test_gradients_of_another_checkpoint_are_refused(trained):
    pool, fingerprints = trained
    job, _ = features_job(pool.run, fingerprints, 0)
    other, _ = features_job(pool.run, fingerprints, 1)

    with pytest.raises(ConfigError, match="their numbers differ"):
        job.there().open(other.there().folders)


def test_sketches_and_shingles_are_the_same_elsewhere(tmp_path):
    sketching = sketching_of(NearDuplicates(), root_seed=17)
    batch = pa.table({"text": pa.array(TEXTS, pa.large_string())})
    for compute in (near_duplicates._sketches_of, near_duplicates._shingles_of):
        job = near_duplicates._job(compute, sketching, threads=1, threads_elsewhere=2)

        here, there = job.here()(batch, silent), elsewhere(job, tmp_path)(batch, silent)

        for name in ("keys", "characters", "hashes", "starts"):
            assert getattr(here, name, np.empty(0)).tobytes() == (
                getattr(there, name, np.empty(0)).tobytes()
            )

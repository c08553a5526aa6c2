"""A warehouse and sources of a few rows, for the stages one by one."""

import contextlib
import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest

from databourse.config import RefreshConfig
from databourse.progress import silent
from databourse.refresh.context import RunContext
from databourse.refresh.deduplication import count_tokens, drop_exact_duplicates, take_snapshot
from databourse.refresh.examples import read_examples
from databourse.refresh.gradient_features import measure_gradients
from databourse.refresh.ingestion import ingest_source
from databourse.refresh.reference_model import train_reference_models
from databourse.refresh.snapshot import snapshot_documents
from databourse.sources import open_source
from databourse.tokenization import load_tokenizer
from databourse.warehouse import Warehouse, hold_warehouse


@pytest.fixture
def warehouse(tmp_path):
    with hold_warehouse(tmp_path / "warehouse", threads=1, memory_limit="200MB") as warehouse:
        yield warehouse


@pytest.fixture
def ingest(warehouse, tmp_path):
    """Return a function that writes rows to a file and ingests it as a source of a run."""

    def ingest(rows, *, run_id="run", source="rows", rank=0, file="rows.jsonl", batch=3):
        empty = {"label": None, "note": None}
        lines = [row if isinstance(row, str) else json.dumps(empty | row) for row in rows]
        (tmp_path / file).write_text("\n".join(lines) + "\n")
        opened = open_source(
            name=source,
            root=tmp_path,
            data_roots=["."],
            path=file,
            text="{text}",
            label="label",
            metadata=["note"],
        )
        return ingest_source(
            warehouse,
            opened,
            run_id=run_id,
            source_rank=rank,
            batch_documents=batch,
            workers=1,
            advance=silent,
        )

    return ingest


@pytest.fixture
def query(warehouse):
    """Return a function that runs SQL on the warehouse and gives the rows."""

    def query(sql, *parameters):
        cursor = warehouse.cursor()
        try:
            return cursor.execute(sql, parameters).fetchall()
        finally:
            cursor.close()

    return query


POOL_SIZE = 40


def model_rows():
    """Return rows of a pool: 20 with the parts of a pair, 20 plain, of 6 to 90 words."""
    rng = np.random.default_rng(5)
    words = ("rain", "wind", "storm", "cloud", "sun", "frost", "snow", "heat", "flood", "hail")

    def sentence(n_words):
        return " ".join(rng.choice(words, size=n_words))

    lengths = rng.integers(6, 90, size=POOL_SIZE).tolist()
    pairs = [
        {"question": f"doc-{n} what of {sentence(4)}?", "answer": sentence(lengths[n])}
        for n in range(POOL_SIZE // 2)
    ]
    plain = [{"text": f"doc-{n} {sentence(lengths[n])}"} for n in range(POOL_SIZE // 2, POOL_SIZE)]
    return pairs, plain


@dataclasses.dataclass
class ModelPool:
    """A warehouse with a snapshot of a few documents, and the run that reads it."""

    warehouse: Warehouse
    run: RunContext
    snapshot_id: str

    def configured(self, **sections):
        """Return the same pool with other sections of the config."""
        config = RefreshConfig(**{**self.run.config.model_dump(), **sections})
        return dataclasses.replace(self, run=dataclasses.replace(self.run, config=config))

    def again(self, run_id):
        """Return the same pool in another run."""
        with self.warehouse.transaction() as cursor:
            cursor.execute(
                "insert into pool_documents by name select * replace ($run_id as run_id) "
                "from pool_documents where run_id = $before",
                {"run_id": run_id, "before": self.run.run_id},
            )
        return dataclasses.replace(self, run=dataclasses.replace(self.run, run_id=run_id))

    def query(self, sql, *parameters):
        cursor = self.warehouse.cursor()
        try:
            return cursor.execute(sql, parameters).fetchall()
        finally:
            cursor.close()

    def documents(self):
        """Return the documents of the snapshot."""
        return snapshot_documents(
            self.warehouse, run_id=self.run.run_id, snapshot_id=self.snapshot_id
        )

    def texts(self):
        """Return the text of each document, by id."""
        ids = self.documents()["document_id"].combine_chunks()
        batches = self.warehouse.texts_of(ids, batch_documents=1_000)
        return {row["document_id"]: row["text"] for batch in batches for row in batch.to_pylist()}


def model_config(**sections):
    return RefreshConfig(
        **{
            "pool": "tiny",
            "seed": 17,
            "sources": [
                {"name": "plain", "path": "plain.jsonl", "text": "{text}"},
                {
                    "name": "pairs",
                    "path": "pairs.jsonl",
                    "prompt": "{question}",
                    "completion": " {answer}",
                },
            ],
            "encoder": "hashing",
            "signals": ["perplexity", "ifd"],
            "budget": {"tokens": 300},
            "compute": {"threads": 1, "memory_limit": "200MB", "batch_documents": 10},
            "language_model": {
                "window_tokens": 48,
                "overlap_tokens": 16,
                "reference": {
                    "layers": 1,
                    "width": 16,
                    "heads": 2,
                    "context_tokens": 48,
                    "vocabulary": 300,
                    "epochs": 1,
                },
                "generations": {"samples": 2, "new_tokens": 4, "prompt_tokens": 16},
            },
            **sections,
        }
    )


def ingest_pool(warehouse, folder, run_id, pairs, plain):
    """Write rows to files, read them as a run does, and return the id of the snapshot."""
    root = folder / "rows" / run_id
    root.mkdir(parents=True)
    for rank, (name, rows, parts) in enumerate(
        (
            ("plain", plain, {"text": "{text}"}),
            ("pairs", pairs, {"prompt": "{question}", "completion": " {answer}"}),
        )
    ):
        lines = [json.dumps(row) for row in rows]
        (root / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        source = open_source(name=name, root=root, data_roots=["."], path=f"{name}.jsonl", **parts)
        ingest_source(
            warehouse,
            source,
            run_id=run_id,
            source_rank=rank,
            batch_documents=50,
            workers=1,
            advance=silent,
        )
    tokenizer = load_tokenizer("default")
    count_tokens(warehouse, tokenizer, run_id=run_id, batch_documents=50, advance=silent)
    drop_exact_duplicates(warehouse, run_id=run_id, tokenizer_id=tokenizer.tokenizer_id)
    return take_snapshot(warehouse, run_id=run_id)[0]


@contextlib.contextmanager
def held_pool(folder, **sections):
    """Hold the warehouse of a folder that `ingest_pool` filled in the run named run."""
    with hold_warehouse(folder / "warehouse", threads=1, memory_limit="200MB") as warehouse:
        run = RunContext("run", "tiny", str(folder), model_config(**sections))
        snapshot_id, _ = take_snapshot(warehouse, run_id="run")
        yield ModelPool(warehouse, run, snapshot_id)


@pytest.fixture(scope="session")
def ingested_folder(tmp_path_factory):
    """Return a folder whose warehouse has a snapshot of pairs and plain texts."""
    folder = tmp_path_factory.mktemp("ingested")
    with hold_warehouse(folder / "warehouse", threads=1, memory_limit="200MB") as warehouse:
        ingest_pool(warehouse, folder, "run", *model_rows())
    return folder


@pytest.fixture(scope="session")
def trained_folder(ingested_folder, tmp_path_factory):
    """Return a copy of that folder with its reference models trained."""
    folder = tmp_path_factory.mktemp("trained") / "pool"
    shutil.copytree(ingested_folder, folder)
    with held_pool(folder) as pool:
        train_reference_models(pool.warehouse, pool.run, pool.snapshot_id, advance=silent)
    return folder


ENSEMBLE = {
    "targets": [{"name": "dev", "path": "dev.jsonl", "text": "{text}"}],
    "influence": {
        "batch_tokens": 256,
        "gradients": {"features": 64, "ensemble": {"seeds": 2, "checkpoints": 2}},
        "steps": {"features": 64, "checkpoints": 2},
    },
}


@pytest.fixture(scope="session")
def ensemble_folder(ingested_folder, tmp_path_factory):
    """Return a copy of that folder with targets, and the gradients of an ensemble."""
    folder = tmp_path_factory.mktemp("ensemble") / "pool"
    shutil.copytree(ingested_folder, folder)
    lines = [json.dumps({"text": each}) for each in ("rain and wind", "an example of the task")]
    (folder / "dev.jsonl").write_text("\n".join(lines) + "\n")
    with held_pool(folder, **ENSEMBLE) as pool:
        read_examples(pool.warehouse, pool.run, kind="target", advance=silent)
        measure_gradients(
            pool.warehouse, pool.run, pool.snapshot_id, ("one", "two"), advance=silent
        )
    return folder


@pytest.fixture
def with_ensemble(open_pool, ensemble_folder):
    """Return a pool whose gradients of an ensemble are stored."""
    return open_pool(ensemble_folder, **ENSEMBLE)


@pytest.fixture
def open_pool(tmp_path):
    """Return a function that gives a pool in a copy of a folder; held until the test ends."""
    numbers = itertools.count()
    with contextlib.ExitStack() as held:

        def open_pool(folder, **sections):
            own = tmp_path / f"pool-{next(numbers)}"
            shutil.copytree(folder, own)
            return held.enter_context(held_pool(own, **sections))

        yield open_pool


@pytest.fixture
def untrained(open_pool, ingested_folder):
    """Return a pool without models."""
    return open_pool(ingested_folder)


@pytest.fixture
def trained(open_pool, trained_folder):
    """Return a pool and the fingerprints of its reference models."""
    pool = open_pool(trained_folder)
    models = train_reference_models(pool.warehouse, pool.run, pool.snapshot_id, advance=silent)
    return pool, models.fingerprints


@pytest.fixture
def next_day(tmp_path):
    """Return a function that gives a pool as a later run reads it: other rows, another snapshot."""

    def next_day(pool, pairs, plain, run_id="next"):
        snapshot_id = ingest_pool(pool.warehouse, tmp_path, run_id, pairs, plain)
        run = dataclasses.replace(pool.run, run_id=run_id)
        return dataclasses.replace(pool, run=run, snapshot_id=snapshot_id)

    return next_day


@pytest.fixture
def rows_of_pool():
    """Return the rows of the pool: pairs, and plain texts."""
    return model_rows()

"""Near duplicates of a run: sketches are kept, who survives is decided anew.

Band keys of every document, and the shingles of those that ever shared a band with another, are
kept in shards under the digest of the settings that they depend on. So a later refresh reads the
texts of new documents alone, and of old ones that a new one now shares a band with. The rule itself
runs over all documents of the run: what it decides cannot depend on what was stored.

What grows with the pool and must be at hand in no order (band keys, buckets, shingles) lies in
files that are mapped into memory, so the system may take that memory back.
"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from databourse.config import NearDuplicates as NearSettings
from databourse.dedup import minhash, shingles
from databourse.dedup.minhash import (
    RECALL_AT_THRESHOLD,
    Banding,
    HashFamily,
    choose_banding,
    draw_hash_family,
)
from databourse.dedup.near import (
    NearDuplicates,
    Sketches,
    choose_survivors,
    keep_company,
    near_duplicates,
    order_of_survival,
    sketch_texts,
)
from databourse.dedup.shingles import ShingleSets, joined, shingle_sets
from databourse.digests import digest_of
from databourse.engines import LOCAL, Elsewhere, Engine, Job, Work
from databourse.errors import IntegrityError
from databourse.progress import ProgressReport
from databourse.seeds import stage_rng
from databourse.warehouse.sketches import (
    StoredSketches,
    read_shingle_sizes,
    read_shingles,
    read_sketches,
    stored_sketches,
)
from databourse.warehouse.store import Warehouse, append
from databourse.warehouse.usage import mark_used

SHARD_DOCUMENTS = 50_000
"""Documents sketched between two commits: less than a second of work."""

Sketch = TypeVar("Sketch")


@dataclass(frozen=True)
class Sketching:
    """How documents are sketched, and the ids under which the sketches are kept."""

    family: HashFamily
    banding: Banding
    ngram: int
    keys_id: str
    shingles_id: str


def sketching_of(settings: NearSettings, *, root_seed: int) -> Sketching:
    """Return how the documents of a pool are sketched; the root seed draws the hash functions."""
    family = draw_hash_family(settings.permutations, stage_rng(root_seed, "near_dedup"))
    banding = choose_banding(
        settings.threshold, permutations=settings.permutations, recall=RECALL_AT_THRESHOLD
    )
    # what a letter is may change with Python, so with its version of Unicode
    sets: list[Any] = [shingles.REVISION, settings.ngram, unicodedata.unidata_version]
    functions = [family.multipliers.tolist(), family.increments.tolist()]
    return Sketching(
        family,
        banding,
        settings.ngram,
        digest_of(["keys", minhash.REVISION, banding.bands, banding.rows, *functions, *sets])[:32],
        digest_of(["shingles", *sets])[:32],
    )


def find_near_duplicates(
    warehouse: Warehouse,
    settings: NearSettings,
    *,
    document_ids: pa.StringArray,
    root_seed: int,
    threads: int,
    advance: ProgressReport,
    engine: Engine = LOCAL,
    threads_elsewhere: int = 1,
) -> NearDuplicates:
    """Return which of the documents another one of them nearly repeats.

    Args:
        warehouse: holds their texts, and is given the sketches that it lacks.
        settings: of near dedup.
        document_ids: of the documents, ascending, distinct.
        root_seed: of the run.
        threads: that sketch side by side.
        advance: told of documents as they are sketched.
        engine: that sketches and shingles.
        threads_elsewhere: of each worker of the engine.
    """
    sketching = sketching_of(settings, root_seed=root_seed)
    job = _job(_sketches_of, sketching, threads=threads, threads_elsewhere=threads_elsewhere)
    stored, places = _sketched(
        warehouse, sketching, document_ids=document_ids, engine=engine, job=job, advance=advance
    )
    with _scratch(warehouse.root) as scratch:
        shape = (sketching.banding.bands, len(document_ids))
        keys = _on_disk(scratch / "keys", shape, np.dtype(np.uint64))
        order = order_of_survival(read_sketches(stored, places, keys=keys))
        buckets = _on_disk(scratch / "buckets", shape, np.dtype(np.int32))
        company = keep_company(keys, order, scratch=buckets)
        members = document_ids.take(pa.array(company.documents))
        sets, places = _shingled(warehouse, sketching, document_ids=members, engine=engine)
        sizes = read_shingle_sizes(sets)
        hashes = _on_disk(scratch / "shingles", (int(sizes.sum()),), np.dtype(np.uint64))
        read_shingles(sets, hashes=hashes)
        verdicts = choose_survivors(
            company,
            begins=(np.cumsum(sizes) - sizes)[places],
            lengths=sizes[places],
            hashes=hashes,
            threshold=settings.threshold,
        )
    return near_duplicates(document_ids, company, verdicts)


def _sketched(
    warehouse: Warehouse,
    sketching: Sketching,
    *,
    document_ids: pa.StringArray,
    engine: Engine,
    job: Job[pa.Table, Sketches],
    advance: ProgressReport,
) -> tuple[StoredSketches, npt.NDArray[np.int64]]:
    """Sketch the documents that were never sketched; return all sketches and the places in them."""
    stored, places = _stored(warehouse, sketching.keys_id, document_ids)
    missing = document_ids.filter(pa.array(places < 0))
    advance(len(document_ids) - len(missing))
    if not len(missing):
        return stored, places
    done = engine.map_batches(job, warehouse.texts_by_shard(missing), advance=advance)
    for ids, parts in _shards(done):
        sketches = Sketches(
            np.concatenate([each.keys for each in parts]),
            np.concatenate([each.characters for each in parts]),
        )
        _register(warehouse, warehouse.sketches.write_sketches(sketching.keys_id, ids, sketches))
    return _stored(warehouse, sketching.keys_id, document_ids)


def _shingled(
    warehouse: Warehouse, sketching: Sketching, *, document_ids: pa.StringArray, engine: Engine
) -> tuple[StoredSketches, npt.NDArray[np.int64]]:
    """Keep the shingles of documents that lack them; return all shingles and the places in them."""
    stored, places = _stored(warehouse, sketching.shingles_id, document_ids)
    missing = document_ids.filter(pa.array(places < 0))
    if not len(missing):
        return stored, places
    job = _job(_shingles_of, sketching, threads=1, threads_elsewhere=1)
    for ids, parts in _shards(engine.map_batches(job, warehouse.texts_by_shard(missing))):
        sets = joined(parts)
        _register(warehouse, warehouse.sketches.write_shingles(sketching.shingles_id, ids, sets))
    return _stored(warehouse, sketching.shingles_id, document_ids)


def _job(
    compute: Callable[[Sketching, int, pa.Table, ProgressReport], Sketch],
    sketching: Sketching,
    *,
    threads: int,
    threads_elsewhere: int,
) -> Job[pa.Table, Sketch]:
    """Return how tables with a column text are sketched or shingled; no file is needed."""
    return Job(
        here=lambda: partial(compute, sketching, threads),
        there=lambda: Elsewhere(partial(_elsewhere, compute, sketching, threads_elsewhere)),
        size=len,
    )


def _elsewhere(
    compute: Callable[[Sketching, int, pa.Table, ProgressReport], Sketch],
    sketching: Sketching,
    threads: int,
    folders: Sequence[Path],
) -> Work[pa.Table, Sketch]:
    del folders
    return partial(compute, sketching, threads)


def _sketches_of(
    sketching: Sketching, threads: int, batch: pa.Table, progress: ProgressReport
) -> Sketches:
    found = sketch_texts(
        batch["text"].combine_chunks(),
        family=sketching.family,
        banding=sketching.banding,
        ngram=sketching.ngram,
        threads=threads,
    )
    progress(batch.num_rows)
    return found


def _shingles_of(
    sketching: Sketching, threads: int, batch: pa.Table, progress: ProgressReport
) -> ShingleSets:
    del threads
    found = shingle_sets(batch["text"].combine_chunks(), ngram=sketching.ngram)
    progress(batch.num_rows)
    return found


def _stored(
    warehouse: Warehouse, sketches_id: str, document_ids: pa.StringArray
) -> tuple[StoredSketches, npt.NDArray[np.int64]]:
    """Return what is kept under an id, and each document's place in it, -1 where it is not.

    A damaged shard is not kept: its documents are sketched again.
    """
    rows = warehouse.rows("stg_sketches__shards", {"sketches_id": sketches_id}).to_pylist()
    shards = {row["sketch_shard"]: row["sha256"] for row in rows}
    paths: list[str] = []
    for name, sha256 in shards.items():
        try:
            paths += warehouse.sketches.verified_paths({name: sha256})
        except IntegrityError:
            _forget(warehouse, name)
    for path in paths:
        mark_used(Path(path))
    stored = stored_sketches(paths)
    found = pc.index_in(document_ids, value_set=stored.document_ids)
    return stored, found.fill_null(-1).to_numpy().astype(np.int64)


def _forget(warehouse: Warehouse, sketch_shard: str) -> None:
    """Remove a damaged shard: all in it is computed again from texts, which have their own digests.

    Its row goes first, so a kill leaves a file that nothing names.
    """
    with warehouse.transaction() as cursor:
        cursor.execute(
            "delete from sketch_shards where sketch_shard = $sketch_shard",
            {"sketch_shard": sketch_shard},
        )
    (warehouse.sketches.folder / sketch_shard).unlink(missing_ok=True)


def _shards(
    done: Iterable[tuple[pa.Table, Sketch]],
) -> Iterator[tuple[pa.StringArray, list[Sketch]]]:
    """Yield ids of texts and what was made of them, as many at a time as a shard holds."""
    ids: list[pa.StringArray] = []
    parts: list[Sketch] = []
    for texts, part in done:
        ids.append(texts["document_id"].combine_chunks())
        parts.append(part)
        if sum(map(len, ids)) >= SHARD_DOCUMENTS:
            yield pa.concat_arrays(ids), parts
            ids, parts = [], []
    if ids:
        yield pa.concat_arrays(ids), parts


def _register(warehouse: Warehouse, row: dict[str, str | int]) -> None:
    with warehouse.transaction() as cursor:
        append(cursor, "sketch_shards", pa.Table.from_pylist([row]))


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """Give an empty folder for the time of the block."""
    folder = root / "spill" / "near_dedup"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _on_disk(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return an array of zeros in a file that is mapped into memory."""
    if 0 in shape:
        return np.zeros(shape, dtype)  # an empty file cannot be mapped
    return np.memmap(path, dtype=dtype, mode="w+", shape=shape)

"""Semantic duplicates: texts that say the same in other words, found by the cosine of embeddings.

After SemDeDup (Abbas et al. 2023, arXiv 2303.09540), which clusters embeddings by k-means, compares
within clusters and keeps of each group the item farthest from its centroid. Ours differs:

* every document is compared with every survivor, not within clusters alone: nothing is missed, and
  no centroid, draw or topic decides. That takes n * survivors * d products of float32, on a CPU
  less than it took to embed the texts;
* who survives is decided as among near duplicates (`databourse.dedup.near`): documents are taken
  longest text first, then smallest document_id. One is a survivor unless a survivor before it has
  cosine >= threshold with it; then it is dropped, and the most similar such survivor (the first in
  order among equals) represents it. So no chain A ~ B ~ C drops C for an A that it does not
  resemble, and a second pass drops nothing.

The result is a function of the set of documents and their vectors. Candidates come from float32
products within their worst rounding error; only a cosine computed pair by pair in float64 and
rounded to 6 decimals (`databourse.neighbours.vectors`) decides, so blocks and threads change
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from databourse.dedup.near import DUPLICATES_SCHEMA, order_of_survival
from databourse.errors import InputError
from databourse.neighbours.search import product_margin
from databourse.neighbours.threads import single_threaded_blas
from databourse.neighbours.vectors import paired_dots, rounded, row_norms, unit_rows
from databourse.progress import ProgressReport, silent

BLOCK_DOCUMENTS = 512
BLOCK_SURVIVORS = 8192
_PAIRS = 8192

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class _Vectors:
    """Unit rows and their exact lengths."""

    rows: Floats
    lengths: NDArray[np.float64]

    def at(self, places: slice | Places) -> _Vectors:
        return _Vectors(self.rows[places], self.lengths[places])


@dataclass(frozen=True)
class _Alike:
    """Pairs at or above the threshold: a document of the block, a survivor, their cosine."""

    documents: Places
    others: Places
    cosines: NDArray[np.float64]


def find_semantic_duplicates(
    document_ids: pa.StringArray,
    vectors: Floats,
    characters: Places,
    *,
    threshold: float,
    workers: int = 1,
    block_documents: int = BLOCK_DOCUMENTS,
    progress: ProgressReport = silent,
) -> pa.Table:
    """Return the documents that another one says again, by the rule of the module.

    Memory: the vectors twice, and `workers` blocks of products.

    Args:
        document_ids: distinct, ascending.
        vectors: shape (n_documents, d), unit rows, finite, in the order of the ids.
        characters: lengths of the texts, shape (n_documents,).
        threshold: least cosine of duplicates, in (0, 1].
        workers: threads, >= 1; they change nothing.
        block_documents: documents compared at a time, >= 1; it changes nothing.
        progress: told of the documents of each block.

    Returns:
        One row per dropped document in order of document_id: document_id, representative_id (a
        survivor), similarity (their cosine, >= threshold, 6 decimals).

    Raises:
        InputError: an argument is outside its domain.
    """
    if not 0 < threshold <= 1 or workers < 1 or block_documents < 1:
        raise InputError(
            "threshold must be in (0, 1], workers and block_documents >= 1, "
            f"got {threshold!r}, {workers!r} and {block_documents!r}"
        )
    if not len(document_ids) == len(vectors) == len(characters):
        raise InputError(
            "there must be one document_id, vector and length per document, got "
            f"{len(document_ids):,}, {len(vectors):,} and {len(characters):,}"
        )
    if len(document_ids) == 0:
        return DUPLICATES_SCHEMA.empty_table()
    order = order_of_survival(characters)
    rows = unit_rows(vectors)[order]  # a copy: the survivors are gathered at its beginning
    representatives, cosines = _verdicts(
        _Vectors(rows, row_norms(rows)),
        threshold,
        workers=workers,
        block_documents=block_documents,
        progress=progress,
    )
    dropped = np.flatnonzero(representatives >= 0)
    table = pa.table(
        {
            "document_id": document_ids.take(pa.array(order[dropped])),
            "representative_id": document_ids.take(pa.array(order[representatives[dropped]])),
            "similarity": cosines[dropped],
        },
        schema=DUPLICATES_SCHEMA,
    )
    return table.sort_by("document_id")


def _verdicts(
    ordered: _Vectors,
    threshold: float,
    *,
    workers: int,
    block_documents: int,
    progress: ProgressReport,
) -> tuple[Places, NDArray[np.float64]]:
    """Return each document's representative (-1 for survivors) and cosine, in the order given.

    Overwrites the vectors: those of the survivors so far stand first.
    """
    n_documents = len(ordered.rows)
    least = threshold - product_margin(ordered.lengths, ordered.rows.shape[1])
    survivors = np.empty(n_documents, np.int64)
    n_survivors = 0
    representatives = np.full(n_documents, -1, np.int64)
    cosines = np.zeros(n_documents)
    with single_threaded_blas(), ThreadPoolExecutor(workers) as pool:
        for start in range(0, n_documents, block_documents):
            places = np.arange(start, min(start + block_documents, n_documents))
            block = ordered.at(places)
            best = np.full(len(places), -1, np.int64)
            highest = np.zeros(len(places))
            firsts = range(0, n_survivors, BLOCK_SURVIVORS)

            def against(first: int, block: _Vectors = block, end: int = n_survivors) -> _Alike:
                part = slice(first, min(first + BLOCK_SURVIVORS, end))
                found = _alike(block, ordered.at(part), least=least, threshold=threshold)
                return _Alike(found.documents, found.others + first, found.cosines)

            for found in pool.map(against, firsts):
                _keep_most_similar(found, survivors, best, highest)
            stays = _settle_within(block, places, best, highest, least=least, threshold=threshold)
            representatives[places], cosines[places] = best, highest
            ends = n_survivors + int(stays.sum())
            survivors[n_survivors:ends] = places[stays]
            ordered.rows[n_survivors:ends] = block.rows[stays]
            ordered.lengths[n_survivors:ends] = block.lengths[stays]
            n_survivors = ends
            progress(len(places))
    return representatives, cosines


def _settle_within(
    block: _Vectors,
    places: Places,
    best: Places,
    highest: NDArray[np.float64],
    *,
    least: float,
    threshold: float,
) -> NDArray[np.bool_]:
    """Compare the documents of a block with those before them; return which survive.

    Only a document that no earlier block represents may stand for another one.
    """
    free = np.flatnonzero(best < 0)
    pairs = _alike(block, block.at(free), least=least, threshold=threshold)
    others = free[pairs.others]
    later = pairs.documents > others
    documents, others, cosines = pairs.documents[later], others[later], pairs.cosines[later]
    by_other = np.argsort(others, kind="stable")
    starts = np.unique(others[by_other], return_index=True)[1]
    for mine in np.split(by_other, starts[1:]) if len(by_other) else []:
        other = others[mine[0]]
        if best[other] >= 0:
            continue  # dropped for one before it: it stands for nobody
        higher = mine[cosines[mine] > highest[documents[mine]]]
        best[documents[higher]] = places[other]
        highest[documents[higher]] = cosines[higher]
    return best < 0


def _keep_most_similar(
    found: _Alike, survivors: Places, best: Places, highest: NDArray[np.float64]
) -> None:
    """Take the most similar survivor of each document, the first among equals."""
    for document, other, cosine in zip(found.documents, found.others, found.cosines, strict=True):
        if cosine > highest[document]:  # survivors come in order: of equals the first stays
            best[document], highest[document] = survivors[other], cosine


def _alike(block: _Vectors, others: _Vectors, *, least: float, threshold: float) -> _Alike:
    """Return the pairs whose exact cosine reaches the threshold, in order of document, other."""
    documents, places = np.nonzero(block.rows @ others.rows.T >= np.float32(least))
    cosines = np.empty(len(documents))
    for part in _parts(len(documents)):
        left, right = block.at(documents[part]), others.at(places[part])
        dots = paired_dots(left.rows, right.rows)
        cosines[part] = rounded(dots / (left.lengths * right.lengths))
    alike = cosines >= threshold
    return _Alike(documents[alike], places[alike], cosines[alike])


def _parts(n_pairs: int) -> Iterator[slice]:
    for start in range(0, n_pairs, _PAIRS):
        yield slice(start, start + _PAIRS)

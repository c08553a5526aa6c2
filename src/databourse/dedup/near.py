"""Near duplicates: texts whose word shingles nearly agree, found by MinHash, verified exactly.

Order of documents: longest text (in characters) first, then smallest document_id. The longest
stands for the others because it holds most of what its near copies say; the first one seen would
depend on the order of files.

Rule: documents are taken in that order. One is a survivor unless a survivor before it, sharing a
band of its signature, has Jaccard >= threshold with it; then it is dropped, and the most similar
such survivor (the first in order among equals) represents it. So

* every dropped document is verified against its own representative, which survives: no chain
  A ~ B ~ C ever drops C for an A that it does not resemble;
* a second run over the survivors compares the same pairs again and drops nothing;
* the result is a function of the set of documents, of nothing else: not of the order, the batches
  or the threads that brought them, nor of what was in the pool before.

Band keys and shingles depend on one text alone, so they may be kept; who survives depends on the
whole pool (a longer newcomer displaces an old survivor, and one that leaves frees those it stood
for), so it is decided anew. That takes a pass over the band keys, and comparisons only among
documents that share a band with another.

What is missed: pairs that share no band, with probability 1 - `candidate_probability`; and, where
very many survivors share a band without being duplicates (texts from one template), pairs that two
limits leave out. A bucket remembers its last `bucket_survivors` survivors, those nearest to the
document in length, as near duplicates are; and a document is compared with the `comparisons` of
them that share most bands with it, the last among equals. Documents that a limit kept from any
survivor of their buckets are counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from databourse.dedup.characters import characters
from databourse.dedup.minhash import (
    RECALL_AT_THRESHOLD,
    Banding,
    HashFamily,
    choose_banding,
    draw_hash_family,
)
from databourse.dedup.shingles import ShingleSets, Utf8Texts, lower_cased, utf8_texts
from databourse.errors import InputError
from databourse.progress import ProgressReport, silent

BUCKET_SURVIVORS = 256
COMPARISONS = 256
DUPLICATES_SCHEMA = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("representative_id", pa.string(), nullable=False),
        pa.field("similarity", pa.float64(), nullable=False),
    ]
)
_BITS_PER_KEY = 16  # of the filter of repeated keys: one key in 16 is mistaken for a repeated one

Keys = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sketches:
    """What tells whom a document may resemble; each row depends on its own text alone.

    Attributes:
        keys: uint64, shape (n_documents, bands), one key per band.
        characters: int64, shape (n_documents,), length of the text.
    """

    keys: Keys
    characters: Places


@dataclass(frozen=True)
class Company:
    """The documents that share a band with another, in the order of survival.

    Attributes:
        documents: int64, shape (n_members,), their places among all documents.
        buckets: int32, shape (n_members, bands): which bucket, -1 where nobody shares it.
        sizes: int32, shape (n_buckets,), documents in each.
    """

    documents: Places
    buckets: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Verdicts:
    """Who stands for whom among the members of a company.

    Attributes:
        representatives: int64, shape (n_members,), place among the members; -1 for survivors.
        similarities: float64, shape (n_members,), their Jaccard to 6 decimals; 0 for survivors.
        n_limited: members that a limit kept from a survivor which shares a band with them.
        n_comparisons: pairs whose shingles were compared.
    """

    representatives: Places
    similarities: npt.NDArray[np.float64]
    n_limited: int
    n_comparisons: int


@dataclass(frozen=True)
class NearDuplicates:
    """What near dedup drops.

    Attributes:
        duplicates: one row per dropped document in order of document_id: document_id,
            representative_id (a survivor), similarity (their Jaccard, >= threshold, 6 decimals).
        n_documents: documents that came in.
        n_limited: as in `Verdicts`; above 0, duplicates among texts from one template may have been
            missed.
    """

    duplicates: pa.Table
    n_documents: int
    n_limited: int


def find_near_duplicates(
    batches: Iterable[tuple[Sequence[str] | pa.StringArray, Sequence[str] | pa.StringArray]],
    *,
    threshold: float,
    rng: np.random.Generator,
    ngram: int = 5,
    permutations: int = 128,
    threads: int = 1,
    progress: ProgressReport = silent,
) -> NearDuplicates:
    """Return the documents that another document nearly repeats; all shingles stay in memory.

    Args:
        batches: (document_ids, texts), in any order and of any size; ids are distinct.
        threshold: least Jaccard of near duplicates, in (0, 1].
        rng: draws the hash functions; it decides only which pairs near the threshold are missed.
        ngram: words in a shingle, >= 1.
        permutations: entries of a signature; more find more pairs and cost more.
        threads: that sketch side by side; their number changes nothing.
        progress: told of the documents of each batch once it is sketched.

    Raises:
        InputError: an argument is outside its domain, or a document_id comes twice.
    """
    family = draw_hash_family(permutations, rng)
    banding = choose_banding(threshold, permutations=permutations, recall=RECALL_AT_THRESHOLD)
    ids = [pa.array([], pa.string())]
    sketches: list[Sketches] = []
    sets: list[ShingleSets] = []
    for document_ids, texts in batches:
        if len(document_ids) != len(texts):
            raise InputError(
                "there must be one document_id per text, "
                f"got {len(document_ids):,} for {len(texts):,}"
            )
        ids.append(pa.array(document_ids, pa.string()))
        sketch, shingles = sketch_and_shingle(
            texts, family=family, banding=banding, ngram=ngram, threads=threads
        )
        sketches.append(sketch)
        sets.append(shingles)
        progress(len(texts))
    names = pa.concat_arrays(ids)
    _check_distinct(names)
    by_id = pc.sort_indices(names).to_numpy().astype(np.int64)
    keys = np.empty((banding.bands, len(names)), np.uint64)
    lengths = np.empty(len(names), np.int64)
    place_of = np.empty(len(names), np.int64)
    place_of[by_id] = np.arange(len(names))
    begin = 0
    for each in sketches:
        places = place_of[begin : begin + len(each.keys)]
        keys[:, places] = each.keys.T
        lengths[places] = each.characters
        begin += len(places)
    company = keep_company(keys, order_of_survival(lengths))
    begins, sizes, hashes = _shingles_of(by_id[company.documents], sets)
    verdicts = choose_survivors(
        company, begins=begins, lengths=sizes, hashes=hashes, threshold=threshold
    )
    return near_duplicates(names.take(pa.array(by_id)), company, verdicts)


def sketch_texts(
    texts: Sequence[str] | pa.StringArray,
    *,
    family: HashFamily,
    banding: Banding,
    ngram: int,
    threads: int = 1,
) -> Sketches:
    """Return the band keys and lengths of texts.

    Raises:
        InputError: `ngram` is below 1.
    """
    nothing = np.empty(0, np.uint64)
    packed = utf8_texts(texts)
    found = _sketched(packed, family, banding, ngram=ngram, threads=threads, kept=nothing)[0]
    if (found.characters >= 0).all():
        return found
    lower = utf8_texts(lower_cased(texts))
    keys = _sketched(lower, family, banding, ngram=ngram, threads=threads, kept=nothing)[0].keys
    return Sketches(keys, _characters_of(texts))


def sketch_and_shingle(
    texts: Sequence[str] | pa.StringArray,
    *,
    family: HashFamily,
    banding: Banding,
    ngram: int,
    threads: int = 1,
) -> tuple[Sketches, ShingleSets]:
    """Return the sketches of texts, and their shingles: in any order and repeated as they come.

    Raises:
        InputError: `ngram` is below 1.
    """
    packed = utf8_texts(texts)
    room = np.empty(int(packed.starts[-1]) + len(packed), np.uint64)
    sketches, counts, pieces = _sketched(
        packed, family, banding, ngram=ngram, threads=threads, kept=room
    )
    if (sketches.characters < 0).any():
        again, shingles = sketch_and_shingle(
            lower_cased(texts), family=family, banding=banding, ngram=ngram, threads=threads
        )
        return Sketches(again.keys, _characters_of(texts)), shingles
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return sketches, ShingleSets(np.concatenate(pieces), starts)


def _characters_of(texts: Sequence[str] | pa.StringArray) -> Places:
    plain = texts.to_pylist() if isinstance(texts, pa.StringArray) else texts
    return np.fromiter(map(len, plain), np.int64, len(plain))


def _sketched(
    packed: Utf8Texts,
    family: HashFamily,
    banding: Banding,
    *,
    ngram: int,
    threads: int,
    kept: Keys,
) -> tuple[Sketches, Places, list[Keys]]:
    """Return sketches, shingles per text, and where the shingles are if `kept` has room."""
    from databourse.dedup import kernels  # compiled

    if ngram < 1:
        raise InputError(f"ngram must be >= 1 word, got {ngram!r}")
    tables = characters()
    keys = np.empty((len(packed), banding.bands), dtype=np.uint64)
    lengths = np.empty(len(packed), dtype=np.int64)
    counts = np.empty(len(packed), dtype=np.int64)

    def sketch(first: int, last: int) -> Keys:
        total = kernels.sketch_texts(
            packed.data,
            packed.starts,
            first,
            last,
            tables.flags,
            tables.lower,
            ngram,
            family.multipliers,
            family.increments,
            banding.rows,
            keys,
            lengths,
            kept,
            counts,
        )
        begin = int(packed.starts[first]) + first
        return kept[begin : begin + total]

    cuts = np.linspace(0, len(packed), threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        pieces = list(pool.map(sketch, cuts[:-1], cuts[1:]))
    return Sketches(keys, lengths), counts, pieces


def _shingles_of(documents: Places, sets: Sequence[ShingleSets]) -> tuple[Places, Places, Keys]:
    """Return where the distinct shingles of documents begin, how many they are, and all of them."""
    from databourse.dedup import kernels  # compiled

    ends = np.cumsum([len(each) for each in sets])
    ascending = np.argsort(documents)
    sizes = np.empty(len(documents), np.int64)
    found: list[Keys] = [np.empty(0, np.uint64)]
    for own, end in zip(sets, ends.tolist(), strict=True):
        first, last = np.searchsorted(documents[ascending], [end - len(own), end])
        wanted = documents[ascending[first:last]] - (end - len(own))
        out = np.empty(int(np.diff(own.starts)[wanted].sum()), np.uint64)
        counts = np.empty(len(wanted), np.int64)
        total = kernels.distinct_of(own.hashes, own.starts, wanted, out, counts)
        found.append(out[:total])
        sizes[ascending[first:last]] = counts
    begins = np.empty(len(documents), np.int64)
    begins[ascending] = np.cumsum(sizes[ascending]) - sizes[ascending]
    return begins, sizes, np.concatenate(found)


def order_of_survival(lengths: Places) -> Places:
    """Return the places of documents, longest first; equal lengths stay in the order given.

    Args:
        lengths: in characters, of documents in ascending order of document_id.
    """
    return np.argsort(-lengths, kind="stable")


def keep_company(
    keys: Keys, order: Places, *, scratch: npt.NDArray[np.int32] | None = None
) -> Company:
    """Return who shares a band with whom.

    Args:
        keys: uint64, shape (bands, n_documents); one row is read after the other.
        order: places of the documents in the order of survival.
        scratch: int32, the shape of `keys`, overwritten; may lie on disk.
    """
    from databourse.dedup import kernels  # compiled

    n_bands, n_documents = keys.shape
    buckets = np.empty(keys.shape, np.int32) if scratch is None else scratch
    words = 1 << max(0, math.ceil(math.log2(max(1, n_documents) * _BITS_PER_KEY / 64)))
    once, twice = np.zeros(words, np.uint64), np.zeros(words, np.uint64)
    places = np.empty(n_documents, np.int64)
    has_company = np.zeros(n_documents, dtype=bool)
    sizes = [np.empty(0, np.int32)]
    n_buckets = 0
    for band in range(n_bands):
        own = np.ascontiguousarray(keys[band])
        found = places[: kernels.repeated_keys(own, once, twice, places)]
        found = found[np.argsort(own[found])]
        ordered = own[found]
        is_first = np.ones(len(found), dtype=bool)
        is_first[1:] = ordered[1:] != ordered[:-1]
        groups = np.cumsum(is_first) - 1
        counts = np.bincount(groups)
        numbers = np.where(counts > 1, np.cumsum(counts > 1) - 1 + n_buckets, -1).astype(np.int32)
        buckets[band] = -1
        buckets[band, found] = numbers[groups]
        has_company[found[counts[groups] > 1]] = True
        sizes.append(counts[counts > 1].astype(np.int32))
        n_buckets += len(sizes[-1])
    members = order[has_company[order]]
    return Company(members, np.ascontiguousarray(buckets[:, members].T), np.concatenate(sizes))


def choose_survivors(
    company: Company,
    *,
    begins: Places,
    lengths: Places,
    hashes: Keys,
    threshold: float,
    bucket_survivors: int = BUCKET_SURVIVORS,
    comparisons: int = COMPARISONS,
) -> Verdicts:
    """Apply the rule of the module to the members of a company.

    Args:
        company: who shares a band with whom.
        begins: where the ascending distinct shingles of each member begin in `hashes`.
        lengths: how many they are, >= 1.
        hashes: uint64, shingles; may lie on disk.
        threshold: least Jaccard of near duplicates, in (0, 1].
        bucket_survivors: survivors that a bucket remembers.
        comparisons: survivors that a document is compared with at most.

    Raises:
        InputError: `threshold` is outside (0, 1], or a limit is below 1.
    """
    from databourse.dedup import kernels  # compiled

    if not 0 < threshold <= 1 or bucket_survivors < 1 or comparisons < 1:
        raise InputError(
            "threshold must be in (0, 1], bucket_survivors and comparisons >= 1, "
            f"got {threshold!r}, {bucket_survivors!r} and {comparisons!r}"
        )
    n_members = len(company.documents)
    representatives = np.empty(n_members, dtype=np.int64)
    similarities = np.empty(n_members, dtype=np.float64)
    limited = np.zeros(n_members, dtype=np.uint8)
    made = kernels.choose_survivors(
        company.buckets,
        company.sizes,
        np.ascontiguousarray(begins),
        np.ascontiguousarray(lengths),
        hashes,
        threshold,
        bucket_survivors,
        comparisons,
        representatives,
        similarities,
        limited,
    )
    return Verdicts(representatives, similarities, int(limited.sum()), made)


def near_duplicates(
    document_ids: pa.StringArray, company: Company, verdicts: Verdicts
) -> NearDuplicates:
    """Return the verdicts by document_id.

    Args:
        document_ids: of all documents, ascending.
        company: its members' places are places in `document_ids`.
        verdicts: over these members.
    """
    dropped = np.flatnonzero(verdicts.representatives >= 0)
    dropped = dropped[np.argsort(company.documents[dropped])]  # ids ascend with places
    representing = company.documents[verdicts.representatives[dropped]]
    table = pa.table(
        [
            document_ids.take(pa.array(company.documents[dropped])),
            document_ids.take(pa.array(representing)),
            pa.array(verdicts.similarities[dropped]),
        ],
        schema=DUPLICATES_SCHEMA,
    )
    return NearDuplicates(table, len(document_ids), verdicts.n_limited)


def _check_distinct(document_ids: pa.StringArray) -> None:
    if len(document_ids.unique()) == len(document_ids):
        return
    counts = document_ids.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    raise InputError(
        f"document_ids must be distinct, {len(repeated):,} come more than once, "
        f"for example {min(repeated)}; drop exact duplicates first"
    )

"""Generated documents with planted copies of known Jaccard.

Words are drawn from a Zipf law over invented words, about 100 to a document, with a capital and a
full stop every twelve words. Of the documents, 5 % repeat another word for word, and 15 % are near
copies: an earlier document in which some words are replaced by words that occur nowhere else, here
and there or at the end, so that the Jaccard of the word 5-grams falls between 0.4 and 0.98.

    python -m benchmarks.dedup.planted_corpus --documents 200000 --folder FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

NGRAM = 5
EXACT_SHARE, NEAR_SHARE = 0.05, 0.15
_VOCABULARY, _EXPONENT = 30_000, 0.9
_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))
_SENTENCE_WORDS = 12
_SCATTERED_SHARE = 0.7
_BLOCK = 50_000

Words = npt.NDArray[np.int64]


def write_corpus(folder: Path, *, n_documents: int, seed: int) -> None:
    """Write documents.parquet (document_id, text) and planted.parquet (copy_id, original_id,
    jaccard) into a folder; ids are random, and documents come in their order.
    """
    rng = np.random.default_rng(seed)
    vocabulary = _words(rng, _VOCABULARY)
    weights = 1 / np.arange(1, _VOCABULARY + 1) ** _EXPONENT
    cumulated = np.cumsum(weights / weights.sum())
    n_exact, n_near = int(n_documents * EXACT_SHARE), int(n_documents * NEAR_SHARE)
    n_originals = n_documents - n_exact - n_near
    copied = rng.permutation(n_originals)[: n_exact + n_near].tolist()
    names = pa.array([f"{number:032x}" for number in rng.permutation(n_documents)])
    lengths = rng.integers(60, 141, n_originals)
    ends = np.cumsum(lengths)
    words = np.searchsorted(cumulated, rng.random(int(ends[-1]))).astype(np.int32)
    copies, jaccards = [], []
    for place, original in enumerate(copied):
        own = words[ends[original] - lengths[original] : ends[original]].astype(np.int64)
        changed = own
        if place >= n_exact:
            changed = _edited(own, rng.uniform(0.4, 0.98), rng)
        copies.append(changed)
        jaccards.append(_jaccard(own, changed) if place >= n_exact else 1.0)
    texts = _texts(vocabulary, words, lengths)
    more = _texts(vocabulary, np.concatenate(copies), np.array(list(map(len, copies))))
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"document_id": names, "text": pa.chunked_array([*texts, *more])})
    pq.write_table(
        table.sort_by("document_id"), folder / "documents.parquet", row_group_size=_BLOCK
    )
    planted = {
        "copy_id": names[n_originals:],
        "original_id": names.take(pa.array(copied)),
        "jaccard": jaccards,
    }
    pq.write_table(pa.table(planted), folder / "planted.parquet")


def _words(rng: np.random.Generator, count: int) -> list[str]:
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(rng.choice(_LETTERS, int(rng.integers(3, 11))))] = None
    return list(words)


def _texts(vocabulary: list[str], words: Words, lengths: Words) -> list[pa.StringArray]:
    """Return texts in blocks; words from the size of the vocabulary on are new ones."""
    n_known, found = len(vocabulary), []
    plain, first, last = (
        pa.array([spell(word) for word in vocabulary])
        for spell in (str, str.capitalize, "{}.".format)
    )
    ends = np.cumsum(lengths)
    for block in range(0, len(lengths), _BLOCK):
        sizes = lengths[block : block + _BLOCK]
        begin = int(ends[block] - lengths[block])
        own = words[begin : begin + int(sizes.sum())]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        within = np.arange(len(own)) - np.repeat(starts[:-1], sizes)
        form = np.where(within % _SENTENCE_WORDS == 0, 1, 0)
        form[within % _SENTENCE_WORDS == _SENTENCE_WORDS - 1] = 2
        places = np.flatnonzero(own >= n_known)
        new = pa.array([f"new{number}" for number in own[places].tolist()], pa.string())
        known = np.where(own >= n_known, 0, own) + form * n_known
        known[places] = 3 * n_known + np.arange(len(places))
        spelt = pa.concat_arrays([plain, first, last, new]).take(pa.array(known))
        lists = pa.ListArray.from_arrays(pa.array(starts.astype(np.int32)), spelt)
        found.append(pc.binary_join(lists, " "))
    return found


def _edited(words: Words, similarity: float, rng: np.random.Generator) -> Words:
    """Return words of which some are replaced by new ones, for about this Jaccard."""
    shingles = len(words) - NGRAM + 1
    lost = max(1, round(shingles * (1 - similarity) / (1 + similarity)))
    at_end, scattered = lost, 0
    if rng.random() < _SCATTERED_SHARE:
        at_end, scattered = lost % NGRAM, lost // NGRAM  # a word alone takes 5 shingles with it
    changed = words.copy()
    places = [*range(len(words) - at_end, len(words))]
    room = (len(words) - at_end - 2 * NGRAM) // NGRAM
    if scattered:
        places += [NGRAM * (1 + int(each)) for each in rng.permutation(room)[:scattered]]
    changed[places] = rng.integers(_VOCABULARY, 1 << 60, len(places))  # two alike: never
    return changed


def _jaccard(one: Words, other: Words) -> float:
    mine, its = (
        set(zip(*(each[at:].tolist() for at in range(NGRAM)), strict=False))
        for each in (one, other)
    )
    return len(mine & its) / len(mine | its)


def main() -> None:
    """Write the corpus that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args()
    write_corpus(chosen.folder, n_documents=chosen.documents, seed=chosen.seed)
    print(f"wrote {chosen.folder}")


if __name__ == "__main__":
    main()

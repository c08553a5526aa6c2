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
    jaccard) into a folder; ids are in a random order, which is that of the documents.
    """
    rng = np.random.default_rng(seed)
    vocabulary = _words(rng, _VOCABULARY)
    weights = 1 / np.arange(1, _VOCABULARY + 1) ** _EXPONENT
    cumulated = np.cumsum(weights / weights.sum())
    n_exact, n_near = int(n_documents * EXACT_SHARE), int(n_documents * NEAR_SHARE)
    n_originals = n_documents - n_exact - n_near
    copied = rng.permutation(n_originals)[: n_exact + n_near]
    names = [f"{number:032x}" for number in rng.permutation(n_documents)]
    lengths = rng.integers(60, 141, n_originals)
    texts: list[str] = []
    sources: dict[int, Words] = {}
    wanted = set(copied.tolist())
    for first in range(0, n_originals, _BLOCK):
        own = lengths[first : first + _BLOCK]
        drawn = np.searchsorted(cumulated, rng.random(int(own.sum()))).astype(np.int64)
        for place, words in enumerate(np.split(drawn, np.cumsum(own)[:-1])):
            texts.append(_text(vocabulary[words]))
            if first + place in wanted:
                sources[first + place] = words
    planted = []
    for place, original in enumerate(copied.tolist()):
        document = n_originals + place
        words, jaccard = sources[original], 1.0
        if place >= n_exact:
            changed = _edited(words, rng.uniform(0.4, 0.98), document, rng)
            jaccard = _jaccard(words, changed)
            spelt = vocabulary[np.where(changed < 0, 0, changed)].astype(object)
            for at in np.flatnonzero(changed < 0):
                spelt[at] = f"new{-changed[at]}"
            texts.append(_text(spelt))
        else:
            texts.append(texts[original])
        planted.append((names[document], names[original], jaccard))
    order = np.argsort(names)
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"document_id": names, "text": texts}).take(pa.array(order))
    pq.write_table(table, folder / "documents.parquet", row_group_size=_BLOCK)
    columns = dict(
        zip(("copy_id", "original_id", "jaccard"), zip(*planted, strict=True), strict=True)
    )
    pq.write_table(pa.table(columns), folder / "planted.parquet")


def _words(rng: np.random.Generator, count: int) -> npt.NDArray[np.str_]:
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(rng.choice(_LETTERS, int(rng.integers(3, 11))))] = None
    return np.array(list(words))


def _text(words: npt.NDArray[np.str_]) -> str:
    sentences = [
        " ".join(words[begin : begin + _SENTENCE_WORDS].tolist())
        for begin in range(0, len(words), _SENTENCE_WORDS)
    ]
    return " ".join(f"{each[0].upper()}{each[1:]}." for each in sentences)


def _edited(words: Words, similarity: float, document: int, rng: np.random.Generator) -> Words:
    """Return words of which some are replaced by new ones (negative), for about this Jaccard."""
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
    for number, place in enumerate(places):
        changed[place] = -(document * 200 + number + 1)
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

"""Garbage made of the documents of a pool: as long as they are, and no document at all.

Each kind is a function of a text and random numbers; `plant` puts all of them into a pool, in the
place of documents drawn at random, so the pool keeps its size and no original stays beside its
garbage. Of a pair the completion alone is spoilt: the prompt stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

CLEAN = "clean"
"""The kind of a document that was left as it is."""

_SHORTEST_PHRASE, _LONGEST_PHRASE = 3, 6  # words
_CHARACTERS = [
    chr(code)
    for first, last in ((0x21, 0x7E), (0xA1, 0xFF))  # of ASCII and Latin-1, without their spaces
    for code in range(first, last + 1)
    if code != 0xAD  # the soft hyphen is not printed
]


@dataclass(frozen=True)
class Document:
    """A document of a pool.

    Attributes:
        prompt: empty where the document is no pair.
        completion: the whole text where it is none.
        kind: of garbage, or `CLEAN`.
    """

    prompt: str
    completion: str
    kind: str = CLEAN


def shuffled_words(text: str, rng: np.random.Generator) -> str:
    """Return a text with its words in random order, the space between them where it was."""
    pieces = re.split(r"(\s+)", text)  # words and space in turn
    pieces[::2] = rng.permutation(np.array(pieces[::2], dtype=object)).tolist()
    return "".join(pieces)


def repeated_phrase(text: str, rng: np.random.Generator) -> str:
    """Return 3 to 6 neighbouring words of a text over and over, cut at the length of the text.

    Of a text with fewer words all are repeated; space at the end of the cut is replaced by `.`.
    """
    words = text.split()
    n_words = int(rng.integers(_SHORTEST_PHRASE, _LONGEST_PHRASE + 1))
    first = int(rng.integers(max(1, len(words) - n_words + 1)))
    phrase = " ".join(words[first : first + n_words]) + " "
    cut = (phrase * (len(text) // len(phrase) + 1))[: len(text)]
    return cut[:-1] + "." if cut.endswith(" ") else cut


def random_characters(text: str, rng: np.random.Generator) -> str:
    """Return as many random characters: those that ASCII and Latin-1 print, but for spaces."""
    return "".join(rng.choice(_CHARACTERS, size=len(text)).tolist())


KINDS: dict[str, Callable[[str, np.random.Generator], str]] = {
    "shuffled words": shuffled_words,
    "repeated phrase": repeated_phrase,
    "random characters": random_characters,
}


def plant(
    documents: Sequence[Document], rng: np.random.Generator, *, share: float
) -> list[Document]:
    """Return the documents in their order, of each kind a share of them turned into garbage.

    Args:
        documents: all of them clean.
        rng: draws which, and what becomes of them.
        share: of the pool that becomes garbage of each kind, rounded to whole documents.
    """
    n_each = round(share * len(documents))
    drawn = rng.permutation(len(documents))[: n_each * len(KINDS)]
    planted = list(documents)
    for number, (kind, spoilt) in enumerate(KINDS.items()):
        for place in drawn[number * n_each : (number + 1) * n_each].tolist():
            document = documents[place]
            planted[place] = replace(
                document, completion=spoilt(document.completion, rng), kind=kind
            )
    return planted

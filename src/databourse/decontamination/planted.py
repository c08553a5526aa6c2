"""Planted leaks: protected examples as they turn up in real pools, to measure what a rule finds.

A leak is made of the prompt of an example that has one of `least_words` words or more, else of the
whole example: who leaks a question need not leak its answer. Kinds, each of which is one document:

    exact               as it is
    recased             every letter in the other case
    repunctuated        marks between words gone and others put; straight quotes for curly ones
    inside_document     in the middle of a longer text
    word_in_ten         of every ten words in a row, one drawn at random is another word
    numbers_translated  whole numbers in digits written as words, and the other way
    half                the first half of its words, rounded down

An example makes no leak of a kind that would not change it: without a whole number it has none to
translate, and below ten words it has no tenth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from databourse.decontamination.number_words import numbers_translated
from databourse.decontamination.protected import ProtectedText
from databourse.errors import InputError

KINDS = (
    "exact",
    "recased",
    "repunctuated",
    "inside_document",
    "word_in_ten",
    "numbers_translated",
    "half",
)
_TEN = 10
_MARKS = (",", ";", " -", "...", "", "", "", "")  # half of the words get none
_EDGES = re.compile(r"^[^\w$€£%]+|[^\w$€£%]+$")
_QUOTES = str.maketrans({"'": "\u2019", "\u2019": "'", '"': "\u201d", "\u201c": '"', "\u201d": '"'})


@dataclass(frozen=True)
class PlantedLeak:
    """A document that repeats a protected example."""

    kind: str
    example: ProtectedText
    text: str


def drawn_examples(
    protected: Sequence[ProtectedText], *, at_most: int, most_words: int, rng: np.random.Generator
) -> list[ProtectedText]:
    """Return a random sample of examples, the same whatever their order.

    Args:
        protected: the examples; one that comes again is the same.
        at_most: examples, >= 0.
        most_words: of all of them together; the first one is taken whatever its length.
        rng: draws the sample.
    """
    ordered = sorted(set(protected), key=_place)
    chosen: list[ProtectedText] = []
    n_words = 0
    for place in rng.permutation(len(ordered))[:at_most].tolist():
        n_words += len(ordered[place].text.split())
        if chosen and n_words > most_words:
            break
        chosen.append(ordered[place])
    return sorted(chosen, key=_place)


def planted_leaks(
    examples: Sequence[ProtectedText],
    *,
    least_words: int,
    around: Callable[[int], tuple[str, str]],
    rng: np.random.Generator,
) -> list[PlantedLeak]:
    """Return every kind of leak of every example, as the module says, in order of examples.

    Args:
        examples: what leaks, in the order in which random words are drawn for them.
        least_words: of a prompt that leaks alone, >= 1.
        around: for the number of an example the texts before and after its leak in a document.
        rng: draws the words that are changed, what they become, and marks.

    Raises:
        InputError: `least_words` is below 1.
    """
    if least_words < 1:
        raise InputError(f"least_words must be >= 1 word, got {least_words!r}")
    others = sorted({word for each in examples for word in each.text.split()})
    leaks = []
    for number, example in enumerate(examples):
        text = leaked_text(example, least_words=least_words)
        before, after = around(number)
        versions = {
            "exact": text,
            "recased": text.swapcase(),
            "repunctuated": repunctuated(text, rng),
            "inside_document": f"{before}\n\n{text}\n\n{after}",
            "word_in_ten": one_word_in_ten_changed(text, others, rng),
            "numbers_translated": numbers_translated(text),
            "half": first_half(text),
        }
        for kind in KINDS:
            is_changed = versions[kind] != text or kind == "exact"
            if is_changed and versions[kind].strip():
                leaks.append(PlantedLeak(kind, example, versions[kind]))
    return leaks


def leaked_text(example: ProtectedText, *, least_words: int) -> str:
    """Return what leaks of an example: its prompt, or all of it if that is short."""
    prompt = example.text[: example.prompt_characters]
    return prompt.strip() if len(prompt.split()) >= least_words else example.text.strip()


def repunctuated(text: str, rng: np.random.Generator) -> str:
    """Return a text with other marks between its words, and other quotes inside them."""
    words = [_EDGES.sub("", word).translate(_QUOTES) for word in text.split()]
    words = [word for word in words if word]
    marks = rng.integers(len(_MARKS), size=len(words))
    return " ".join(word + _MARKS[mark] for word, mark in zip(words, marks.tolist(), strict=True))


def one_word_in_ten_changed(text: str, others: Sequence[str], rng: np.random.Generator) -> str:
    """Return a text with one word of every ten in a row replaced by one of `others`."""
    words = text.split()
    for start in range(0, len(words) - _TEN + 1, _TEN):
        place = start + int(rng.integers(_TEN))
        words[place] = others[int(rng.integers(len(others)))]
    return " ".join(words)


def first_half(text: str) -> str:
    """Return the first half of a text's words, rounded down."""
    words = text.split()
    return " ".join(words[: len(words) // 2])


def _place(example: ProtectedText) -> tuple[str, str, int, str]:
    cut = -1 if example.prompt_characters is None else example.prompt_characters
    return (example.set_name, example.example_id, cut, example.text)

"""Protected examples, cut into the texts that documents are compared with.

An example is a text, or a prompt with its answer, which are parts of their own:

* a part of `ngram` words or more is long: documents are compared with it by n-grams;
* the answer alone never counts if it is short: "yes" and "42" are everywhere;
* a pair whose parts are both short, and together are not, is one long part besides;
* a short text, or a short prompt, of `short_words` words or more (a prompt together with its short
  answer) must not be contained in a document; a prompt counts if the answer is there as well;
* any short text, short prompt, or pair of both, must not be a whole document.

Parts of the same words are one part with several owners. Examples are ordered by set and id, so
nothing depends on the order in which they come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from databourse.decontamination.normalisation import words_of, words_or_marks
from databourse.decontamination.vocabulary import Vocabulary, WordArray
from databourse.digests import digest_of, digest_of_lines
from databourse.errors import InputError


@dataclass(frozen=True, slots=True)
class ProtectedText:
    """An example of an evaluation set or a target.

    Attributes:
        set_name: of the set; with `example_id` it names the example.
        example_id: within the set.
        text: the whole example.
        prompt_characters: where the answer starts in `text`; None for a plain text.
    """

    set_name: str
    example_id: str
    text: str
    prompt_characters: int | None = None


@dataclass(frozen=True)
class Part:
    """Words that are compared as one.

    Attributes:
        words: as numbers of the vocabulary.
        owners: the examples that have this part, ascending.
        answer: words that must be in the document too; None where nothing else is needed.
        n_texts: different parts that became this one when their numbers were masked.
    """

    words: WordArray
    owners: tuple[int, ...]
    answer: WordArray | None = None
    n_texts: int = 1


@dataclass(frozen=True)
class ProtectedSet:
    """What is known of a set before any document is read.

    Attributes:
        name: of the set.
        n_examples: examples in it.
        digest: sha256 over its texts and where their answers start, whatever their order and ids.
    """

    name: str
    n_examples: int
    digest: str


@dataclass(frozen=True)
class ProtectedParts:
    """Everything that documents are compared with.

    Attributes:
        vocabulary: it knows every word of every part.
        examples: (set name, example id), in order.
        sets: in order of name.
        long: compared by n-grams.
        short: may not be contained in a document.
        whole: may not be a whole document.
    """

    vocabulary: Vocabulary
    examples: tuple[tuple[str, str], ...]
    sets: tuple[ProtectedSet, ...]
    long: tuple[Part, ...]
    short: tuple[Part, ...]
    whole: tuple[Part, ...]


@dataclass
class _Parts:
    """Parts being gathered: the words of each, with its answer, and whose it is."""

    owners: dict[tuple[bytes, bytes | None], list[int]] = field(default_factory=dict)

    def add(self, words: WordArray, owner: int, answer: WordArray | None = None) -> None:
        key = (words.tobytes(), None if answer is None else answer.tobytes())
        owners = self.owners.setdefault(key, [])
        if not owners or owners[-1] != owner:
            owners.append(owner)

    def done(self) -> tuple[Part, ...]:
        return tuple(
            Part(
                np.frombuffer(words, np.int32),
                tuple(owners),
                None if answer is None else np.frombuffer(answer, np.int32),
            )
            for (words, answer), owners in self.owners.items()
        )


def protected_parts(
    protected: Iterable[ProtectedText], *, ngram: int, short_words: int
) -> ProtectedParts:
    """Return the parts of examples, as the module says.

    Args:
        protected: the examples, in any order; one that comes again, word for word, is the same.
        ngram: words from which on a part is long, >= 1.
        short_words: least words of a short example that may not be contained, >= 1.

    Raises:
        InputError: a number is out of bounds, an example has two texts, or nothing visible.
    """
    if ngram < 1 or short_words < 1:
        raise InputError(
            f"ngram and short_words must be >= 1 word, got {ngram!r} and {short_words!r}"
        )
    vocabulary = Vocabulary()
    ordered = sorted(set(protected), key=_place)
    long, short, whole = _Parts(), _Parts(), _Parts()
    lines: dict[str, list[str]] = defaultdict(list)
    for owner, example in enumerate(ordered):
        _check(example, ordered[owner - 1] if owner else None)
        lines[example.set_name].append(digest_of([example.text, example.prompt_characters]))
        prompt, answer = _prompt_and_answer(example, vocabulary)
        both = np.concatenate([prompt, answer])
        for part in (prompt, answer):
            if len(part) >= ngram:
                long.add(part, owner)
        if len(prompt) < ngram:
            whole.add(prompt, owner)
        if max(len(prompt), len(answer)) >= ngram:
            continue
        whole.add(both, owner)
        if len(both) >= ngram:
            long.add(both, owner)
        if len(both) >= short_words:
            short.add(prompt, owner, answer if len(answer) else None)
    return ProtectedParts(
        vocabulary,
        tuple((each.set_name, each.example_id) for each in ordered),
        tuple(
            ProtectedSet(name, len(texts), digest_of_lines(sorted(texts)))
            for name, texts in lines.items()
        ),
        long.done(),
        short.done(),
        whole.done(),
    )


def _prompt_and_answer(
    example: ProtectedText, vocabulary: Vocabulary
) -> tuple[WordArray, WordArray]:
    """Return the words of both parts; a plain text, or a part alone, is a prompt."""
    cut = len(example.text) if example.prompt_characters is None else example.prompt_characters
    prompt, answer = words_of(example.text[:cut]), words_of(example.text[cut:])
    if not prompt:
        prompt, answer = answer or words_or_marks(example.text), []
    return vocabulary.learn(prompt), vocabulary.learn(answer)


def _place(example: ProtectedText) -> tuple[str, str, int]:
    """Return where an example comes among all; without an answer it comes first."""
    cut = -1 if example.prompt_characters is None else example.prompt_characters
    return (example.set_name, example.example_id, cut)


def _check(example: ProtectedText, before: ProtectedText | None) -> None:
    name = f"example {example.example_id!r} of set {example.set_name!r}"
    if before and before.text != example.text and _place(before)[:2] == _place(example)[:2]:
        raise InputError(f"{name} has two texts; each example of a set needs an id of its own")
    if not words_or_marks(example.text):
        raise InputError(f"{name} has no visible text, so nothing can be protected; remove it")

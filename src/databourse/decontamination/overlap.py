"""Which documents of a pool repeat protected text: evaluation sets and targets.

RECONSTRUCTION: no paper has this rule. It joins what several do (n-grams of 8 words as PaLM, Llama
3 and Tulu 3, a 13-gram as GPT-3, a share of the example as PaLM and Cosmopedia) so that every
clause can be tested, and drops the whole document, never a piece of it.

Notation: e = a long part of an example (`protected.py`), d = a document, n = `ngram`.
overlap(e, d) = words of e inside an n-gram that d has too / words of e inside any n-gram, where
only n-grams that count are looked at, and words inside a template are left out above and below.
d is dropped for e if

    exact_match          e stands in d word for word
    ngram_overlap        overlap(e, d) >= `overlap`
    long_overlap         e and d share a run of `long_ngram` words whose n-grams all count
    same_but_numbers     the last two, once every number of both is the same word
    near_match           words of e inside an n-gram of `near_ngram` words that d has too / words of
                         e inside any such n-gram >= `near_overlap`

and by exact_match also for a short example, as `protected.py` says.

Near matches find what has a changed word in every run of n: the n-grams are shorter and the share
is larger. They are looked for last, among words as they are. Numbers are masked only for
documents that the words as they are do not drop otherwise, and an n-gram that is half numbers or
more does not count then: chains of sums are all alike. English number words are numbers there. With
`template_examples`, an n-gram of more than so many different parts is a template and does not count
(parts that only differ in numbers are different parts); a part of nothing else still counts where
it stands word for word.
How often an n-gram is in the *pool* never matters: then a document could be saved by adding others.

What is dropped depends on the document and the protected texts alone: not on other documents,
their order or batches. One row names the example: exact matches first, then the largest overlap,
then the first example by set and id.

Paraphrases and translations share no n-grams and are not found. What the rule finds of leaks that
are planted on purpose (`planted.py`) is measured with the very index of the run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from databourse.decontamination.ngram_index import NgramIndex
from databourse.decontamination.normalisation import words_or_marks
from databourse.decontamination.part_matches import PartMatch, PartMatcher, contains, distinct_parts
from databourse.decontamination.planted import KINDS, PlantedLeak
from databourse.decontamination.protected import (
    Part,
    ProtectedParts,
    ProtectedText,
    protected_parts,
)
from databourse.decontamination.vocabulary import IntArray, WordStream
from databourse.errors import InputError
from databourse.progress import ProgressReport, silent

RULE_REVISION = 2
"""Raised with every change of this package that can change what is dropped."""
EXACT_MATCH = "exact_match"
NGRAM_OVERLAP = "ngram_overlap"
LONG_OVERLAP = "long_overlap"
SAME_BUT_NUMBERS = "same_but_numbers"
NEAR_MATCH = "near_match"
CONTAMINATED_SCHEMA = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("set", pa.string(), nullable=False),
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("overlap", pa.float64(), nullable=False),
    ]
)
_BLOCK_WORDS = 1 << 20
_BLOCK_LEAKS = 1_000
_FREQUENT_NGRAMS = 10

Numbers = Literal["kept", "masked_too"]


@dataclass(frozen=True)
class SetSummary:
    """What was found of a set.

    Attributes:
        name: of the set.
        n_examples: examples in it.
        digest: sha256 over its texts.
        n_ngrams: distinct n-grams by which its long parts are compared, numbers as they are.
        n_examples_found: examples for which at least one document was dropped.
        n_documents: documents dropped for it; one may be dropped for several sets.
    """

    name: str
    n_examples: int
    digest: str
    n_ngrams: int
    n_examples_found: int
    n_documents: int


@dataclass(frozen=True)
class KindRecall:
    """How many planted leaks of a kind the rule drops."""

    kind: str
    n_leaks: int
    n_found: int


@dataclass(frozen=True)
class FrequentNgram:
    """Words that protected texts share with dropped documents: who reads them sees templates."""

    words: str
    n_documents: int


@dataclass(frozen=True)
class Contamination:
    """What decontamination drops.

    Attributes:
        documents: one row per dropped document in order of document_id: document_id, set and
            example_id of the example that it is dropped for, reason, overlap in [0, 1] to 6
            decimals.
        n_documents: documents that came in.
        sets: in order of name.
        frequent: n-grams of protected texts that most dropped documents hold, at most 10.
        recall: of planted leaks, by kind in the order of `planted.KINDS`; of kinds that were
            planted. Those leaks count nowhere else.
    """

    documents: pa.Table
    n_documents: int
    sets: tuple[SetSummary, ...]
    frequent: tuple[FrequentNgram, ...]
    recall: tuple[KindRecall, ...] = ()


def find_contaminated(
    batches: Iterable[tuple[Sequence[str], Sequence[str]]],
    protected: Iterable[ProtectedText],
    *,
    ngram: int = 8,
    overlap: float = 0.5,
    long_ngram: int | None = 13,
    short_words: int = 5,
    numbers: Numbers = "masked_too",
    template_examples: int | None = None,
    near_ngram: int | None = 5,
    near_overlap: float = 0.65,
    leaks: Sequence[PlantedLeak] = (),
    hash_bits: int = 64,
    progress: ProgressReport = silent,
) -> Contamination:
    """Return the documents that repeat protected text, by the rule of the module.

    Memory is that of the protected texts (about 600 bytes a word) and of one block of documents,
    whatever the size of the pool.

    Args:
        batches: (document_ids, texts), in any order and of any size; ids are distinct.
        protected: the examples, in any order.
        ngram: words of an n-gram, >= 2.
        overlap: least share of a part's words inside shared n-grams, in (0, 1].
        long_ngram: words of a run that is enough alone, >= ngram; None: no run is.
        short_words: least words of a short example that may not be contained, >= 1.
        numbers: compare words as they are, or once more with numbers masked.
        template_examples: n-grams of more different parts do not count, >= 1; None: all count.
        near_ngram: words of an n-gram of near matches, >= 2; None: no near matches.
        near_overlap: least share of a part's words inside these, in (0, 1].
        leaks: planted on purpose; compared after all documents, with the same index.
        hash_bits: of the n-grams' hashes, in [1, 64]; it changes speed and no result.
        progress: told of the documents of each batch once they are compared.

    Raises:
        InputError: an argument is outside its domain, an example has two texts or nothing
            visible, or a batch has not one id per text.
    """
    if near_ngram is not None and not (near_ngram >= 2 and 0 < near_overlap <= 1):
        raise InputError(
            "near_ngram must be >= 2 and near_overlap in (0, 1], "
            f"got {near_ngram!r} and {near_overlap!r}"
        )
    if ngram < 2 or not 0 < overlap <= 1 or numbers not in {"kept", "masked_too"}:
        raise InputError(
            "ngram must be >= 2, overlap in (0, 1] and numbers kept or masked_too, "
            f"got {ngram!r}, {overlap!r} and {numbers!r}"
        )
    if long_ngram is not None and long_ngram < ngram:
        raise InputError(f"long_ngram must be at least ngram, got {long_ngram!r} and {ngram!r}")
    if template_examples is not None and template_examples < 1:
        raise InputError(f"template_examples must be >= 1, got {template_examples!r}")
    parts = protected_parts(protected, ngram=ngram, short_words=short_words)
    search = _Search(
        parts,
        ngram=ngram,
        overlap=overlap,
        long_ngram=long_ngram,
        numbers=numbers,
        template_examples=template_examples,
        near_ngram=near_ngram,
        near_overlap=near_overlap,
        hash_bits=hash_bits,
    )
    for document_ids, texts in batches:
        if len(document_ids) != len(texts):
            raise InputError(
                "there must be one document_id per text, "
                f"got {len(document_ids):,} for {len(texts):,}"
            )
        search.read(document_ids, texts)
        progress(len(texts))
    return replace(search.result(), recall=search.recall_of(leaks))


@dataclass
class _Finding:
    """The best evidence against a document so far, and the sets for which it is dropped."""

    key: tuple[bool, float, int]  # inexact, -overlap, example: the smallest is the best
    reason: str
    is_of_set: npt.NDArray[np.bool_]


class _Tally:
    """Parts of one kind: whose they are, and which of them were found."""

    def __init__(self, parts: Sequence[Part], set_of: Sequence[int], n_sets: int) -> None:
        self.parts = tuple(parts)
        self.is_found = np.zeros(len(self.parts), dtype=bool)
        self._is_of_set = np.zeros((len(self.parts), n_sets), dtype=bool)
        for position, part in enumerate(self.parts):
            self._is_of_set[position, [set_of[owner] for owner in part.owners]] = True

    def note(
        self,
        findings: dict[int, _Finding],
        document: int,
        parts: IntArray,
        *,
        best: tuple[int, float],
        reason: str,
    ) -> None:
        """Note that a document must go for some parts; the best is named with its overlap."""
        self.is_found[parts] = True
        key = (reason != EXACT_MATCH, -best[1], self.parts[best[0]].owners[0])
        sets = np.asarray(self._is_of_set[parts].any(axis=0))
        before = findings.get(document)
        if before is not None:
            before.is_of_set |= sets
        if before is None or key < before.key:
            sets = sets if before is None else before.is_of_set
            findings[document] = _Finding(key, reason, sets)

    def found_examples(self) -> set[int]:
        """Return the examples that have a part that was found."""
        found = np.flatnonzero(self.is_found).tolist()
        return {owner for part in found for owner in self.parts[part].owners}


class _Search:
    """Protected parts ready to be looked for, and what was found so far."""

    def __init__(
        self,
        parts: ProtectedParts,
        *,
        ngram: int,
        overlap: float,
        long_ngram: int | None,
        numbers: Numbers,
        template_examples: int | None,
        near_ngram: int | None,
        near_overlap: float,
        hash_bits: int,
    ) -> None:
        self._parts, self._overlap = parts, overlap
        n_sets, places = len(parts.sets), {each.name: n for n, each in enumerate(parts.sets)}
        set_of = [places[name] for name, _ in parts.examples]
        masked = masked_parts(parts, ngram=ngram) if numbers == "masked_too" else ()
        self._matchers = [
            PartMatcher(
                group,
                ngram=ngram,
                overlap=overlap,
                long_ngram=long_ngram,
                template_examples=template_examples,
                hash_bits=hash_bits,
                masked_number=number,
            )
            for group, number in ((parts.long, None), (masked, parts.vocabulary.masked_number))
        ]
        near = [part for part in parts.long if near_ngram and len(part.words) >= near_ngram]
        self._matchers.append(
            PartMatcher(
                near,
                ngram=near_ngram or ngram,
                overlap=near_overlap,
                long_ngram=None,
                template_examples=template_examples,
                hash_bits=hash_bits,
            )
        )
        self._shared = [np.zeros(len(each.index), np.int64) for each in self._matchers]
        by_length = _by_length(parts.short)
        self._short = [
            NgramIndex([part.words for part in group], ngram=length, hash_bits=hash_bits)
            for length, group in by_length.items()
        ]
        self._whole = {part.words.tobytes(): n for n, part in enumerate(parts.whole)}
        self._longest_whole = max((len(part.words) for part in parts.whole), default=0)
        self._tallies = [
            _Tally(group, set_of, n_sets)
            for group in (parts.long, masked, near, parts.whole, *by_length.values())
        ]
        self._rows: list[tuple[str, str, str, str, float]] = []
        self._n_documents = 0
        self._documents_of_set = np.zeros(n_sets, np.int64)

    def read(self, document_ids: Sequence[str], texts: Sequence[str]) -> None:
        """Compare documents, in blocks of bounded length."""
        self._n_documents += len(texts)
        if not self._parts.examples:
            return
        first, n_words, block = 0, 0, []
        for position, text in enumerate(texts):
            block.append(words_or_marks(text))
            n_words += len(block[-1])
            if n_words >= _BLOCK_WORDS or position == len(texts) - 1:
                self._read_block(document_ids[first : position + 1], block)
                first, n_words, block = position + 1, 0, []

    def result(self) -> Contamination:
        """Return what was found."""
        found = set().union(*(tally.found_examples() for tally in self._tallies))
        of_set = Counter(self._parts.examples[example][0] for example in found)
        n_ngrams = self._ngrams_by_set()
        columns = zip(*sorted(self._rows), strict=True) if self._rows else [()] * 5
        return Contamination(
            pa.table([list(column) for column in columns], schema=CONTAMINATED_SCHEMA),
            self._n_documents,
            tuple(
                SetSummary(
                    each.name,
                    each.n_examples,
                    each.digest,
                    n_ngrams[place],
                    of_set[each.name],
                    int(self._documents_of_set[place]),
                )
                for place, each in enumerate(self._parts.sets)
            ),
            self._frequent(),
        )

    def recall_of(self, leaks: Sequence[PlantedLeak]) -> tuple[KindRecall, ...]:
        """Return how many leaks of each kind would be dropped; to be asked after `result`."""
        planted: Counter[str] = Counter()
        found: Counter[str] = Counter()
        for first in range(0, len(leaks), _BLOCK_LEAKS):
            block = leaks[first : first + _BLOCK_LEAKS]
            planted.update(leak.kind for leak in block)
            findings = self._findings([words_or_marks(leak.text) for leak in block])
            found.update(block[place].kind for place in findings)
        return tuple(
            KindRecall(kind, planted[kind], found[kind]) for kind in KINDS if planted[kind]
        )

    def _findings(self, texts: Sequence[Sequence[str]]) -> dict[int, _Finding]:
        """Return what speaks against documents, by their positions."""
        stream = self._parts.vocabulary.stream(texts)
        findings: dict[int, _Finding] = {}
        self._compare_long(stream, findings)
        self._compare_whole(stream, findings)
        self._compare_short(stream, findings)
        if self._matchers[1].parts:
            masked = self._parts.vocabulary.masked(stream)
            self._compare_more(1, masked, findings, SAME_BUT_NUMBERS)
        self._compare_more(2, stream, findings, NEAR_MATCH)
        return findings

    def _read_block(self, document_ids: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
        for document, finding in self._findings(texts).items():
            _, negated, example = finding.key
            name = self._parts.examples[example]
            self._rows.append((document_ids[document], *name, finding.reason, -negated))
            self._documents_of_set += finding.is_of_set

    def _compare_long(self, stream: WordStream, findings: dict[int, _Finding]) -> None:
        for match in self._matchers[0].matches(stream):
            exact = [*match.bare, *([] if match.exact is None else [match.exact])]
            if exact:
                named, reason = (min(exact), 1.0), EXACT_MATCH
            else:
                named = _largest(match)
                reason = NGRAM_OVERLAP if named[1] >= self._overlap else LONG_OVERLAP
            self._shared[0][match.ngrams] += 1
            parts = np.concatenate([match.parts, np.array(match.bare, dtype=np.int64)])
            self._tallies[0].note(findings, match.document, parts, best=named, reason=reason)

    def _compare_more(
        self, matcher: int, stream: WordStream, findings: dict[int, _Finding], reason: str
    ) -> None:
        """Compare what is not yet found by another matcher: there, template alone drops nothing."""
        for match in self._matchers[matcher].matches(stream):
            if match.document in findings or not len(match.parts):
                continue
            self._shared[matcher][match.ngrams] += 1
            self._tallies[matcher].note(
                findings, match.document, match.parts, best=_largest(match), reason=reason
            )

    def _compare_whole(self, stream: WordStream, findings: dict[int, _Finding]) -> None:
        lengths = np.diff(stream.starts) - 1
        for document in np.flatnonzero(lengths <= self._longest_whole).tolist():
            part = self._whole.get(stream.of(document).tobytes())
            if part is not None:
                self._tallies[3].note(
                    findings, document, np.array([part]), best=(part, 1.0), reason=EXACT_MATCH
                )

    def _compare_short(self, stream: WordStream, findings: dict[int, _Finding]) -> None:
        for index, tally in zip(self._short, self._tallies[4:], strict=True):
            positions, numbers = index.find(stream.words)
            held = np.unique(np.stack([stream.documents_at(positions), numbers]), axis=1)
            for document, number in held.T.tolist():
                words = stream.of(document)
                for part in index.text_of(index.occurrences(np.array([number]))).tolist():
                    answer = tally.parts[part].answer
                    if answer is None or contains(words, answer):
                        tally.note(
                            findings,
                            document,
                            np.array([part]),
                            best=(part, 1.0),
                            reason=EXACT_MATCH,
                        )

    def _ngrams_by_set(self) -> list[int]:
        index = self._matchers[0].index
        owned: list[list[IntArray]] = [[] for _ in self._parts.sets]
        places = {each.name: place for place, each in enumerate(self._parts.sets)}
        for position, part in enumerate(self._parts.long):
            numbers = index.numbers[index.starts[position] : index.starts[position + 1]]
            for name in {self._parts.examples[owner][0] for owner in part.owners}:
                owned[places[name]].append(numbers[numbers >= 0])
        return [len(np.unique(np.concatenate([np.empty(0, np.int64), *each]))) for each in owned]

    def _frequent(self) -> tuple[FrequentNgram, ...]:
        """Return the n-grams that most dropped documents hold, the first in the parts first."""
        words = self._parts.vocabulary.known_words()
        rows = []
        for matcher, shared in zip(self._matchers, self._shared, strict=True):
            for number in matcher.index.most_frequent(shared, at_most=_FREQUENT_NGRAMS):
                text = " ".join(words[each] for each in matcher.index.words_of(number))
                rows.append(FrequentNgram(text, int(shared[number])))
        rows.sort(key=lambda each: -each.n_documents)
        return tuple(rows[:_FREQUENT_NGRAMS])


def _largest(match: PartMatch) -> tuple[int, float]:
    """Return the part of the largest overlap, the first among equals, and that overlap."""
    best = int(np.argmax(match.overlaps))
    return int(match.parts[best]), float(match.overlaps[best])


def masked_parts(parts: ProtectedParts, *, ngram: int) -> tuple[Part, ...]:
    """Return the long parts with numbers masked, as far as they are long even then.

    None if no part has a number: documents without unmasked overlap then have no masked one. Parts
    without numbers stay in, so that a template is counted in all parts that have it.
    """
    plain = WordStream.of_all([part.words for part in parts.long])
    masked = parts.vocabulary.masked(plain)
    if np.array_equal(plain.words, masked.words):
        return ()
    return distinct_parts(
        [
            Part(masked.of(position), part.owners)
            for position, part in enumerate(parts.long)
            if len(masked.of(position)) >= ngram
        ]
    )


def _by_length(parts: Sequence[Part]) -> dict[int, list[Part]]:
    groups: dict[int, list[Part]] = defaultdict(list)
    for part in parts:
        groups[len(part.words)].append(part)
    return dict(sorted(groups.items()))

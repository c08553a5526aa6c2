"""Information entropy: how evenly a document spreads over its own words, no model needed.

I(x) = -sum_v f_v log2 f_v in bits, f_v = the relative frequency of word v among the T words of x;
0 <= I <= log2(distinct words) <= log2 T. By default I / log2 T, in [0, 1], and 0 for T <= 1.

A word is a lower-cased run of letters, combining marks and digits. Each punctuation mark, symbol,
kana and Chinese character is a word of its own, since text is repetitive in these too; format
characters (soft hyphen, joiners) are dropped. Not the tokenizer's tokens: a value would then change
with the trainer's model, and pieces that rare words share would look like repetition. Other scripts
without spaces (Thai, Khmer) count a run as one word.

Source: "information entropy" is one of the three scores of EUDS, Li, Liu & Huang 2025 (IEEE Access
13:153713, arXiv 2602.17465); its formula there is not known to us. This is a reconstruction:
formula, words, normalisation and reading a large value as the better one are our choice. EUDS keeps
an interval instead, see `databourse.selection.intervals`. The other reading, mean surprisal under
the word frequencies of the pool, depends on the other documents and is left out: `surprisal` is
that idea on bytes.
Cost: one pass over the text, about 0.2 s per megabyte. Caveat: I grows with length and I / log2 T
falls with it, for long texts must repeat words: over 10,000 news items their rank correlations with
the number of words are 0.85 and -0.48. I / log2 T is 1 for any few distinct words, and garbage
without repetition scores highest.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable

import numpy as np
from pydantic import Field

from databourse.errors import InputError
from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.specification import SignalParameters, SignalSpec

_ONE_EACH = (
    (0x3041, 0x30FF),  # kana
    (0x3400, 0x4DBF),  # ideographs, as the two below
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFD),
)
_ZERO_WIDTH_SPACE = 0x200B  # a format character that parts words


class InformationEntropyParameters(SignalParameters):
    """Whether length is divided out."""

    normalise: bool = Field(
        default=True, description="Divide by log2 of the number of words; otherwise bits."
    )


def information_entropy(
    parameters: InformationEntropyParameters, inputs: SignalInputs
) -> SignalResult:
    """Return the entropy of each document's words: in [0, 1], or in bits; 0 for an empty text.

    Raises:
        InputError: `texts` gives another number of texts than there are documents.
    """
    values: list[float] = []
    for batch in required(inputs.texts, "texts")():
        for text in batch:
            words = words_and_marks(text)
            bits = entropy_bits(words)
            most = math.log2(max(len(words), 2)) if parameters.normalise else 1.0
            values.append(bits / most)
        inputs.progress(len(batch))
    if len(values) != inputs.n_documents:
        raise InputError(f"texts must cover {inputs.n_documents:,} documents, got {len(values):,}")
    return SignalResult(values=np.array(values, dtype=np.float64))


def words_and_marks(text: str) -> list[str]:
    """Return the words of a text in order, lower-cased, marks among them, as the module says."""
    return text.lower().translate(_SPACING).split()


def entropy_bits(words: Iterable[str]) -> float:
    """Return -sum_v f_v log2 f_v over the distinct words, in bits; 0 without any.

    Neither the order of the words nor writing all of them twice changes any bit of it.

    Args:
        words: hashable tokens, repeated as often as they occur.
    """
    counts = Counter(words)
    total = counts.total()
    shares = [count / total for count in counts.values()]
    bits = math.fsum(-share * math.log2(share) for share in shares)
    # no more than its bound: the rounding of equal shares could pass it
    return min(bits, math.log2(max(len(counts), 1)))


class _Spacing(dict[int, str]):
    """What a character is written as so that words can be split at spaces; remembered."""

    def __missing__(self, code: int) -> str:
        self[code] = written = _written(code)
        return written


def _written(code: int) -> str:
    character, category = chr(code), unicodedata.category(chr(code))
    if character.isspace() or category == "Cc" or code == _ZERO_WIDTH_SPACE:
        return " "
    if category == "Cf":
        return ""
    alone = any(first <= code <= last for first, last in _ONE_EACH)
    if category[0] in "LMN" and not alone:
        return character
    return f" {character} "


_SPACING = _Spacing()


SIGNAL = SignalSpec(
    name="information_entropy",
    scope="document",
    needs=frozenset({"texts"}),
    parameters=InformationEntropyParameters,
    compute=information_entropy,
    revision=1,
    summary="entropy of a document's own words, by default as a share of the most it could be",
    orientation="large: few words are repeated; templates and repetitions sit low",
    cost="one pass over the text, about 0.2 s per megabyte",
)

"""The words by which a document and a protected text are compared.

Rule (Unicode words, NFKC, lower case, punctuation dropped, digits kept): every character gives its
NFKC form, case-folded; what is no letter, mark or digit separates words. So neither case,
punctuation nor white space between words changes them, nor how Unicode spells them: composed or
decomposed, full or half width, ligatures, circled digits. Format characters (zero-width spaces,
soft hyphens, variation selectors) and enclosing marks vanish, inside words too. Scripts written
without spaces (Chinese, Japanese kana) are cut into single characters.

A text without any word (marks, emoji) may stand as one word: itself without white space.
"""

from __future__ import annotations

import re
import unicodedata

from databourse.decontamination.number_words import NUMBER_WORDS

_ASCII = "".join(chr(code).lower() if chr(code).isalnum() else " " for code in range(128))
_KANA_OR_IDEOGRAPH = re.compile(r"[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_DIGITS = re.compile(r"\d+")
_NUMBER = "0"
_IGNORABLE_MARKS = frozenset({0x034F, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10)})
_NO_WORDS = "\x00"  # cannot come from a character: it separates


class _Folded(dict[int, str]):
    """What each character becomes, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _folded(chr(code))
        return folded


_FOLDED = _Folded()


def words_of(text: str) -> list[str]:
    """Return the words of a text in order, as the module says."""
    if text.isascii():
        return text.translate(_ASCII).split()
    folded = unicodedata.normalize("NFKC", text.translate(_FOLDED))
    return _KANA_OR_IDEOGRAPH.sub(r" \g<0> ", folded).split()


def words_or_marks(text: str) -> list[str]:
    """Return the words of a text, or its marks as one word; none for white space alone."""
    words = words_of(text)
    if not words and (marks := "".join(text.split())):
        return [_NO_WORDS + marks]
    return words


def mask_numbers(word: str) -> str:
    """Return a word with each run of digits as one 0: all whole numbers become the same word.

    English number words are numbers too: a leak may say "seven" where the example has a 7.
    """
    return _NUMBER if word in NUMBER_WORDS else _DIGITS.sub(_NUMBER, word)


def _folded(character: str) -> str:
    if unicodedata.category(character) in {"Cf", "Me"} or _is_ignorable(ord(character)):
        return ""
    compatible = unicodedata.normalize("NFKC", character)
    if compatible[0] == " ":  # a spacing accent is a space with a mark: it separates
        return " "
    return "".join(
        each.casefold() if unicodedata.category(each)[0] in "LMN" else " " for each in compatible
    )


def _is_ignorable(code: int) -> bool:
    return code in _IGNORABLE_MARKS or 0xE0100 <= code <= 0xE01EF

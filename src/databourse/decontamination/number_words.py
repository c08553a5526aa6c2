"""Whole numbers in English words, and back: "1,250" is "one thousand two hundred fifty".

Only whole numbers below a trillion, written without sign, point or percent; "and" inside a number
("one hundred and five") is left out when writing and understood when reading. Ordinals, "half" and
"dozen" are no numbers here.
"""

from __future__ import annotations

import re

from databourse.errors import InputError

# fmt: off
_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)
# fmt: on
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_VALUES = {word: value for value, word in enumerate(_UNITS)} | {
    word: 10 * tens for tens, word in enumerate(_TENS, start=2)
}
NUMBER_WORDS = frozenset([*_VALUES, "hundred", *_SCALES])
"""Every word that is part of a number; "and" and "a" are not."""

_LARGEST = 10**12 - 1
_DIGITS = re.compile(r"(?<![\w.,#&])(?:\d{1,3}(?:,\d{3})+|\d+)(?![\w%]|[.,]\d)")
_WORD = "|".join(sorted(NUMBER_WORDS, key=len, reverse=True))
_WORDS = re.compile(rf"\b(?:{_WORD})(?:(?:-|\s+|\s+and\s+)(?:{_WORD}))*\b", re.IGNORECASE)


def in_words(number: int) -> str:
    """Return a whole number in English words.

    Raises:
        InputError: it is negative, or a trillion or more.
    """
    if not 0 <= number <= _LARGEST:
        raise InputError(f"number must be in [0, {_LARGEST:,}] to be written, got {number!r}")
    if number < 100:
        tens, unit = divmod(number, 10)
        if number < 20:
            return _UNITS[number]
        return _TENS[tens - 2] + (f"-{_UNITS[unit]}" if unit else "")
    scales = [*reversed(_SCALES.items()), ("hundred", 100)]
    name, scale = next((name, scale) for name, scale in scales if scale <= number)
    many, rest = divmod(number, scale)
    return f"{in_words(many)} {name}" + (f" {in_words(rest)}" if rest else "")


def from_words(text: str) -> int | None:
    """Return the number that words say; None if they do not say one, as "five six"."""
    words = [word for word in re.split(r"[-\s]+", text.lower()) if word != "and"]
    total = group = 0
    for word in words:
        if word in _SCALES:
            total, group = total + max(group, 1) * _SCALES[word], 0
        elif word == "hundred":
            group = max(group, 1) * 100
        elif word in _VALUES:
            group += _VALUES[word]
        else:
            return None
    number = total + group
    if number > _LARGEST or in_words(number).replace("-", " ").split() != words:
        return None
    return number


def numbers_translated(text: str) -> str:
    """Return a text with whole numbers in digits written as words, and the other way."""
    pieces, end = [], 0
    found = [*_DIGITS.finditer(text), *_WORDS.finditer(text)]
    for match in sorted(found, key=lambda each: each.start()):
        pieces += [text[end : match.start()], _translated(match.group())]
        end = match.end()
    return "".join([*pieces, text[end:]])


def _translated(number: str) -> str:
    if number[0].isdigit():
        value = int(number.replace(",", ""))
        return in_words(value) if value <= _LARGEST else number
    read = from_words(number)
    return number if read is None else str(read)

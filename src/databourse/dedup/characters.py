"""What each character is to the words of `databourse.dedup.shingles`, as tables by code point.

The tables are asked of Python's own `re` and `str.lower`, so that compiled code and Python agree on
every character of the running Unicode version.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SINGLES = r"\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana and ideographs
SIGNS = r"-+*/=<>^%\u00d7\u00f7\u2212"
CASED_BY_CONTEXT = "\u0130\u03a3"
"""The first has two characters for its lower case; that of the second depends on what follows."""
_CODE_POINTS = 0x110000


@dataclass(frozen=True)
class Characters:
    """Tables by code point.

    Attributes:
        flags: uint8: 1 letter or digit of a word, 2 a word of its own, 4 decimal digit, 8 space,
            16 arithmetic sign, 32 of a word or an underscore, 64 lower case depends on context.
        lower: int32, the code point of the lower case; those with flag 64 stand for themselves.
    """

    flags: npt.NDArray[np.uint8]
    lower: npt.NDArray[np.int32]


@functools.cache
def characters() -> Characters:
    """Return the tables, built once in a process."""
    everything = "".join(map(chr, range(_CODE_POINTS)))
    flags = np.zeros(_CODE_POINTS, dtype=np.uint8)
    for flag, pattern in (
        (1, rf"[^\W_{SINGLES}]+"),
        (2, rf"[{SINGLES}]+"),
        (4, r"\d+"),
        (8, r"\s+"),
        (16, rf"[{SIGNS}]+"),
        (32, r"\w+"),
        (64, f"[{CASED_BY_CONTEXT}]"),
    ):
        for run in re.finditer(pattern, everything):
            flags[run.start() : run.end()] |= flag
    alone = everything
    for letter in CASED_BY_CONTEXT:
        alone = alone.replace(letter, "\0")
    lower = np.frombuffer(alone.lower().encode("utf-32-le", "surrogatepass"), dtype="<i4").copy()
    for letter in CASED_BY_CONTEXT:
        lower[ord(letter)] = ord(letter)
    return Characters(flags, lower)

"""How the report writes numbers and untrusted text."""

from __future__ import annotations

import math
import re

_NO_BREAK = "\u00a0"
_MINUS = "\u2212"

NONE = "\u2013"  # what a cell shows where there is no number

# C0 controls but tab and newline, DEL, C1, bidirectional overrides and isolates, lone surrogates:
# invisible, able to reorder what is read, or impossible to encode.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def shown_text(text: str) -> str:
    """Return a text in which every control character is visible; it still needs escaping."""
    return _UNSAFE.sub(_visible, text)


def shown_label(text: str, limit_characters: int = 40) -> str:
    """Return a text on one line; from a longer one, only its beginning and its end."""
    line = " ".join(shown_text(text).split()) or "(empty)"
    if len(line) <= limit_characters:
        return line
    tail = limit_characters // 3
    return f"{line[: limit_characters - tail - 1].rstrip()}…{line[-tail:].lstrip()}"


def excerpt(text: str, limit_characters: int) -> str:
    """Return at most `limit_characters` of a text; an ellipsis marks the cut."""
    if len(text) <= limit_characters:
        return text
    return text[: limit_characters - 1].rstrip() + "…"


def count(value: int) -> str:
    """Return a whole number with separators, such as 12,345."""
    return f"{value:,}".replace("-", _MINUS)


def counted(value: int, noun: str) -> str:
    """Return a count with its noun, such as "1 document" or "2 documents"."""
    return f"{count(value)}{_NO_BREAK}{noun}{'' if value == 1 else 's'}"


def decimal(value: float, digits: int = 2) -> str:
    """Return a number with fixed digits and a true minus sign."""
    text = f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", _MINUS)


def signed(value: float, digits: int = 2) -> str:
    """Return a number with its sign; zero has none."""
    text = decimal(value, digits)
    is_zero = not text.strip("0.")
    return text if is_zero or text.startswith(_MINUS) else f"+{text}"


def significant(value: float, digits: int = 3) -> str:
    """Return a number of any size in a few significant digits, such as 1,230 or 0.00412."""
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e7:
        rounded = float(f"{value:.{digits}g}")
        places = max(0, digits - 1 - _exponent(rounded))
        return f"{rounded:,.{places}f}".replace("-", _MINUS)
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}".replace("-", _MINUS)


def plain(value: float) -> str:
    """Return a number with as few digits as say it, at most six: 2, 0.5, 1.31."""
    return f"{value:,.6g}".replace("-", _MINUS)


def percent(share: float, digits: int = 1) -> str:
    """Return a share as a percentage; neither 0 nor 100 is printed for what is not."""
    rounded = round(share * 100, digits)
    step = 10**-digits
    if share > 0 and rounded == 0:
        return f"<{_NO_BREAK}{step:.{digits}f}{_NO_BREAK}%"
    if share < 1 and rounded == 100:
        return f">{_NO_BREAK}{100 - step:.{digits}f}{_NO_BREAK}%"
    return f"{decimal(rounded, digits)}{_NO_BREAK}%"


def times(log_ratio: float) -> str:
    """Return exp of a log ratio in words: "25 times", "0.57 of" or "1/196 of"."""
    if abs(log_ratio) > 13:
        return f"e^{decimal(log_ratio, 1)} times"
    ratio = math.exp(log_ratio)
    if ratio >= 1:
        return f"{significant(ratio, 2)} times"
    return f"{significant(ratio, 2)} of" if ratio >= 0.1 else f"1/{significant(1 / ratio, 2)} of"


def duration(seconds: float) -> str:
    """Return a span of time in the largest units that say enough."""
    if seconds < 60:
        return f"{decimal(seconds, 1)}{_NO_BREAK}s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours:,}{_NO_BREAK}h{_NO_BREAK}{minutes}{_NO_BREAK}min"
    return f"{minutes}{_NO_BREAK}min{_NO_BREAK}{rest}{_NO_BREAK}s"


def listed(names: list[str]) -> str:
    """Return names as a phrase: "a", "a and b", "a, b and c"."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return chr(0x2400 + code) if code < 0x20 else "\N{REPLACEMENT CHARACTER}"


def _exponent(value: float) -> int:
    return int(f"{value:e}".split("e")[1])

"""JSON files that carry their own digest, so that a damaged one can be told from damage elsewhere.

The first key is `self_sha256`: the sha256 of the file's bytes with its own 64 digits replaced by
zeros. Every byte is covered: one flipped anywhere breaks the digest, the key or the layout.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

_HEAD = b'{\n  "self_sha256": "'
_DIGITS = slice(len(_HEAD), len(_HEAD) + 64)
_ZEROS = "0" * 64


class BrokenSealError(ValueError):
    """The bytes are not those that were sealed; the text says how that shows."""


def seal(content: Mapping[str, object]) -> bytes:
    """Return the content as indented JSON that begins with its own digest.

    Args:
        content: JSON types only, finite numbers; keys keep their order.
    """
    text = json.dumps(
        {"self_sha256": _ZEROS, **content}, indent=2, ensure_ascii=False, allow_nan=False
    )
    blank = text.encode("utf-8") + b"\n"
    return _with_digits(blank, hashlib.sha256(blank).hexdigest())


def unseal(data: bytes) -> dict[str, object]:
    """Return the content of a sealed file, without its digest.

    Raises:
        BrokenSealError: the bytes were truncated or changed since they were sealed.
    """
    digits = data[_DIGITS]
    if not data.startswith(_HEAD) or re.fullmatch(rb"[0-9a-f]{64}", digits) is None:
        raise BrokenSealError("does not begin with its own sha256")
    if hashlib.sha256(_with_digits(data, _ZEROS)).hexdigest().encode() != digits:
        raise BrokenSealError("does not match its own sha256: truncated or edited")
    try:
        content = json.loads(data)
    except ValueError as error:
        raise BrokenSealError(f"is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise BrokenSealError("is not a JSON object")
    return {key: value for key, value in content.items() if key != "self_sha256"}


def _with_digits(data: bytes, digits: str) -> bytes:
    return data[: _DIGITS.start] + digits.encode() + data[_DIGITS.stop :]

"""Content digests: how documents, files, settings and rows get their identity."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def canonical_text(text: str) -> str:
    """Return the form of a text that is stored and hashed: NFC, `\\n` line ends, outer space cut.

    Two rows with the same canonical text are the same document.
    """
    return composed(text).strip()


def composed(text: str) -> str:
    """Return a text in NFC with `\\n` line ends."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.isascii() else unicodedata.normalize("NFC", text)  # ASCII is NFC


def document_id(text: str) -> str:
    """Return the id of an already canonical text: 128 bits of blake2b over its UTF-8, in hex.

    128 bits because duplicates are deleted: 1e10 documents collide with probability 1.5e-19.
    """
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()


def canonical_json(value: object) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest_of(value: object) -> str:
    """Return the sha256, in hex, of the canonical JSON of a value made of JSON types."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


def digest_of_lines(lines: Iterable[str]) -> str:
    """Return the sha256, in hex, of lines in the order given, each ended by a newline."""
    state = hashlib.sha256()
    for line in lines:
        state.update(line.encode("utf-8"))
        state.update(b"\n")
    return state.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            state.update(chunk)
    return state.hexdigest()

"""Tokenizers: how long a document is for a budget.

Lengths are those of the whole text: the truncation and padding that a tokenizer.json may carry (the
default one cuts at 128 tokens) are switched off, and special tokens are not counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from databourse.digests import digest_of
from databourse.encoders.locations import (
    DEFAULT_MODEL,
    HubId,
    default_model_folder,
    fetch,
    locate,
)
from databourse.errors import ConfigError, InputError, MissingExtraError
from databourse.progress import ProgressReport, silent

if TYPE_CHECKING:
    import tokenizers

TOKENIZER_FILE = "tokenizer.json"
_BATCH_TEXTS = 1_024
_BATCH_CHARACTERS = 1 << 22


class Tokenizer:
    """A tokenizer that counts.

    Attributes:
        tokenizer_id: name and digest of what it does; equal ids count alike on every machine.
    """

    def __init__(self, name: str, tokenizer: tokenizers.Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.tokenizer_id = f"{name}@{tokenizer_fingerprint(tokenizer.to_str())}"

    def count_tokens(
        self, texts: Sequence[str], *, progress: ProgressReport = silent
    ) -> npt.NDArray[np.int64]:
        """Return the number of tokens of each text, special tokens left out, shape (len(texts),).

        Args:
            texts: any texts; an empty one has no tokens.
            progress: told of the texts of each batch.

        Raises:
            InputError: a text is not Unicode (a lone surrogate) or not a text.
        """
        counts: list[int] = []
        for batch in _batches(texts):
            counts.extend(self._counts_of(batch))
            progress(len(batch))
        return np.array(counts, dtype=np.int64)

    def _counts_of(self, texts: list[str]) -> list[int]:
        try:
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        except TypeError as error:
            raise InputError(
                "texts must be valid Unicode to be tokenized; "
                f"one of {len(texts):,} is not a text or has a lone surrogate"
            ) from error
        return [len(encoding) for encoding in encodings]


def tokenizer_fingerprint(content: str) -> str:
    """Return the digest of what a tokenizer does, 16 hex digits, truncation and padding left out.

    Args:
        content: its tokenizer.json, as its own `to_str()` writes it.
    """
    parsed: dict[str, Any] = json.loads(content)
    return digest_of({**parsed, "truncation": None, "padding": None})[:16]


def load_tokenizer(name: str, *, root: Path = Path()) -> Tokenizer:
    """Return the tokenizer of a name.

    Args:
        name: `default` (that of the default encoder), a tokenizer.json or a folder that holds one
            (relative ones start at `root`), or a hub id `owner/name` or `owner/name@revision`.
        root: folder of the config.

    Raises:
        ConfigError: it cannot be found, or is no tokenizer.json.
        UnknownNameError: the name is of neither form.
        MissingExtraError: a package is missing.
        TransientError: the hub failed.
    """
    if name == "default":
        return _read_tokenizer(DEFAULT_MODEL, default_model_folder() / TOKENIZER_FILE)
    place = locate(name, kind="tokenizer", known=["default"], root=root)
    if isinstance(place, HubId):
        return _read_tokenizer(str(place), fetch(place, [TOKENIZER_FILE]) / TOKENIZER_FILE)
    file = place / TOKENIZER_FILE if place.is_dir() else place
    return _read_tokenizer(file.name, file)  # not its folder: that differs between machines


def check_tokenizer(name: str, *, root: Path = Path()) -> str:
    """Return the id of the tokenizer that a run would use.

    Raises:
        DatabourseError: as `load_tokenizer`.
    """
    return load_tokenizer(name, root=root).tokenizer_id


def _read_tokenizer(name: str, file: Path) -> Tokenizer:
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError("tokenizers", "pipeline", "counting tokens") from error
    content = _read_json(file)
    try:
        tokenizer = tokenizers.Tokenizer.from_str(content)
    except Exception as error:
        if type(error) is not Exception:  # the package raises bare Exception for a bad file
            raise
        raise ConfigError(f"{file} is not a tokenizer.json: {error}") from error
    return Tokenizer(name, tokenizer)


def _read_json(file: Path) -> str:
    try:
        content = file.read_text(encoding="utf-8")
        parsed: Any = json.loads(content)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{file.parent} has no {file.name}: only tokenizers of that form can be used; "
            "a trainer's own can be written by its save_pretrained()"
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{file} is not a tokenizer.json: {error}") from error
    if not isinstance(parsed, dict):
        raise ConfigError(f"{file} is not a tokenizer.json: expected an object with a model")
    return content


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield texts in order, bounded in number and characters so that memory is bounded too."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        if batch and (len(batch) == _BATCH_TEXTS or characters + len(text) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch

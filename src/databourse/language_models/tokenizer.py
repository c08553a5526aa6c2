"""Tokenizers of language models: texts to the ids that a model reads.

The pool's own is a byte-level BPE (Sennrich et al. 2016, arXiv 1508.07909; over bytes as in Radford
et al. 2019, "Language models are unsupervised multitask learners"). It is fitted to counts of
words, so neither the order of the texts nor the number of threads changes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from databourse.digests import digest_of
from databourse.errors import ConfigError, InputError, MissingExtraError
from databourse.progress import ProgressReport, silent
from databourse.tokenization import TOKENIZER_FILE

if TYPE_CHECKING:
    import tokenizers

START_TOKEN = "<|endoftext|>"  # noqa: S105 - a token of text
SMALLEST_VOCABULARY = 257
"""The 256 bytes and the start token."""

_LEAST_FREQUENCY = 2  # a pair seen once is not merged


class ModelTokenizer:
    """A tokenizer that gives ids.

    Text is never read as a special token: a document that holds "<|endoftext|>" is spelled out.

    Attributes:
        tokenizer_id: digest of what it does.
        vocabulary_size: ids are below it.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # special tokens in a text are text
        self._tokenizer = tokenizer
        self.tokenizer_id = digest_of(json.loads(tokenizer.to_str()))[:16]
        self.vocabulary_size = max(tokenizer.get_vocab().values(), default=-1) + 1

    def encode(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """Return the token ids of each text, without special tokens; none for an empty text.

        Raises:
            InputError: a text is not Unicode (a lone surrogate) or not a text.
        """
        try:
            encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        except TypeError as error:
            raise InputError(
                "texts must be valid Unicode to be tokenized; "
                f"one of {len(texts):,} is not a text or has a lone surrogate"
            ) from error
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens left out.

        Bytes that are no whole character, as at the end of a text that was cut, become U+FFFD; ids
        that the vocabulary has not are nothing.

        Raises:
            InputError: an id is negative.
        """
        if any(each < 0 for each in ids):
            raise InputError(f"token ids must be >= 0, got {min(ids)}")
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def id_of(self, token: str) -> int | None:
        """Return the id of a token, None if the vocabulary has no such token."""
        found = self._tokenizer.token_to_id(token)
        return None if found is None else int(found)

    def to_json(self) -> str:
        """Return the content of its tokenizer.json."""
        return str(self._tokenizer.to_str(pretty=True))


def train_tokenizer(
    texts: Iterable[str], *, vocabulary_size: int, progress: ProgressReport = silent
) -> ModelTokenizer:
    """Return a byte-level BPE fitted to texts, with the start token as id 0.

    Args:
        texts: read once; their order changes nothing.
        vocabulary_size: most tokens, >= 257; there are fewer where the texts hold fewer pairs that
            occur twice.
        progress: told of each text.

    Raises:
        InputError: the vocabulary is too small, or a text is not valid Unicode.
        MissingExtraError: a package is missing.
    """
    if vocabulary_size < SMALLEST_VOCABULARY:
        raise InputError(
            f"vocabulary_size must be >= {SMALLEST_VOCABULARY} (the bytes and the start token), "
            f"got {vocabulary_size!r}"
        )
    package = _tokenizers_package()
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = package(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=_LEAST_FREQUENCY,
        special_tokens=[START_TOKEN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_checked(texts, progress), trainer)
    return ModelTokenizer(tokenizer)


def read_tokenizer(folder: Path) -> ModelTokenizer:
    """Return the tokenizer of a model folder, from its tokenizer.json.

    Raises:
        ConfigError: there is none, or it is damaged.
        MissingExtraError: a package is missing.
    """
    file = folder / TOKENIZER_FILE
    package = _tokenizers_package()
    try:
        content = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{folder} has no {TOKENIZER_FILE}: only tokenizers of that form can be used; "
            "a trainer's own can be written by its save_pretrained()"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not a tokenizer.json: {error}") from error
    try:
        return ModelTokenizer(package.from_str(content))
    except Exception as error:
        if type(error) is not Exception:  # the package raises bare Exception for a bad file
            raise
        raise ConfigError(f"{file} is not a tokenizer.json: {error}") from error


def _checked(texts: Iterable[str], progress: ProgressReport) -> Iterator[str]:
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError("texts must be valid Unicode to be tokenized; one is not") from error
        yield text
        progress(1)


def _tokenizers_package() -> type[tokenizers.Tokenizer]:
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError("tokenizers", "pipeline", "language models") from error
    package: type[tokenizers.Tokenizer] = tokenizers.Tokenizer
    return package

"""A static encoder: the default encoder's view of each token alone, averaged over a text.

    e_v   the teacher's vector of [CLS] v [SEP], for every token v that stands for text
    E     the first d principal components of e, weighted by a / (a + p_v), a = 1e-4
    text  sum of E over its tokens, scaled to norm 1

p_v is Zipf's law over the vocabulary, whose order is by frequency: 1 / (v + 2), scaled to sum 1.
Source: Model2Vec (Tulkens & van Dongen 2024, github.com/MinishLab/model2vec) for the recipe;
weights after Arora et al. 2017, "A simple but tough-to-beat baseline for sentence embeddings",
equation 1. Order of words, and what a word means beside others, are lost; docs/methods.md says what
that costs. A text is of any length.

Sums run over a text's tokens in a fixed order in float64, so that a vector depends on its text
alone. Distilling takes the teacher a minute, once for all pools that share a cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from databourse.digests import digest_of, file_sha256
from databourse.encoders.encoder import TokenEncoder
from databourse.encoders.made_models import made_folder
from databourse.errors import InputError, MissingExtraError
from databourse.progress import ProgressReport, silent

_REVISION = 1  # of distilling and encoding: raise it when vectors change
_DIMENSION = 256
_SIF = 1e-4
_VECTORS_FILE = "vectors.safetensors"
_TOKENS_AT_ONCE = 512
_TEXTS_AT_ONCE = 4_096

FloatMatrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StaticEncoder:
    """Sums of token vectors; see the module.

    Attributes:
        encoder_id: of the vectors.
        vectors: E, shape (V, d), float64; 0 for tokens that stand for no text.
        tokenizer: of the teacher.
    """

    encoder_id: str
    vectors: FloatMatrix
    tokenizer: Any
    max_tokens: int | None = None

    @property
    def dimension(self) -> int:
        """Return d."""
        return int(self.vectors.shape[1])

    def encode(
        self, texts: Sequence[str], *, progress: ProgressReport = silent
    ) -> npt.NDArray[np.float32]:
        """Return the vectors of texts; see `Encoder.encode`.

        A text without a known token gets the first unit vector.
        """
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            part = texts[first : first + _TEXTS_AT_ONCE]
            vectors[first : first + len(part)] = self._encoded(part)
            progress(len(part))
        return vectors

    def _encoded(self, texts: Sequence[str]) -> FloatMatrix:
        from scipy import sparse

        tokens = self._tokens(texts)
        lengths = np.fromiter((len(each) for each in tokens), dtype=np.int64, count=len(tokens))
        ends = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.fromiter((token for each in tokens for token in each), np.int64, int(ends[-1]))
        # A row of a sparse product is summed token by token, in the order of the text.
        counts = sparse.csr_array(
            (np.ones(flat.size), flat, ends), shape=(len(texts), len(self.vectors))
        )
        sums = np.asarray(counts @ self.vectors)
        norms = np.sqrt(np.einsum("ij,ij->i", sums, sums))
        known = norms > 0
        sums[known] /= norms[known, None]
        sums[~known, 0] = 1.0
        return sums

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        try:
            found = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        except TypeError as error:
            raise InputError(
                "texts must be valid Unicode to be encoded; "
                f"one of {len(texts):,} is not a text or has a lone surrogate"
            ) from error
        return [each.ids for each in found]


def load_static_encoder(teacher: TokenEncoder, folder: Path, *, cache_dir: Path) -> StaticEncoder:
    """Return the static encoder of a teacher, distilled now if the cache lacks it.

    Args:
        teacher: whose vectors of single tokens are taken.
        folder: the teacher's model folder, for its tokenizer.
        cache_dir: where distilled encoders are kept; created if missing.

    Raises:
        MissingExtraError: a package is missing.
    """
    try:
        import safetensors.numpy
        import tokenizers
    except ImportError as error:
        raise MissingExtraError(str(error.name), "pipeline", "the static encoder") from error
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    key = digest_of({"teacher": teacher.encoder_id, "d": _DIMENSION, "revision": _REVISION})

    def distil(made: Path) -> None:
        vectors = distilled_vectors(teacher, tokenizer, dimension=_DIMENSION)
        safetensors.numpy.save_file({"vectors": vectors}, made / _VECTORS_FILE)

    file = made_folder(cache_dir / f"static-{key[:16]}", distil) / _VECTORS_FILE
    name = teacher.encoder_id.split("@")[0]
    return StaticEncoder(
        encoder_id=f"static-{_DIMENSION}-of-{name}@{file_sha256(file)[:12]}/r{_REVISION}",
        vectors=safetensors.numpy.load_file(file)["vectors"],
        tokenizer=tokenizer,
    )


def distilled_vectors(
    teacher: TokenEncoder,
    tokenizer: Any,  # noqa: ANN401 - a tokenizers.Tokenizer
    *,
    dimension: int,
) -> FloatMatrix:
    """Return E of a teacher's vocabulary, shape (V, dimension).

    Args:
        teacher: with vectors of at least `dimension` numbers.
        tokenizer: its tokenizer; `[CLS]` and `[SEP]` are what it puts around a text.
        dimension: d, at most that of the teacher and the number of tokens that stand for text.

    Raises:
        InputError: the dimension is too large.
    """
    n_tokens = tokenizer.get_vocab_size()
    before, after = _around(tokenizer)
    special = {
        token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special
    }
    unused = {
        token
        for word, token in tokenizer.get_vocab().items()
        if word.startswith("[unused") and word.endswith("]")
    }
    tokens = np.array([t for t in range(n_tokens) if t not in special | unused], dtype=np.int64)
    most = min(teacher.dimension, tokens.size)
    if not 1 <= dimension <= most:
        raise InputError(f"dimension must be in 1 .. {most}, got {dimension!r}")
    alone = _vectors_of_tokens(teacher, tokens, before, after)
    centred = alone - alone.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    kept = directions[:, ::-1][:, :dimension]
    kept *= np.where(kept[np.abs(kept).argmax(axis=0), np.arange(dimension)] < 0, -1.0, 1.0)
    frequency = 1.0 / np.arange(2, n_tokens + 2)
    frequency /= frequency.sum()
    weights = _SIF / (_SIF + frequency[tokens])
    vectors = np.zeros((n_tokens, dimension))
    vectors[tokens] = (centred @ kept) * weights[:, None]
    return vectors


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:  # noqa: ANN401
    """Return the tokens that come before and after a text."""
    whole, bare = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=False)
    start = next(
        at for at in range(len(whole.ids)) if whole.ids[at : at + len(bare.ids)] == bare.ids
    )
    return whole.ids[:start], whole.ids[start + len(bare.ids) :]


def _vectors_of_tokens(
    teacher: TokenEncoder, tokens: npt.NDArray[np.int64], before: list[int], after: list[int]
) -> FloatMatrix:
    """Return the teacher's vector of each token alone, shape (n, teacher.dimension)."""
    parts = []
    teacher.model.enter_worker()
    try:
        for first in range(0, tokens.size, _TOKENS_AT_ONCE):
            own = tokens[first : first + _TOKENS_AT_ONCE]
            ids = np.array([[*before, token, *after] for token in own.tolist()], dtype=np.int64)
            parts.append(teacher.model.forward(ids, np.ones_like(ids)))
    finally:
        teacher.model.leave()
    return np.concatenate(parts).astype(np.float64)

"""What a language model says of documents, summed over their tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TokenLosses:
    """Losses and entropies of documents, or of a part of each.

    Attributes:
        token_counts: tokens scored per document, shape (n,), int64; 0 for an empty text, and where
            a document has no such part.
        loss_sums: sum of their losses -ln p, nats, shape (n,), >= 0.
        entropy_sums: sum of the entropies of the next token before each, nats, shape (n,), >= 0.
    """

    token_counts: npt.NDArray[np.int64]
    loss_sums: FloatArray
    entropy_sums: FloatArray

    @property
    def mean_losses(self) -> FloatArray:
        """Return the mean loss per token, nats, shape (n,); NaN where there is no token."""
        return _means(self.loss_sums, self.token_counts)

    @property
    def mean_entropies(self) -> FloatArray:
        """Return the mean entropy of the next token, nats, shape (n,); NaN without a token.

        EUDS calls it generative entropy; that it is the mean over positions is a reconstruction.
        """
        return _means(self.entropy_sums, self.token_counts)


def _means(sums: FloatArray, counts: npt.NDArray[np.int64]) -> FloatArray:
    means = np.full(len(sums), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means

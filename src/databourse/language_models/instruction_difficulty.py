"""Instruction-following difficulty (IFD): how little a prompt helps to predict its completion.

Two published numbers bear the name. With s(A | Q) and s(A) the mean token losses of a completion
with and without its prompt, in nats:

    loss ratio         s(A | Q) / s(A)             Li et al. 2023, arXiv 2308.12032
    perplexity ratio   exp(s(A | Q) - s(A))        Superfiltering, Li et al. 2024, arXiv 2402.00530

Both are 1 where the prompt changes nothing and above 1 where it misleads; the papers discard what
is above 1 and keep the highest of the rest. They rank documents differently: the one is a quotient
of losses, the logarithm of the other a difference.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from databourse.errors import InputError

FloatArray = npt.NDArray[np.float64]


def loss_ratio(conditioned: FloatArray, unconditioned: FloatArray) -> FloatArray:
    """Return s(A | Q) / s(A) per document, >= 0.

    Args:
        conditioned: mean token losses given the prompts, nats, shape (n,), >= 0 or NaN.
        unconditioned: mean token losses of the same tokens without prompts, same shape.

    Returns:
        Shape (n,). NaN where a loss is (a completion without tokens) and for 0 / 0; infinite where
        only the unconditioned loss is 0.

    Raises:
        InputError: shapes differ, or a loss is negative.
    """
    _check_losses(conditioned, unconditioned)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: FloatArray = conditioned / unconditioned
    return ratio


def perplexity_ratio(conditioned: FloatArray, unconditioned: FloatArray) -> FloatArray:
    """Return exp(s(A | Q) - s(A)) per document, >= 0.

    Args and Raises: as `loss_ratio`.

    Returns:
        Shape (n,). NaN where a loss is; infinite beyond the range of a double.
    """
    _check_losses(conditioned, unconditioned)
    with np.errstate(over="ignore"):
        ratio: FloatArray = np.exp(conditioned - unconditioned)
    return ratio


def _check_losses(conditioned: FloatArray, unconditioned: FloatArray) -> None:
    if conditioned.shape != unconditioned.shape:
        raise InputError(
            "both losses must be of the same documents, got shapes "
            f"{conditioned.shape} and {unconditioned.shape}"
        )
    for name, losses in (("conditioned", conditioned), ("unconditioned", unconditioned)):
        if (losses < 0).any():
            raise InputError(f"{name} losses must be >= 0 nats, got {float(np.nanmin(losses))!r}")

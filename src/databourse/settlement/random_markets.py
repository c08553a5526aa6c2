"""What documents are worth to a model that reads no more than a budget: random markets, retrained.

Notation: n documents of cost c_i, K traders with standardised signals z (n, K), S random markets,
1_s the mask of what market s bought, t_s = sum of its costs, y_s = -(mean loss on a target of the
model trained on it), nats.

    market s:  g_s uniform on the unit sphere in R^K, a budget uniform in [least_share B, B], a
               length bias l_s uniform in [0, length_bias], documents bought in descending order of
               heat z_i . g_s - l_s ln c_i + Gumbel noise
    y_s = a + lambda t_s + sum_{i in s} w_i + noise,    w_i = z_i . beta + eps_i
    worth of a document: lambda c_i + w_i

A market at random prices draws without replacement with probability in proportion to price over
cost^l (Gumbel top-k, Kool et al. 2019, arXiv 1903.06059); with l up to the length bias of the
selection it buys as short documents as the market that is settled does, and a fit to its picks is
not asked about documents that none of them was like. `a` and `lambda`, the value of a token whoever
sells it, are fitted freely; w has a Gaussian prior of which a part rho comes from signals, so that
documents alike to every trader are alike in worth, and the rest is each document's own. rho and the
noise are those with the least leave-one-out error over the markets, which is exact for a linear
smoother. With rho = 0 and much noise w is the covariance of being bought with -loss, the estimate
that datamodels start from (Ilyas et al. 2022, arXiv 2202.00622); random markets in place of uniform
subsets, the prior and the value of a token are our choice: a few dozen trainings say much of K
signals and next to nothing of n documents one by one.

Differs from influence in what is asked: not what one document adds to a model of the whole pool,
but what it is worth among what a budget buys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from databourse.errors import InputError
from databourse.influence.lds import BoolArray
from databourse.market.lmsr import FloatArray
from databourse.market.standardisation import IntArray

SIGNAL_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.97, 1.0)
"""Of the prior of w: parts that come from signals."""
NOISE_RATIOS = tuple(float(each) for each in np.geomspace(1e-3, 1e3, 25))
"""Variances of the noise over the prior's mean variance of y."""
LEAST_MARKETS = 4


def random_market_picks(
    scores: FloatArray,
    costs: IntArray,
    *,
    budget: int,
    n_markets: int,
    heat: float,
    least_share: float,
    length_bias: float = 0.0,
    rng: np.random.Generator,
) -> BoolArray:
    """Return what random markets buy: masks, shape (S, n), each with at least one document.

    Args:
        scores: z, shape (n, K).
        costs: c, shape (n,), integers >= 1.
        budget: B, in the same unit.
        n_markets: S.
        heat: length of the order direction, >= 0; 0 draws documents uniformly.
        least_share: of B that a market may have, in (0, 1].
        length_bias: the most by which a market prefers short documents, >= 0.
        rng: draws directions, budgets, length biases and noise, market by market.

    Raises:
        InputError: a number is outside its domain, or no document fits the budget.
    """
    n, n_traders = scores.shape
    if costs.shape != (n,):
        raise InputError(f"costs must have shape ({n},), got {costs.shape}")
    if not 0 < least_share <= 1:
        raise InputError(f"least_share must be in (0, 1], got {least_share!r}")
    if not heat >= 0:
        raise InputError(f"heat must be >= 0, got {heat!r}")
    if not length_bias >= 0:
        raise InputError(f"length_bias must be >= 0, got {length_bias!r}")
    if not costs.min(initial=np.iinfo(np.int64).max) <= budget:
        raise InputError(f"no document fits a budget of {budget:,}")
    masks = np.zeros((n_markets, n), dtype=np.bool_)
    for mask in masks:
        drawn = rng.standard_normal(n_traders)
        direction = drawn / np.linalg.norm(drawn)
        affordable = budget * float(rng.uniform(least_share, 1.0))
        preference = float(rng.uniform(0.0, length_bias)) * np.log(costs)
        keys = heat * (scores @ direction) - preference + rng.gumbel(size=n)
        order = np.argsort(-keys, kind="stable")
        order = order[costs[order] <= max(affordable, costs.min())]
        bought = order[np.cumsum(costs[order]) <= affordable]
        mask[bought if bought.size else order[:1]] = True
    return masks


@dataclass(frozen=True, kw_only=True, eq=False)
class DocumentWorth:
    """What retrained models say of documents, for one target.

    Attributes:
        values: lambda c_i + w_i, nats of the target's mean loss, shape (n,); larger is better.
        token_value: lambda, nats per unit of cost; 0 where every market spent the same.
        signal_share: rho.
        noise_ratio: variance of the noise over the prior's variance of y.
        explained: 1 - leave-one-out error / variance of y: below 0 if useless. A little too good,
            since the same errors chose rho and the noise.
    """

    values: FloatArray
    token_value: float
    signal_share: float
    noise_ratio: float
    explained: float


def worth_of_documents(
    picks: BoolArray, losses: FloatArray, *, scores: FloatArray, costs: IntArray
) -> DocumentWorth:
    """Return what documents are worth by what models lost that were trained on picks.

    Args:
        picks: masks, shape (S, n), S >= 4.
        losses: mean loss on the target of each model, nats, shape (S,); finite.
        scores: z, shape (n, K).
        costs: c, shape (n,).

    Raises:
        InputError: shapes do not fit, a loss is not finite, or there are fewer than 4 markets.
    """
    n_markets, n = picks.shape
    if n_markets < LEAST_MARKETS or losses.shape != (n_markets,) or len(scores) != n:
        raise InputError(
            f"expected at least {LEAST_MARKETS} picks with a loss each and scores of every "
            f"document, got picks {picks.shape}, losses {losses.shape}, scores {scores.shape}"
        )
    if not np.isfinite(losses).all():
        raise InputError("losses of retrained models must be finite")
    masks = picks.astype(np.float64)
    spent = masks @ costs.astype(np.float64)
    gain = -losses
    free = np.ones((n_markets, 1))
    if np.ptp(spent) > 0:
        free = np.column_stack([free, spent - spent.mean()])
    basis, _ = np.linalg.qr(free)
    left = np.eye(n_markets) - basis @ basis.T  # what the free terms cannot explain
    by_signal = left @ (masks @ scores)
    by_document = left @ masks
    kernels = [_unit(by_signal @ by_signal.T), _unit(by_document @ by_document.T)]
    best = _Fit(np.inf, 0.0, np.inf, np.zeros(n_markets))
    for share in SIGNAL_SHARES:
        kernel = share * kernels[0][0] + (1 - share) * kernels[1][0]
        for fit in _fits(kernel, left, gain, share):
            if fit.error < best.error * (1 - 1e-9):
                best = fit
    own = (1 - best.share) / kernels[1][1] * (by_document.T @ best.dual)
    shared = best.share / kernels[0][1] * (scores @ (by_signal.T @ best.dual))
    residual = own + shared
    coefficients = np.linalg.lstsq(free, gain - masks @ residual, rcond=None)[0]
    token_value = float(coefficients[1]) if free.shape[1] > 1 else 0.0
    total = float(((gain - gain.mean()) ** 2).sum())
    return DocumentWorth(
        values=residual + token_value * costs,
        token_value=token_value,
        signal_share=best.share,
        noise_ratio=best.noise,
        explained=1 - best.error / total if total > 0 else 0.0,
    )


@dataclass(frozen=True, eq=False)
class _Fit:
    error: float
    share: float
    noise: float
    dual: FloatArray


def _unit(kernel: FloatArray) -> tuple[FloatArray, float]:
    """Return a kernel with a mean variance of 1, and what it was divided by."""
    scale = float(np.trace(kernel)) / len(kernel)
    return (kernel / scale, scale) if scale > 0 else (kernel, 1.0)


def _fits(kernel: FloatArray, left: FloatArray, gain: FloatArray, share: float) -> list[_Fit]:
    """Return the fit for each ratio of noise, the noisiest first, with its leave-one-out error."""
    values, vectors = np.linalg.eigh((kernel + kernel.T) / 2)
    values = np.maximum(values, 0.0)
    turned = vectors.T @ (left @ gain)
    fits = []
    for noise in reversed(NOISE_RATIOS):
        shrunk = 1 / (values + noise)
        dual = vectors @ (shrunk * turned)
        # Residuals of the whole smoother, free terms and kernel, and what it leaves of each point.
        missed = left @ (noise * dual)
        own = np.einsum("ij,j,ij->i", left @ vectors, noise * shrunk, left @ vectors)
        with np.errstate(divide="ignore", invalid="ignore"):
            alone = np.where(own > 1e-12, missed / own, np.inf)
        fits.append(_Fit(float((alone**2).sum()), share, noise, dual))
    return fits

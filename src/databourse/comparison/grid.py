"""The cells of a comparison: every sampler at every budget with every seed.

The samplers of a cell's budget and seed choose from the same documents, and their picks are trained
on with the same seed, so that cells are paired. A sampler's seconds are those of choosing, from
what is stored; what its signals cost is not in them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from databourse.comparison.proxies import Measurement, Proxy
from databourse.errors import InputError
from databourse.market.lmsr import effective_sample_size
from databourse.samplers.interface import Candidates, SamplerSpec, restricted_to, sample
from databourse.seeds import stage_rng, stage_seed
from databourse.selection.greedy import FloatArray, IntArray

ALL = "all"
"""In place of a sampler: everything, for the whole pool's tokens."""

PICK = "pick"
"""In place of a test set: what is measured of the pick itself."""


@dataclass(frozen=True, order=True)
class Cell:
    """One training.

    Attributes:
        sampler: its name, or `ALL`.
        budget: in the unit of the costs; of `ALL` the whole pool.
        seed: a number from 0.
    """

    sampler: str
    budget: int
    seed: int


@dataclass(frozen=True, eq=False)
class Pick:
    """What a sampler bought of the candidates.

    Attributes:
        positions: in the order of buying.
        spent: in the unit of the costs.
        seconds: of choosing.
        cpu_seconds: of choosing, all threads.
    """

    positions: IntArray
    spent: int
    seconds: float
    cpu_seconds: float


def cells_of(
    samplers: Sequence[str], budgets: Sequence[int], seeds: int, *, whole_pool: int
) -> list[Cell]:
    """Return the cells in an order that gives every sampler its first seeds first.

    Args:
        samplers: names; `ALL` counts once per seed.
        budgets: in the unit of the costs, distinct.
        seeds: how many.
        whole_pool: the cost of all documents.
    """
    return [
        Cell(sampler, budget, seed)
        for seed in range(seeds)
        for sampler in samplers
        for budget in ([whole_pool] if sampler == ALL else budgets)
    ]


def pick(
    candidates: Candidates, spec: SamplerSpec | None, cell: Cell, *, root_seed: int, share: float
) -> Pick:
    """Return what a sampler buys in a cell; everything where there is none.

    Args:
        candidates: of the whole pool.
        spec: the sampler of the cell; None for `ALL`.
        cell: which.
        root_seed: of the comparison.
        share: of the documents that are for sale, drawn by the cell's seed, in (0, 1].

    Raises:
        InputError: the sampler cannot run on these candidates; names it.
    """
    n_documents = len(candidates.document_ids)
    for_sale = np.arange(n_documents)
    if share < 1:
        draw = stage_rng(root_seed, "documents for sale", str(cell.seed))
        count = max(1, round(share * n_documents))
        for_sale = np.sort(draw.permutation(n_documents)[:count])
    if spec is None:
        return Pick(for_sale, int(candidates.costs[for_sale].sum()), 0.0, 0.0)
    offered = candidates if share == 1 else restricted_to(candidates, for_sale)
    rng = stage_rng(root_seed, "sampler", cell.sampler, str(cell.seed))
    started, cpu_started = time.perf_counter(), time.process_time()
    bought = for_sale[sample(spec, offered, cell.budget, rng=rng)]
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    if not bought.size:
        raise InputError(
            f"sampler {cell.sampler!r} bought nothing for {cell.budget:,}; raise the budget, or "
            "leave it out"
        )
    return Pick(bought, int(candidates.costs[bought].sum()), seconds, cpu_seconds)


def measured(proxy: Proxy, chosen: Pick, cell: Cell, *, root_seed: int) -> tuple[Measurement, ...]:
    """Return what a proxy that is trained on a pick is worth.

    Args:
        proxy: trained and measured.
        chosen: what it is trained on.
        cell: whose seed it is trained with, the same for all samplers.
        root_seed: of the comparison.
    """
    return proxy.measure(chosen.positions, seed=stage_seed(root_seed, "training", str(cell.seed)))


def described(
    candidates: Candidates, chosen: Pick, *, wrong: FloatArray | None = None
) -> tuple[Measurement, ...]:
    """Return what a pick is like: spread over topics, wrong labels, effective sizes.

    topic_coverage is the share of topics with a document, topic_balance the entropy of documents
    over topics as a share of the highest there is, topic_effective_share the effective number of
    topics over all. label_noise is the share of wrong labels among documents whose truth is known.
    Effective sizes are (sum w)^2 / sum w^2 over the documents: ess_equal_weights with w = 1, as
    every proxy trains, so the number of documents; ess_token_weights with w the cost of each.

    Args:
        candidates: of the whole pool.
        chosen: of them.
        wrong: 1 where the label of a candidate is wrong, 0 where it is right, NaN where nobody
            knows, shape (n,); None where none is known.
    """
    costs = candidates.costs[chosen.positions].astype(np.float64)
    found = [
        Measurement(PICK, "ess_equal_weights", float(costs.size)),
        Measurement(PICK, "ess_token_weights", effective_sample_size(costs)),
    ]
    if wrong is not None:
        known = wrong[chosen.positions]
        known = known[~np.isnan(known)]
        if known.size:
            found.append(Measurement(PICK, "label_noise", float(known.mean())))
    if candidates.topics is None:
        return tuple(found)
    n_topics = len(candidates.topics.topics)
    counts = np.bincount(candidates.topics.index[chosen.positions], minlength=n_topics)
    shares = counts / counts.sum()
    held = shares[shares > 0]
    entropy = float(-(held * np.log(held)).sum())
    return (
        *found,
        Measurement(PICK, "topic_coverage", float((counts > 0).mean())),
        Measurement(PICK, "topic_balance", entropy / np.log(n_topics) if n_topics > 1 else 1.0),
        Measurement(PICK, "topic_effective_share", effective_sample_size(shares) / n_topics),
    )

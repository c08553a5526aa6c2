"""Settling a market: contracts are chosen, an oracle speaks on them, and they are paid.

Scores are standardised within the topics of the whole pool, as the market's orders are, before a
sample of the documents is settled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from databourse.errors import InputError
from databourse.market.lmsr import FloatArray
from databourse.market.standardisation import IntArray, standardise_within_topics
from databourse.settlement.contracts import SettledContracts, settled_contracts
from databourse.settlement.payoffs import BY_RANK, PayoffForm, Ranked
from databourse.settlement.sampling import (
    Allocation,
    SettledSample,
    UtilitiesOf,
    given_sample,
    settle_sample,
)

LEAST_CONTRACTS = 10
"""Fewer say nothing: the fee of luck is then above what most signals could earn."""


@dataclass(frozen=True, kw_only=True)
class SettlementRules:
    """Which contracts are settled, and what they pay.

    Attributes:
        n_contracts: how many, all documents where there are fewer; >= 10.
        allocation: how topics are sampled.
        batch: documents settled before the bandit looks again, >= 1.
        alpha: how much the bandit doubts what it knows little of, >= 0.
        ranked: among which contracts a utility is ranked.
        form: what a rank pays.
    """

    n_contracts: int = 3_000
    allocation: Allocation = "stratified"
    batch: int = 50
    alpha: float = 2.0
    ranked: Ranked = "topic"
    form: PayoffForm = BY_RANK

    def __post_init__(self) -> None:
        if self.n_contracts < LEAST_CONTRACTS:
            raise InputError(
                f"at least {LEAST_CONTRACTS} contracts must be settled, got {self.n_contracts}"
            )


DEFAULT_RULES = SettlementRules()


@dataclass(frozen=True, eq=False)
class PaidContracts:
    """A settled sample of a pool, and the same as contracts that have paid out.

    `scores` z of the sample, shape (n, n_traders), in its order; `contracts` lists the sample topic
    by topic, and `contracts.origin` points into it.
    """

    sample: SettledSample
    scores: FloatArray
    contracts: SettledContracts

    def payoffs(self) -> FloatArray:
        """Return what each contract paid, shape (n,), in the order of the sample."""
        result = np.empty_like(self.contracts.payoff)
        result[self.contracts.origin] = self.contracts.payoff
        return result


def pay_contracts(
    values: FloatArray,
    *,
    topic_index: IntArray,
    utilities_of: UtilitiesOf | FloatArray,
    rng: np.random.Generator,
    rules: SettlementRules = DEFAULT_RULES,
) -> PaidContracts:
    """Return contracts of a pool that an oracle has settled.

    Args:
        values: of the signals, shape (n_documents, n_traders), larger is more useful, finite.
        topic_index: shape (n_documents,), topics 0 .. n_topics - 1, each with a document.
        utilities_of: the oracle, asked about each chosen document once; or utilities that are known
            already, shape (n_documents,), NaN where they are not: the sample is of those.
        rng: the choice is drawn from it.
        rules: of choosing and paying.

    Raises:
        InputError: an argument is outside its domain, or fewer than 10 documents could be judged.
    """
    scores = standardise_within_topics(values, topic_index).scores
    n_contracts = min(rules.n_contracts, topic_index.size)
    if isinstance(utilities_of, np.ndarray):
        sample = given_sample(topic_index, utilities_of, n_contracts=n_contracts, rng=rng)
    else:
        sample = settle_sample(
            topic_index,
            utilities_of,
            n_contracts=n_contracts,
            allocation=rules.allocation,
            rng=rng,
            batch=rules.batch,
            alpha=rules.alpha,
        )
    if sample.positions.size < LEAST_CONTRACTS:
        raise InputError(
            f"the oracle judged {sample.positions.size} of {topic_index.size} documents, and a "
            f"settlement needs at least {LEAST_CONTRACTS}"
        )
    contracts = settled_contracts(
        scores[sample.positions],
        sample.utilities,
        topic_index=topic_index[sample.positions],
        weights=sample.weights,
        ranked=rules.ranked,
        form=rules.form,
    )
    return PaidContracts(sample, scores[sample.positions], contracts)

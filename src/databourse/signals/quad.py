"""Quad: what is expected of a document by its cluster, from influence measured on a few of them.

A bandit draws documents cluster by cluster as if it had a budget to spend, and their influence on
the targets is measured, no other's (`databourse.influence.quad`). The value of a document is the
mean influence of its cluster, drawn towards that of all clusters the less is known of it
(`quad_signal`), and half way to its own where that was measured.

Source: Quad (Zhang et al. 2025, arXiv 2409.16986), a sampler; that expectations trade as a signal
is our choice, with the shrinkage and the half. Clusters are the pool's topics unless a number is
given. Cost: `most_evaluated` of the pool through a forward and a backward pass, and the curvature
of the attention layers over a sample. Caveat: it tells good clusters, not good documents: within a
cluster all but the measured ones have the same value, so a market that compares documents within
the same topics hears only those; give `clusters` a number of its own. Needs targets.
"""

from __future__ import annotations

from pydantic import Field

from databourse.seeds import stage_rng, stage_seed
from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.specification import Need, SignalParameters, SignalSpec

_OWN_WEIGHT = 0.5


class QuadParameters(SignalParameters):
    """How documents are drawn."""

    clusters: int | None = Field(
        default=None, ge=2, description="Clusters of embeddings; null: the topics of the pool."
    )
    budget_share: float = Field(
        default=0.25, gt=0, le=1, description="Of the pool's tokens, that the bandit may spend."
    )
    most_evaluated: float = Field(
        default=0.1, gt=0, le=1, description="Share of documents whose influence is measured."
    )
    arms_per_round: int = Field(default=5, ge=1, description="Clusters drawn from in a round.")
    probe_documents: int = Field(default=8, ge=1, description="Most measured of a cluster a time.")
    block_documents: int = Field(default=64, ge=1, description="Most that a probe speaks for.")
    alpha: float = Field(
        default=0.3,
        ge=0,
        le=1e6,
        description="Weight of what is little known, in standard deviations of cluster means.",
    )
    tau_quantile: float = Field(
        default=0.5, ge=0, le=1, description="Of first rewards: what a cluster must beat."
    )


def clusters_needed(parameters: QuadParameters) -> frozenset[Need]:
    """Return what clusters are made of."""
    return frozenset({"topics" if parameters.clusters is None else "embeddings"})


def quad(parameters: QuadParameters, inputs: SignalInputs) -> SignalResult:
    """Return the expected influence of each document per token.

    Raises:
        InputError: a measured influence is not finite, or parameters contradict each other.
    """
    from databourse.coverage.clusters import cluster_numbers
    from databourse.influence.quad import QuadSettings, quad_select, quad_signal

    tokens = required(inputs.tokens, "tokens")
    if parameters.clusters is None:
        clusters = required(inputs.topics, "topics").index
    else:
        vectors = required(inputs.embeddings, "embeddings")
        seed = stage_seed(inputs.seed, "signal quad", "clusters") % (1 << 31)
        clusters = cluster_numbers(vectors, parameters.clusters, seed=seed)
    result = quad_select(
        clusters,
        tokens,
        required(inputs.influence_of, "influence_of"),
        budget=int(parameters.budget_share * int(tokens.sum())),
        settings=QuadSettings(
            arms_per_round=parameters.arms_per_round,
            probe_documents=parameters.probe_documents,
            block_documents=max(parameters.block_documents, parameters.probe_documents),
            alpha=parameters.alpha,
            tau_quantile=parameters.tau_quantile,
            most_evaluated=parameters.most_evaluated,
        ),
        rng=stage_rng(inputs.seed, "signal quad"),
    )
    inputs.progress(inputs.n_documents)
    kept = ("evaluated_documents", "evaluated_share", "rounds", "stop_reason", "coverage")
    summary = result.summary()
    return SignalResult(
        values=quad_signal(result, own_weight=_OWN_WEIGHT),
        details={name: summary[name] for name in kept},
        model_calls=int(result.evaluated.size),
    )


SIGNAL = SignalSpec(
    name="quad",
    scope="pool",
    needs=frozenset({"tokens", "targets", "influence_of"}),
    parameters=QuadParameters,
    compute=quad,
    revision=1,
    summary="influence on targets that is expected of its cluster, measured on what a bandit draws",
    orientation="large: documents like it take more off target loss per token",
    cost="a forward and a backward pass over most_evaluated of the pool, and over a sample twice",
    more_needs=clusters_needed,
)

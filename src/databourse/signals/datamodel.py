"""Datamodel: what including a document took off the loss of retrained models, by regression.

A proxy is retrained on random subsets of the pool, and its mean loss on each target is regressed
on which documents a subset held; the value is minus the coefficient
(`databourse.influence.datamodels`).

Source: Ilyas et al. 2022 (arXiv 2202.00622): LASSO over many thousand retrainings, penalties by
cross-validation. Ridge as the default, which gives every document a value where subsets are fewer
than documents, one regression per target on its mean loss, standardised targets and ranks are our
choice. Cost: `influence.datamodels.subsets` trainings, once, kept and resumed; for small pools
alone, larger ones are refused. Caveat: with fewer subsets than documents much of a value is chance:
look at `explained`, the share of the variance of held-out subsets, before believing it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from databourse.seeds import stage_rng
from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.specification import SignalParameters, SignalSpec


class DatamodelParameters(SignalParameters):
    """The regression, and how targets are put together."""

    method: Literal["ridge", "lasso"] = Field(
        default="ridge", description="Of the regression; lasso is the source's, and gives ties."
    )
    mix: Literal["z_scored", "plain"] = Field(
        default="z_scored", description="Mean over targets of standardised values, or of values."
    )
    per: Literal["document", "token"] = Field(
        default="document", description="Of what a value is; the market divides by length itself."
    )
    scale: Literal["ranks", "values"] = Field(
        default="ranks", description="Percentile ranks in the pool, or the values themselves."
    )


def datamodel(parameters: DatamodelParameters, inputs: SignalInputs) -> SignalResult:
    """Return the datamodel value of each document: a rank in (0, 1), or standard deviations.

    Raises:
        InputError: subsets are too few to cross-validate, or no document matters to a target.
    """
    from databourse.influence.datamodels import lasso_datamodels, ridge_datamodels
    from databourse.influence.dsdm import dsdm_values
    from databourse.selection.intervals import mean_percentile_ranks

    retrainings = required(inputs.retrainings, "retrainings")
    fit = ridge_datamodels if parameters.method == "ridge" else lasso_datamodels
    found = fit(
        retrainings.masks,
        np.stack(list(retrainings.losses.values()), axis=1),
        output="loss",
        rng=stage_rng(inputs.seed, "signal datamodel"),
    )
    by_target = {name: found.values[:, place] for place, name in enumerate(retrainings.losses)}
    values = dsdm_values(
        by_target, required(inputs.tokens, "tokens"), mix=parameters.mix, per=parameters.per
    )
    inputs.progress(inputs.n_documents)
    return SignalResult(
        values=mean_percentile_ranks([values]) if parameters.scale == "ranks" else values,
        details={
            "subsets": found.n_subsets,
            "explained": float(found.explained.mean()),
            "least_penalty_was_best": int(found.at_edge.sum()),
        },
    )


SIGNAL = SignalSpec(
    name="datamodel",
    scope="pool",
    needs=frozenset({"tokens", "targets", "retrainings"}),
    parameters=DatamodelParameters,
    compute=datamodel,
    revision=1,
    summary="what including the document took off the loss of retrained models, by regression",
    orientation="large: models that were trained with it do better on the targets",
    cost="a training of a proxy for each subset, once; a regression on n coefficients",
)

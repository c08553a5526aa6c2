"""Samplers over values of documents for targets that a refresh attributed: LESS and datamodels.

    less            the highest LESS value first
    datamodel       the highest value of a regression over retrainings first;
                    datamodel_bottom the lowest: the control

Source: LESS, Xia et al. 2024 (arXiv 2402.04333), which takes the top 5 % of the documents, here as
many as the budget pays for; datamodels, Ilyas et al. 2022 (arXiv 2202.00622), with which Engstrom
et al. 2024 (arXiv 2401.12926) select. Both are the signals of the same names, whose values the
refresh must have stored; without them the samplers are refused.
"""

from __future__ import annotations

from databourse.samplers.interface import SamplerSpec
from databourse.samplers.ranked import highest_first, lowest_first

LESS = "less"
DATAMODEL = "datamodel"

SAMPLERS = (
    SamplerSpec(
        name="less",
        measures=frozenset({LESS}),
        sampler=highest_first(LESS),
        is_random=False,
        summary="the documents whose Adam step points most along target gradients",
    ),
    SamplerSpec(
        name="datamodel",
        measures=frozenset({DATAMODEL}),
        sampler=highest_first(DATAMODEL),
        is_random=False,
        summary="the documents that took most off target loss of retrained models",
    ),
    SamplerSpec(
        name="datamodel_bottom",
        measures=frozenset({DATAMODEL}),
        sampler=lowest_first(DATAMODEL),
        is_random=False,
        summary="the documents that took least off target loss of retrained models: a control",
    ),
)

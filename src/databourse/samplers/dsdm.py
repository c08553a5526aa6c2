"""DsDm as a sampler: what lowers target loss most per token, by TRAK's estimate of datamodels.

    dsdm          the highest value first; dsdm_bottom the lowest: the control

Source: Engstrom et al. 2024 (arXiv 2401.12926); the measure `dsdm` is the mean over targets of
standardised TRAK values per token, see `databourse.influence.dsdm` for what of it is ours. Only a
retrained model tells a wrong sign, so `dsdm_bottom` must be worse than random wherever `dsdm` is
better. Caveat: values are of the first order, and near duplicates of one good example all enter.
"""

from __future__ import annotations

from databourse.samplers.interface import SamplerSpec
from databourse.samplers.ranked import highest_first, lowest_first

DSDM = "dsdm"
"""Name of the measure: what a token of a document takes off target loss, standard deviations."""

SAMPLERS = (
    SamplerSpec(
        name="dsdm",
        measures=frozenset({DSDM}),
        sampler=highest_first(DSDM),
        is_random=False,
        summary="the documents that lower target loss most per token, by TRAK",
    ),
    SamplerSpec(
        name="dsdm_bottom",
        measures=frozenset({DSDM}),
        sampler=lowest_first(DSDM),
        is_random=False,
        summary="the documents that lower target loss least: a control",
    ),
)

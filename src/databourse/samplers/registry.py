"""Every sampler there is. Cheap to import.

A new sampler is one entry in the tuple `SAMPLERS` of its module, plus one line here. The module is
imported when the sampler is asked for; it must import heavy packages inside its functions.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from databourse.errors import UnknownNameError

if TYPE_CHECKING:
    from databourse.samplers.interface import SamplerSpec

SAMPLERS: dict[str, str] = {
    "ask_llm_top": "databourse.samplers.ranked",
    "ccnet_head": "databourse.samplers.bands",
    "ccnet_middle": "databourse.samplers.bands",
    "ccnet_tail": "databourse.samplers.bands",
    "datamodel": "databourse.samplers.attributed",
    "datamodel_bottom": "databourse.samplers.attributed",
    "density_paper": "databourse.samplers.density",
    "density_sharp": "databourse.samplers.density",
    "d2_pruning": "databourse.samplers.d2_pruning",
    "d2_pruning_perplexity": "databourse.samplers.d2_pruning",
    "dsdm": "databourse.samplers.dsdm",
    "dsdm_bottom": "databourse.samplers.dsdm",
    "dsir": "databourse.samplers.importance",
    "dsir_mean": "databourse.samplers.importance",
    "dsir_top": "databourse.samplers.importance",
    "euds_generative": "databourse.samplers.within",
    "euds_igse": "databourse.samplers.within",
    "euds_igse_rank_mean": "databourse.samplers.within",
    "euds_information": "databourse.samplers.within",
    "euds_semantic": "databourse.samplers.within",
    "facility_location": "databourse.samplers.facility_location",
    "facility_location_exact": "databourse.samplers.facility_location",
    "facility_location_per_token": "databourse.samplers.facility_location",
    "k_center": "databourse.samplers.k_center",
    "less": "databourse.samplers.attributed",
    "longest_first": "databourse.samplers.baselines",
    "market": "databourse.samplers.market",
    "market_balanced_topics": "databourse.samplers.market",
    "market_diverse": "databourse.samplers.market",
    "market_equal_weights": "databourse.samplers.market",
    "market_one_topic": "databourse.samplers.market",
    "market_per_document": "databourse.samplers.market",
    "market_regression": "databourse.samplers.market",
    "market_sampled": "databourse.samplers.market",
    "market_settled": "databourse.samplers.market",
    "perplexity_high": "databourse.samplers.ranked",
    "perplexity_low": "databourse.samplers.ranked",
    "perplexity_middle": "databourse.samplers.bands",
    "quad": "databourse.samplers.quad",
    "quad_kmeans": "databourse.samplers.quad",
    "quality_classifier": "databourse.samplers.importance",
    "quality_classifier_embeddings": "databourse.samplers.importance",
    "random": "databourse.samplers.baselines",
    "semdedup": "databourse.samplers.semdedup",
    "semdedup_kmeans": "databourse.samplers.semdedup",
    "shortest_first": "databourse.samplers.baselines",
    "ssl_prototypes": "databourse.samplers.prototypes",
    "ssl_prototypes_kmeans": "databourse.samplers.prototypes",
    "ssl_prototypes_nearest": "databourse.samplers.prototypes",
    "stratified_random": "databourse.samplers.baselines",
}
"""Name of each sampler and the module that defines it."""

FORMS = (
    "MEASURE:bottom",
    "MEASURE:middle",
    "MEASURE:top",
    "z_score_sum:MEASURE,-MEASURE,...",
    "z_score_sum_per_token:MEASURE,-MEASURE,...",
)
"""Names with a colon, of samplers by any measures: see `databourse.samplers.baselines`."""

_BY_MEASURES = "databourse.samplers.baselines"


def sampler_names() -> tuple[str, ...]:
    """Return the names of all samplers that have a fixed one, sorted; see also `FORMS`."""
    return tuple(sorted(SAMPLERS))


def sampler_spec(name: str) -> SamplerSpec:
    """Return what a sampler declares about itself, and the function that it is.

    Args:
        name: one of `sampler_names()`, or of one of the `FORMS`, such as `rarity:top` or
            `z_score_sum:rarity,-2*mean_token_loss`.

    Raises:
        ConfigError: a name with a colon cannot be read.
        UnknownNameError: there is no sampler of that name.
    """
    if ":" in name:
        made: SamplerSpec = importlib.import_module(_BY_MEASURES).sampler_of_measures(name)
        return made
    if name not in SAMPLERS:
        raise UnknownNameError("sampler", name, (*sampler_names(), *FORMS))
    specs: tuple[SamplerSpec, ...] = importlib.import_module(SAMPLERS[name]).SAMPLERS
    return next(spec for spec in specs if spec.name == name)

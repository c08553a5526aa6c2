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
    "euds_generative": "databourse.samplers.within",
    "euds_igse": "databourse.samplers.within",
    "euds_igse_rank_mean": "databourse.samplers.within",
    "euds_information": "databourse.samplers.within",
    "euds_semantic": "databourse.samplers.within",
    "perplexity_high": "databourse.samplers.ranked",
    "perplexity_low": "databourse.samplers.ranked",
    "perplexity_middle": "databourse.samplers.bands",
}
"""Name of each sampler and the module that defines it."""


def sampler_names() -> tuple[str, ...]:
    """Return the names of all samplers, sorted."""
    return tuple(sorted(SAMPLERS))


def sampler_spec(name: str) -> SamplerSpec:
    """Return what a sampler declares about itself, and the function that it is.

    Raises:
        UnknownNameError: there is no sampler of that name.
    """
    if name not in SAMPLERS:
        raise UnknownNameError("sampler", name, sampler_names())
    specs: tuple[SamplerSpec, ...] = importlib.import_module(SAMPLERS[name]).SAMPLERS
    return next(spec for spec in specs if spec.name == name)

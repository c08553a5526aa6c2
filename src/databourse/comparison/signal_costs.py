"""What the signals that a sampler reads cost to compute, beside the seconds of choosing.

A sampler declares measures and inputs; each stands for signals of the refresh, whose costs are
stored. A measure with the name of a signal is that signal. Another plain measure, and influence on
demand, is read off what a model said about documents: it costs what the cheapest signal that needs
the same does. All traders together are every signal. Embeddings, topics, neighbours, texts, labels
and targets are made by stages of the refresh, not by signals, and count nothing.

Where several signals read one model, its cost was split evenly between them (`model_costs`), so
that all together cost what was spent, and one alone looks cheaper than it would be alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from databourse.samplers.dsdm import DSDM
from databourse.samplers.interface import SamplerSpec
from databourse.samplers.ranked import MEAN_TOKEN_LOSS, P_YES
from databourse.samplers.within import GENERATIVE, SEMANTIC
from databourse.signals.specification import Need

NEED_OF_MEASURE: dict[str, Need] = {
    MEAN_TOKEN_LOSS: "text_losses",
    GENERATIVE: "text_losses",
    SEMANTIC: "generations",
    P_YES: "answers",
    DSDM: "gradients",
}
"""What a plain measure is made of."""


@dataclass(frozen=True)
class StoredSignal:
    """A signal of the refresh.

    Attributes:
        needs: what must be there before it is computed.
        seconds: of computing it and of its share of models.
        cpu_seconds: likewise.
    """

    needs: frozenset[Need]
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class SignalCost:
    """What a sampler reads.

    Attributes:
        signals: names, sorted.
        seconds: of all of them.
        cpu_seconds: likewise.
    """

    signals: tuple[str, ...]
    seconds: float
    cpu_seconds: float


NOTHING = SignalCost((), 0.0, 0.0)
"""What `random` and everything cost."""


def signal_cost(spec: SamplerSpec, stored: Mapping[str, StoredSignal]) -> SignalCost:
    """Return the signals that a sampler reads, each once, and what they took.

    Args:
        spec: of the sampler.
        stored: the signals of the refresh by name.
    """
    read: set[str] = set()
    for measure in spec.measures:
        if measure in stored:
            read.add(measure)
        elif measure in NEED_OF_MEASURE:
            read |= _cheapest(NEED_OF_MEASURE[measure], stored)
    if "influence_of" in spec.inputs:
        read |= _cheapest("influence_of", stored)
    if "signals" in spec.inputs:
        read |= set(stored)
    names = tuple(sorted(read))
    return SignalCost(
        names,
        sum(stored[name].seconds for name in names),
        sum(stored[name].cpu_seconds for name in names),
    )


def _cheapest(need: Need, stored: Mapping[str, StoredSignal]) -> set[str]:
    readers = sorted(
        (name for name, each in stored.items() if need in each.needs),
        key=lambda name: (stored[name].cpu_seconds, name),
    )
    return set(readers[:1])

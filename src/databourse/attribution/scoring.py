"""The LDS of attributions on one bank, beside the noise ceiling and a baseline.

Notation: M subsets, k seeds each, y_s = the mean output of the seeds on subset s, r = Spearman
correlation over subsets of two seeds' outputs.

    noise ceiling  r: as well as one retraining foretells another
    attainable     sqrt(k r / (1 + (k - 1) r)): about what a scorer would reach that knew the
                   expected output of every subset, against the mean of k seeds

The first is what the literature reports. The second is the Spearman-Brown formula, which holds for
linear correlations and equal noise; that it is used for ranks is RECONSTRUCTION of ours. Intervals
come from a bootstrap over targets and subsets at once; all scorers see the same resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from databourse.attribution.bank import Bank
from databourse.errors import InputError
from databourse.influence.lds import (
    DEFAULT_LEVEL,
    DEFAULT_RESAMPLES,
    BoolArray,
    FloatArray,
    LdsDifference,
    LdsResult,
    lds_difference,
    linear_datamodeling_score,
    seed_agreement,
    spearman_by_target,
    subset_predictions,
)

Kind = Literal["attribution", "baseline", "control"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribution:
    """A way of valuing documents for examples.

    Attributes:
        name: unique, such as "trak".
        kind: a control is known to say nothing of the examples.
        says: what a value is, in a few words.
        variants: values by setting, larger is better, shape (n, m), or (n,) where they are the same
            for every example; one variant where there is nothing to choose.
    """

    name: str
    kind: Kind
    says: str
    variants: Mapping[str, FloatArray]


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredAttribution:
    """What an attribution reached on the examples that nothing was chosen on.

    Attributes:
        name, kind, says: of the attribution.
        setting: the variant that was best on the tuning half.
        tuning: LDS of every variant on that half; empty where there was nothing to choose.
        lds: on the other half.
        by_set: mean over the examples of each set.
        over_baseline: how far it is above the baseline; None for the baseline itself, or if there
            is none.
    """

    name: str
    kind: Kind
    says: str
    setting: str
    tuning: Mapping[str, float]
    lds: LdsResult
    by_set: Mapping[str, float]
    over_baseline: LdsDifference | None

    @property
    def is_at_edge(self) -> bool:
        """Tell whether the best setting is the first or last tried: one beyond may be better."""
        return bool(self.tuning) and self.setting in (next(iter(self.tuning)), [*self.tuning][-1])


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """How well the outputs can be foretold at all.

    Attributes:
        agreement: r, on the examples that are reported.
        low, high: of its interval.
        n_seeds: k >= 2.
    """

    agreement: float
    low: float
    high: float
    n_seeds: int

    @property
    def attainable(self) -> float:
        """Return about what knowing the expected output would reach; 0 where seeds disagree."""
        return attainable_score(self.agreement, n_seeds=self.n_seeds)


def attainable_score(agreement: float, *, n_seeds: int) -> float:
    """Return sqrt(k r / (1 + (k - 1) r)), 0 for r <= 0.

    Args:
        agreement: r, at most 1.
        n_seeds: k >= 1.
    """
    if agreement <= 0:
        return 0.0
    return math.sqrt(n_seeds * agreement / (1 + (n_seeds - 1) * agreement))


def scored_attributions(
    attributions: Sequence[Attribution],
    bank: Bank,
    *,
    rng: np.random.Generator,
    baseline: str | None = None,
    n_resamples: int = DEFAULT_RESAMPLES,
    level: float = DEFAULT_LEVEL,
) -> tuple[ScoredAttribution, ...]:
    """Return the LDS of each attribution on the reported half, in order, with intervals.

    Args:
        attributions: of distinct names.
        bank: of the same documents and examples.
        rng: of the bootstrap.
        baseline: name of the attribution that the others are compared with; None for no comparison.
        n_resamples: >= 1.
        level: of the intervals, in (0, 1).

    Raises:
        InputError: names repeat, the baseline is not among them, there is nothing to choose from,
            or values do not go with the bank.
    """
    names = [each.name for each in attributions]
    if len(set(names)) != len(names) or (baseline is not None and baseline not in names):
        raise InputError(
            f"attributions must have distinct names and the baseline {baseline!r} be one of them, "
            f"got {', '.join(names)}"
        )
    chosen = [_chosen(each, bank) for each in attributions]
    seed = int(rng.integers(2**63))
    reported = ~bank.is_tuning
    outputs = bank.outputs[:, :, reported]
    of_baseline = None if baseline is None else _of(chosen[names.index(baseline)][1], reported)
    results = []
    for attribution, (setting, values, tuning) in zip(attributions, chosen, strict=True):
        own = _of(values, reported)
        lds = linear_datamodeling_score(
            own,
            bank.masks,
            outputs,
            output=bank.output,
            rng=np.random.default_rng(seed),
            n_resamples=n_resamples,
            level=level,
        )
        results.append(
            ScoredAttribution(
                name=attribution.name,
                kind=attribution.kind,
                says=attribution.says,
                setting=setting,
                tuning=tuning,
                lds=lds,
                by_set=_by_set(lds.by_target, bank),
                over_baseline=(
                    None
                    if of_baseline is None or attribution.name == baseline
                    else lds_difference(
                        own,
                        of_baseline,
                        bank.masks,
                        outputs,
                        output=bank.output,
                        rng=np.random.default_rng(seed),
                        n_resamples=n_resamples,
                        level=level,
                    )
                ),
            )
        )
    return tuple(results)


def noise_ceiling(
    bank: Bank,
    *,
    rng: np.random.Generator,
    n_resamples: int = DEFAULT_RESAMPLES,
    level: float = DEFAULT_LEVEL,
) -> Ceiling | None:
    """Return how well two seeds agree on the reported half; None with one seed.

    Args:
        bank: the bank.
        rng: of the bootstrap over subsets and examples.
        n_resamples: >= 1.
        level: of the interval, in (0, 1).
    """
    outputs = bank.outputs[:, :, ~bank.is_tuning]
    n_seeds, n_subsets, n_examples = outputs.shape
    if n_seeds < 2:
        return None
    drawn = np.empty(n_resamples)
    for number in range(n_resamples):
        rows = rng.integers(n_subsets, size=n_subsets)
        columns = rng.integers(n_examples, size=n_examples)
        drawn[number] = seed_agreement(outputs[:, rows][:, :, columns]).mean()
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Ceiling(
        agreement=float(seed_agreement(outputs).mean()),
        low=float(low),
        high=float(high),
        n_seeds=n_seeds,
    )


def _chosen(attribution: Attribution, bank: Bank) -> tuple[str, FloatArray, dict[str, float]]:
    """Return the best setting on the tuning half, its values, and what every setting reached."""
    if not attribution.variants:
        raise InputError(f"attribution {attribution.name!r} has no values")
    if len(attribution.variants) == 1:
        setting, values = next(iter(attribution.variants.items()))
        return setting, values, {}
    outputs = bank.outputs[:, :, bank.is_tuning].mean(axis=0)
    tuning = {}
    for setting, values in attribution.variants.items():
        predictions = subset_predictions(
            _of(values, bank.is_tuning),
            bank.masks,
            output=bank.output,
            n_targets=outputs.shape[1],
        )
        tuning[setting] = float(spearman_by_target(predictions, outputs).mean())
    best = max(tuning, key=lambda each: tuning[each])  # of equals the first
    return best, attribution.variants[best], tuning


def _of(values: FloatArray, examples: BoolArray) -> FloatArray:
    """Return the values for some examples."""
    return values if values.ndim == 1 else values[:, examples]


def _by_set(by_target: FloatArray, bank: Bank) -> dict[str, float]:
    names = bank.set_names[~bank.is_tuning]
    return {
        str(name): float(by_target[names == name].mean()) for name in dict.fromkeys(names.tolist())
    }

"""What a check of attributions found, in numbers and words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from databourse.attribution.scoring import Ceiling, ScoredAttribution
from databourse.reports.wording import counted, listed, signed

ProxyKind = Literal["linear", "causal_lm"]


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributionResults:
    """The scores and the protocol that they depend on.

    Attributes:
        pool: name.
        bank_id: of the retrainings.
        run_id: of the refresh whose documents were valued.
        proxy: what was retrained.
        proxy_id: what decides its outputs.
        proxy_says: the proxy in words.
        output_says: what was foretold.
        examples: of each set, in all: half of them were tuned on.
        scored: attributions, in the order of the report.
        ceiling: None where one training per subset leaves nothing to compare.
        is_drawn: training draws something; without, the ceiling is 1.
        left_out: attributions that could not be had, and why.
        baseline: name of the attribution that others are compared with.
    """

    pool: str
    bank_id: str
    run_id: str
    proxy: ProxyKind
    proxy_id: str
    proxy_says: str
    output_says: str
    examples: Mapping[str, int]
    scored: tuple[ScoredAttribution, ...]
    ceiling: Ceiling | None
    is_drawn: bool
    baseline: str
    left_out: Mapping[str, str] = field(default_factory=dict)


COLUMNS = ("attribution", "LDS", "95 % interval", "over tf-idf", "95 % interval", "setting", "kind")


def in_order(results: AttributionResults) -> list[ScoredAttribution]:
    """Return the attributions, the best first; of equals by name."""
    return sorted(results.scored, key=lambda each: (-each.lds.score, each.name))


def cells(results: AttributionResults) -> list[tuple[str, ...]]:
    """Return the table under `COLUMNS`, the best attribution first."""
    rows: list[tuple[str, ...]] = []
    for each in in_order(results):
        more = each.over_baseline
        rows.append(
            (
                each.name,
                f"{each.lds.score:.3f}",
                _interval(each.lds.low, each.lds.high),
                "" if more is None else f"{more.difference:+.3f}",
                "" if more is None else _interval(more.low, more.high),
                f"{each.setting} (edge)" if each.is_at_edge else each.setting,
                each.kind,
            )
        )
    return rows


def headline(results: AttributionResults) -> str:
    """Return what the best attribution reaches, and beside what."""
    best = in_order(results)[0]
    lds = best.lds
    text = (
        f"{best.name} foretells models retrained on {counted(lds.n_subsets, 'random subset')} with "
        f"an LDS of {lds.score:.3f} ({lds.low:.3f} to {lds.high:.3f})"
    )
    more = best.over_baseline
    if more is None:
        return f"{text}; nothing is above the baseline."
    verdict = "above" if more.low > 0 else "not surely above"
    return (
        f"{text}, {verdict} {results.baseline} by {signed(more.difference, 3)} ({more.low:.3f} "
        f"to {more.high:.3f}, paired)."
    )


def ceiling_sentence(results: AttributionResults) -> str:
    """Return how well the outputs can be foretold at all."""
    ceiling = results.ceiling
    if ceiling is not None:
        return (
            f"Noise ceiling: two seeds of the same subset agree to {ceiling.agreement:.2f} "
            f"({ceiling.low:.2f} to {ceiling.high:.2f}); a scorer that knew the expected output "
            f"would reach about {ceiling.attainable:.2f} against the mean of {ceiling.n_seeds}."
        )
    if not results.is_drawn:
        return "Noise ceiling: 1, as training draws nothing and every retraining is exact."
    return "Noise ceiling: unknown with one seed per subset; ask for two."


def protocol_sentence(results: AttributionResults) -> str:
    """Return what the scores depend on: those of other protocols do not compare."""
    lds = results.scored[0].lds
    sets = listed([f"{counted(n, 'example')} of {name}" for name, n in results.examples.items()])
    seeds = "" if lds.n_seeds == 1 else f" with {lds.n_seeds} seeds each, averaged"
    return (
        f"{results.proxy_says}, trained on {counted(lds.n_subsets, 'random subset')} of "
        f"{lds.subset_share:.0%} of {counted(lds.n_documents, 'document')}{seeds}. "
        f"{results.output_says}. {sets}, half of them to choose settings on, half reported. Scores "
        "of other protocols do not compare."
    )


def random_sentence(results: AttributionResults) -> str:
    """Return how far from 0 chance may take a score."""
    lds = results.scored[0].lds
    return (
        f"Of random values the score at one example has a standard deviation of "
        f"{lds.random_sd_by_target:.3f}; of the mean over {counted(lds.n_targets, 'example')} it "
        f"is at least {lds.random_sd:.3f}, and more, as examples share the subsets."
    )


def record(results: AttributionResults) -> dict[str, Any]:
    """Return the results as JSON types; keys are stable."""
    lds = results.scored[0].lds
    ceiling = results.ceiling
    return {
        "pool": results.pool,
        "bank_id": results.bank_id,
        "run_id": results.run_id,
        "orientation": "larger_is_better",
        "proxy": results.proxy,
        "proxy_id": results.proxy_id,
        "output": lds.output,
        "documents": lds.n_documents,
        "subsets": lds.n_subsets,
        "subset_share": lds.subset_share,
        "seeds": lds.n_seeds,
        "examples": dict(results.examples),
        "examples_reported": lds.n_targets,
        "interval_level": lds.level,
        "resamples": lds.n_resamples,
        "random_sd_by_example": lds.random_sd_by_target,
        "random_sd_of_mean_at_least": lds.random_sd,
        "ceiling": None
        if ceiling is None
        else {
            "seed_agreement": ceiling.agreement,
            "low": ceiling.low,
            "high": ceiling.high,
            "attainable": ceiling.attainable,
        },
        "training_draws": results.is_drawn,
        "baseline": results.baseline,
        "attributions": [_record_of(each) for each in in_order(results)],
        "left_out": dict(results.left_out),
    }


def _record_of(each: ScoredAttribution) -> dict[str, Any]:
    more = each.over_baseline
    return {
        "name": each.name,
        "kind": each.kind,
        "says": each.says,
        "lds": each.lds.score,
        "low": each.lds.low,
        "high": each.lds.high,
        "by_set": dict(each.by_set),
        "setting": each.setting,
        "tuning": dict(each.tuning),
        "setting_at_edge": each.is_at_edge,
        "constant_predictions": each.lds.n_constant_predictions,
        "over_baseline": None
        if more is None
        else {"difference": more.difference, "low": more.low, "high": more.high},
    }


def _interval(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"

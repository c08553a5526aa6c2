"""EUDS as a trader: how far the entropies of a document are from the interval that EUDS keeps.

Notation: E_e(x) = entropy e of document x, [a_e, b_e] its interval, u_e(x) = its percentile rank in
the pool, in (0, 1), M(x) = the mean of u_e(x) over e, [a, b] the interval of M. The distance in the
pool's percentile ranks, 0 inside:

    intersection:  D(x) = max over e of max(u_e(a_e) - u_e(x), u_e(x) - u_e(b_e), 0)
    rank_mean:     D(x) = max(a - M(x), M(x) - b, 0)

with u_e(a_e) the rank of the documents at the end. The value is -D(x): 0 exactly where EUDS keeps
the document. **The paper filters and does not rank**: that nearer is better among the rest is our
choice, so that any budget can be bought; those inside are equals, told apart by the other traders.

Entropies, each with the default parameters of its own signal where it has one: information (of the
document's own words, as a share of the most it could be; `information_entropy`), generative (mean
over tokens of the entropy of a language model before it, nats), semantic (over the meanings of
sampled generations, nats; `semantic_entropy`). A document without a token has no generative
entropy: it has no part in the ranks, is not kept, and gets the mean value of the others.

Intervals. quantile: between two quantiles of the pool, needs no labels. tuned: `bins` bins of equal
width over the labelled documents outside the development split (one fold by document_id); a
softmax-regression probe on embeddings is trained on an equal-size sample of each bin and judged by
its accuracy on the development split, and `selection.intervals.tuned_interval` takes the best run
of bins. Bins with fewer than `smallest_bin` documents are skipped. **Tuning uses labels: it is not
unsupervised**, and accuracy on documents of the pool chooses the interval, so no test split of
yours may be in the pool.

Source: EUDS, Li, Liu & Huang 2025 (IEEE Access 13:153713, arXiv 2602.17465), known to us at second
hand: three entropies, an interval of each, all three together called IGSE. Formulas, intervals, how
they are found and how IGSE combines them are a reconstruction and our choice, as are two entropies
by default, since sampling is dear. Cost: that of the entropies; three sorts of the pool; tuned
fits up to `bins` small regressions per interval. Caveat: that the middle is best is an assumption;
with two intervals of 40 % about 16 % of the pool is kept; entropies that many documents share miss
their quantiles; entropy goes with length and with class, see the kept share of the worst label in
the details; the samples of tuned are small and its choice noisy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from databourse.errors import ConfigError, InputError, MissingExtraError
from databourse.neighbours.threads import single_threaded_blas
from databourse.seeds import stage_rng
from databourse.selection.intervals import (
    HIGH_SHARE,
    LOW_SHARE,
    TunedInterval,
    check_kept,
    keep_within_all,
    least_to_keep,
    mean_percentile_ranks,
    quantile_interval,
    tuned_interval,
    vanished_labels,
)
from databourse.signals.folds import document_folds
from databourse.signals.information_entropy import (
    InformationEntropyParameters,
    information_entropy,
)
from databourse.signals.inputs import JsonScalar, SignalInputs, SignalResult, required
from databourse.signals.labels import NO_LABEL, label_codes
from databourse.signals.probe import probe_fingerprint
from databourse.signals.semantic_entropy import SemanticEntropyParameters, semantic_entropies
from databourse.signals.specification import Need, SignalParameters, SignalSpec
from databourse.signals.unjudged import with_mean_for_unjudged

EntropyName = Literal["information", "generative", "semantic"]

_NEEDS: dict[EntropyName, Need] = {
    "information": "texts",
    "generative": "text_losses",
    "semantic": "generations",
}
_IN_NATS = frozenset({"generative", "semantic"})
_DECIMALS = 12  # a thousand times the rounding of an entropy, and less than anybody can mean
_DEVELOPMENT_FOLD = 0
_MAX_ITERATIONS = 1000


class EudsParameters(SignalParameters):
    """The entropies, how they are combined, and how their intervals are found."""

    entropies: tuple[EntropyName, ...] = Field(
        default=("information", "generative"),
        min_length=1,
        strict=False,  # a config gives a list
        description="Which are used; the paper's IGSE is all three, and semantic needs sampling.",
    )
    combine: Literal["intersection", "rank_mean"] = Field(
        default="intersection",
        description="Within the interval of each entropy, or their mean percentile rank in one.",
    )
    interval: Literal["quantile", "tuned"] = Field(
        default="quantile",
        description="Between two quantiles, or the run of bins that a probe on labels likes best.",
    )
    low: float = Field(default=LOW_SHARE, ge=0, le=1, description="Lower quantile of 'quantile'.")
    high: float = Field(default=HIGH_SHARE, ge=0, le=1, description="Upper quantile of 'quantile'.")
    bins: int = Field(default=10, ge=2, le=1000, description="Of equal width, of 'tuned'.")
    smallest_bin: int = Field(
        default=100,
        ge=10,
        le=1_000_000,
        description="Documents drawn from each bin of 'tuned'; bins with fewer are skipped.",
    )
    folds: int = Field(
        default=5, ge=2, le=20, description="One of so many is the development split of 'tuned'."
    )
    inverse_penalty: float = Field(
        default=1.0, gt=0, le=1e6, description="C of the probe of 'tuned'."
    )

    @model_validator(mode="after")
    def _fit_together(self) -> EudsParameters:
        if self.low > self.high:
            raise ConfigError(
                f"signal 'euds': low must be at most high, got {self.low!r} and {self.high!r}"
            )
        if len(set(self.entropies)) != len(self.entropies):
            raise ConfigError(
                "signal 'euds': entropies must differ, one is there twice in "
                f"{list(self.entropies)}"
            )
        return self


def euds(parameters: EudsParameters, inputs: SignalInputs) -> SignalResult:
    """Return minus the distance of each document from the interval, in (-1, 0]; 0 is kept.

    Raises:
        InputError: too few documents lie within, or none has every entropy, or no bin is large
            enough.
        ConfigError: `interval: tuned` and the labels do not suffice.
        MissingExtraError: `interval: tuned` and scikit-learn is not installed.
    """
    model = fingerprint(parameters, inputs)
    least = least_to_keep(inputs.n_documents)
    if inputs.n_documents < least:
        raise InputError(
            f"intervals must keep at least {least:,} documents, the pool has "
            f"{inputs.n_documents:,}; remove the signal or take a larger pool"
        )
    judged, columns = _judged_columns(parameters, inputs)
    ranks = {name: mean_percentile_ranks([column]) for name, column in columns.items()}
    if parameters.combine == "rank_mean":
        columns = ranks = {"mean_rank": mean_percentile_ranks(list(columns.values()))}
    details: dict[str, JsonScalar] = {
        "model": model,
        "uses_labels": parameters.interval == "tuned",
        "unjudged_documents": inputs.n_documents - int(judged.size),
    }
    if parameters.interval == "tuned":
        tuned = _tuned_intervals(columns, judged, parameters, inputs)
        intervals = {name: each.interval for name, each in tuned.items()}
        for name, each in tuned.items():
            details[f"{name}_bins_tried"] = sum(score is not None for score in each.scores)
    else:
        intervals = {
            name: quantile_interval(column, low_share=parameters.low, high_share=parameters.high)
            for name, column in columns.items()
        }
    for name, interval in intervals.items():
        unit = "_nats" if name in _IN_NATS else ""
        details[f"{name}_low{unit}"], details[f"{name}_high{unit}"] = interval.low, interval.high
    kept = np.zeros(inputs.n_documents, dtype=np.bool_)
    kept[judged] = keep_within_all(list(columns.values()), list(intervals.values()))
    check_kept(kept, min_keep=least)
    distances = [
        distances_from(
            ranks[name],
            first=float(ranks[name][columns[name] >= interval.low].min()),
            last=float(ranks[name][columns[name] <= interval.high].max()),
        )
        for name, interval in intervals.items()
    ]
    values = np.full(inputs.n_documents, np.nan)
    values[judged] = 0.0 - np.max(distances, axis=0)
    return SignalResult(
        values=with_mean_for_unjudged(values),
        details={
            **details,
            "kept_documents": int(kept.sum()),
            "kept_share": float(kept.mean()),
            **_kept_of_labels(kept, required(inputs.labels, "labels")),
        },
    )


def distances_from(ranks: NDArray[np.float64], *, first: float, last: float) -> NDArray[np.float64]:
    """Return how far each rank lies outside [first, last], shape (n,), >= 0 and 0 exactly inside.

    Args:
        ranks: shape (n,), finite.
        first: lower end, in the unit of the ranks.
        last: upper end, >= first.
    """
    return np.maximum(np.maximum(first - ranks, ranks - last), 0.0)


def held_out_accuracy(
    vectors: NDArray[np.float32],
    codes: NDArray[np.int64],
    *,
    training: NDArray[np.int64],
    development: NDArray[np.int64],
    inverse_penalty: float,
) -> float:
    """Return the share of the development documents whose class a probe predicts, in [0, 1].

    Trained on a single class, the probe predicts that class.

    Args:
        vectors: shape (n, d).
        codes: class of each document, shape (n,).
        training: positions of the documents that train, at least one.
        development: positions of those that are predicted, at least one.
        inverse_penalty: C of the L2-penalised softmax regression, > 0.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "pipeline", "tuning an interval") from error
    taught, asked = codes[training], codes[development]
    if (taught == taught[0]).all():
        return float((asked == taught[0]).mean())
    with single_threaded_blas():
        probe = LogisticRegression(C=inverse_penalty, max_iter=_MAX_ITERATIONS)
        # float64: the stopping test of float32 depends on rounding
        probe.fit(vectors[training].astype(np.float64), taught)
        predicted = np.asarray(probe.predict(vectors[development].astype(np.float64)))
    return float((predicted == asked).mean())


def more_needs(parameters: EudsParameters) -> frozenset[Need]:
    """Return what the chosen entropies are computed from, and the embeddings that tuning needs."""
    of_entropies: frozenset[Need] = frozenset(_NEEDS[name] for name in parameters.entropies)
    return of_entropies | {"embeddings"} if parameters.interval == "tuned" else of_entropies


def fingerprint(parameters: EudsParameters, inputs: SignalInputs) -> str:
    """Return the identity of the probe that tunes, once the labels are sure to suffice, or 'none'.

    Raises:
        ConfigError: `interval: tuned` and no label is in the development split, or there are no
            two classes outside of it.
        MissingExtraError: `interval: tuned` and scikit-learn is not installed.
    """
    if parameters.interval != "tuned":
        return "none"
    codes = label_codes(required(inputs.labels, "labels"))
    training, development = _split(codes, inputs.document_ids, parameters.folds)
    if not development.size or np.unique(codes[training]).size < 2:
        raise ConfigError(
            "signal 'euds': interval = 'tuned' needs two classes to train on and labels in the "
            f"development split; there are {np.unique(codes[training]).size} with "
            f"{training.size:,} documents, and {development.size:,} documents; set interval to "
            "'quantile' or label more documents (label: ... of a source)"
        )
    return probe_fingerprint()


def _judged_columns(
    parameters: EudsParameters, inputs: SignalInputs
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Return the positions of the documents that have every entropy, and each entropy of them."""
    columns: dict[str, NDArray[np.float64]] = {}
    for name in parameters.entropies:
        # documents can have the same entropy but for its rounding, and ranks see every difference
        columns[name] = _entropy(name, inputs).round(_DECIMALS)
    if "information" not in columns:  # which takes its time, and tells of it itself
        inputs.progress(inputs.n_documents)
    judged = np.flatnonzero(~np.isnan(np.stack(list(columns.values()))).any(axis=0))
    if not judged.size:
        raise InputError(
            f"none of {inputs.n_documents:,} documents has the entropies {', '.join(columns)}; "
            "they have no token"
        )
    return judged, {name: column[judged] for name, column in columns.items()}


def _entropy(name: EntropyName, inputs: SignalInputs) -> NDArray[np.float64]:
    if name == "information":
        return information_entropy(InformationEntropyParameters(), inputs).values
    if name == "generative":
        return required(inputs.text_losses, "text_losses").mean_entropies
    generations = required(inputs.generations, "generations")
    return semantic_entropies(generations, mass=SemanticEntropyParameters().mass)


def _split(
    codes: NDArray[np.int64], document_ids: Sequence[str], folds: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the labelled documents outside and inside the development split."""
    inside = document_folds(document_ids, folds) == _DEVELOPMENT_FOLD
    is_labelled = codes != NO_LABEL
    return np.flatnonzero(is_labelled & ~inside), np.flatnonzero(is_labelled & inside)


def _tuned_intervals(
    columns: Mapping[str, NDArray[np.float64]],
    judged: NDArray[np.int64],
    parameters: EudsParameters,
    inputs: SignalInputs,
) -> dict[str, TunedInterval]:
    """Return the interval of each column; row i of a column is the document at judged[i]."""
    ids = inputs.document_ids
    vectors = required(inputs.embeddings, "embeddings")
    codes = label_codes(required(inputs.labels, "labels"))
    in_split, held_out = (
        # in order of id, so that draws and sums do not depend on the order of the input
        np.array(sorted(each.tolist(), key=ids.__getitem__), dtype=np.int64)
        for each in _split(codes, ids, parameters.folds)
    )
    training = in_split[np.isin(in_split, judged)]
    position_of = {ids[position]: position for position in training.tolist()}
    row_of = np.zeros(inputs.n_documents, dtype=np.int64)
    row_of[judged] = np.arange(judged.size)

    def tune(name: str, column: NDArray[np.float64]) -> TunedInterval:
        rng = stage_rng(inputs.seed, "euds", name)

        def accuracy(bin_ids: Sequence[str]) -> float:
            drawn = rng.choice(len(bin_ids), size=parameters.smallest_bin, replace=False)
            return held_out_accuracy(
                vectors,
                codes,
                training=np.array([position_of[bin_ids[each]] for each in sorted(drawn.tolist())]),
                development=held_out,
                inverse_penalty=parameters.inverse_penalty,
            )

        return tuned_interval(
            column[row_of[training]],
            list(position_of),
            bins=parameters.bins,
            score=accuracy,
            smallest_bin=parameters.smallest_bin,
        )

    return {name: tune(name, column) for name, column in columns.items()}


def _kept_of_labels(kept: NDArray[np.bool_], labels: NDArray[np.object_]) -> dict[str, JsonScalar]:
    """Return how unevenly labels are kept; nothing where there are none."""
    codes = label_codes(labels)
    is_labelled = codes != NO_LABEL
    if not is_labelled.any():
        return {}
    sizes = np.bincount(codes[is_labelled])
    shares = np.bincount(codes[is_labelled & kept], minlength=sizes.size) / sizes
    worst = int(shares.argmin())
    return {
        "lowest_kept_share_of_a_label": float(shares[worst]),
        "label_with_lowest_kept_share": str(labels[codes == worst][0]),
        "labels_of_which_none_is_kept": len(vanished_labels(kept, labels)),
    }


SIGNAL = SignalSpec(
    name="euds",
    scope="pool",
    needs=frozenset({"labels"}),
    more_needs=more_needs,
    parameters=EudsParameters,
    compute=euds,
    fingerprint=fingerprint,
    revision=1,
    summary="distance of a document's entropies from the interval that EUDS keeps",
    orientation="0: EUDS keeps it; below: outside, by that share of the pool",
    cost="that of the entropies, a few sorts of the pool; tuned: up to bins regressions each",
)

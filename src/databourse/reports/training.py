"""The reference language model in print: how it learnt, fold by fold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from databourse.errors import InputError
from databourse.reports.data import ExtraSection, Table
from databourse.reports.measures import FloatArray
from databourse.reports.plots import Plot, compact, line_plot
from databourse.reports.wording import NONE, count, decimal, duration

TITLE = "Reference language model"
PLOT_NAME = "reference_model_loss"


@dataclass(frozen=True, slots=True)
class LossPoint:
    """One evaluation: tokens trained on so far, and mean losses in nats per token.

    `train_loss` is that since the point before, so None at the first; a loss that is not finite is
    None too.
    """

    tokens: int
    train_loss: float | None
    held_out_loss: float | None


@dataclass(frozen=True, slots=True)
class FoldTraining:
    """How the model of one fold was trained, on documents of all other folds.

    Attributes:
        fold: its own, 0 to folds - 1: the documents that it scores and was not trained on.
        folds: of the pool.
        documents: trained on, those held out to say when to stop not counted.
        curve: evaluations in order, the first before any training; at least one.
        evaluations: how many there would have been, the first not counted.
        patience: evaluations without a lower held-out loss that end training.
        seconds: wall time.
        cpu_seconds: of its thread.
        is_new: whether this run trained it.
    """

    fold: int
    folds: int
    documents: int
    curve: tuple[LossPoint, ...]
    evaluations: int
    patience: int
    seconds: float
    cpu_seconds: float
    is_new: bool

    @property
    def name(self) -> str:
        """Return what a reader calls it; folds are counted from one."""
        return f"fold {self.fold + 1}"

    @property
    def best(self) -> LossPoint | None:
        """Return the evaluation whose weights were kept; None if no loss was finite."""
        finite = [point for point in self.curve if point.held_out_loss is not None]
        return min(finite, key=_held_out_loss, default=None)

    @property
    def is_early(self) -> bool:
        """Tell whether it stopped before its last evaluation, because there was no gain any more.

        Where there are fewer steps than evaluations, one that had no gain at the end counts too.
        """
        n_done = len(self.curve) - 1
        if n_done >= self.evaluations or n_done < self.patience:
            return False
        best = self.best
        return best is None or best in self.curve[: -self.patience]


def training_section(models: Sequence[FoldTraining]) -> ExtraSection | None:
    """Return a section that shows how the reference models learnt; None without any.

    Args:
        models: one per fold, in any order.

    Raises:
        InputError: a fold comes twice, or a curve is empty.
    """
    if not models:
        return None
    ordered = sorted(models, key=lambda model: model.fold)
    folds = [model.fold for model in ordered]
    if len(set(folds)) != len(folds) or not all(model.curve for model in ordered):
        raise InputError(
            "expected one model per fold, with one evaluation at least; got the folds "
            f"{folds} and {[len(model.curve) for model in ordered]} evaluations"
        )
    plot = _plot(ordered)
    return ExtraSection(TITLE, (_lead(ordered),), (_table(ordered),), (plot,) if plot else ())


def _lead(models: Sequence[FoldTraining]) -> str:
    return (
        "Documents were scored by small transformers trained on this pool: one for each of "
        f"{models[0].folds} folds, on documents of the other folds, so that no document was scored "
        f"by a model that saw it; {_origin(models)}."
    )


def _origin(models: Sequence[FoldTraining]) -> str:
    n_new = sum(model.is_new for model in models)
    if n_new == len(models):
        return "all of them were trained in this run"
    if n_new == 0:
        return "none was trained in this run, since nothing that decides their weights has changed"
    was = "was" if n_new == 1 else "were"
    return f"{n_new} of {len(models)} {was} trained in this run, the rest in an earlier one"


def _table(models: Sequence[FoldTraining]) -> Table:
    columns = (
        "fold",
        "documents trained on",
        "tokens trained on",
        "stopped early",
        "held-out loss (nats)",
        "reached after tokens",
        "time",
        "CPU time",
        "trained",
    )
    return Table(
        "Training of each fold, and its lowest loss per token",
        columns,
        tuple(_cells(model) for model in models),
        "lrrlrrrrl",
    )


def _cells(model: FoldTraining) -> tuple[str, ...]:
    best = model.best
    return (
        model.name,
        count(model.documents),
        count(model.curve[-1].tokens),
        "yes" if model.is_early else "no",
        NONE if best is None else decimal(_held_out_loss(best), 3),
        NONE if best is None else count(best.tokens),
        duration(model.seconds) if model.seconds else NONE,
        duration(model.cpu_seconds) if model.cpu_seconds else NONE,
        "in\u00a0this\u00a0run" if model.is_new else "earlier",
    )


def _plot(models: Sequence[FoldTraining]) -> Plot | None:
    """Return the curves of the folds that end lowest and highest: the others lie between."""
    ranked = sorted((model for model in models if model.best), key=_final_loss)
    if not ranked:
        return None
    ends = ranked if len(ranked) == 1 else [ranked[0], ranked[-1]]
    series: dict[str, tuple[FloatArray, FloatArray]] = {}
    for model in ends:
        held_out = [(point.tokens, point.held_out_loss) for point in model.curve]
        training = [(point.tokens, point.train_loss) for point in model.curve]
        series[f"{model.name}, held out"] = _drawn(held_out)
        series[f"{model.name}, training"] = _drawn(training)
    return line_plot(
        PLOT_NAME,
        title="How the reference model learnt",
        caption=_caption(ends, len(models)),
        series=series,
        x_label="tokens trained on",
        y_label="nats per token",
    )


def _drawn(points: Sequence[tuple[int, float | None]]) -> tuple[FloatArray, FloatArray]:
    finite = [(tokens, loss) for tokens, loss in points if loss is not None]
    return (
        np.array([tokens for tokens, _ in finite], dtype=np.float64),
        np.array([loss for _, loss in finite], dtype=np.float64),
    )


def _caption(ends: Sequence[FoldTraining], n_models: int) -> str:
    what = (
        "Mean loss per token of documents that were held out of training, and of those trained on "
        "since the point before."
    )
    others = (
        f"Of {n_models} folds, those that end lowest and highest are drawn."
        if n_models > len(ends)
        else ""
    )
    return " ".join(filter(None, [what, *map(_fall, ends), others]))


def _fall(model: FoldTraining) -> str:
    best, first = model.best, model.curve[0].held_out_loss
    name = model.name.capitalize()
    if best is None or first is None or best is model.curve[0]:
        return f"{name} never gets below its loss before training."
    return (
        f"{name} falls from {decimal(first)} to {decimal(_held_out_loss(best))} on held-out "
        f"documents, after {_short(best.tokens)} tokens."
    )


def _short(tokens: int) -> str:
    return compact(float(f"{tokens:.3g}"))


def _held_out_loss(point: LossPoint) -> float:
    return math.inf if point.held_out_loss is None else point.held_out_loss


def _final_loss(model: FoldTraining) -> tuple[float, int]:
    best = model.best
    return (math.inf if best is None else _held_out_loss(best), model.fold)

"""What a report is made from: plain, frozen values that some stage read from the warehouse.

Nothing here is measured. `measures` computes from `ReportInputs`, `page` and `markdown` print.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import pyarrow as pa

from databourse.errors import InputError

if TYPE_CHECKING:
    from databourse.reports.plots import Plot

PRICED_COLUMNS = (
    "document_id",
    "source",
    "topic",
    "tokens",
    "log_price",
    "log_price_per_token",
    "rank",
    "is_selected",
)

Detail = str | int | float | bool | None
"""What a signal says about its values: a count, a share, a correlation, a name."""

BUDGET_KINDS = ("tokens", "documents", "share")


@dataclass(frozen=True, slots=True)
class Budget:
    """What the selection might spend.

    Attributes:
        kind: `tokens`, `documents`, or `share` (of the candidates' tokens).
        limit: in the unit of its kind, > 0; a share is in (0, 1].
    """

    kind: str
    limit: float


@dataclass(frozen=True, slots=True)
class FunnelStage:
    """What was still there after a stage, from rows read to documents bought."""

    stage: str
    count: int
    unit: str  # rows, documents
    note: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Rows or documents that a stage took out for one reason."""

    stage: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Trader:
    """A signal's owner in the market and the weight of its orders (weights sum to 1)."""

    name: str
    weight: float


@dataclass(frozen=True, slots=True)
class TopicRow:
    """One topic: what it holds, what was bought of it, and how its market stood.

    `entropy` is in nats, `effective_sample_size` is 1 / sum p^2 over the prices within the topic;
    `cost` is what traders have paid the maker and `worst_case_loss` the most it can lose, both in
    units of account (a bundle of one share of every document costs 1).
    `marginal_log_price_per_token` is that of its last bought document; None if none was bought.
    """

    topic: str
    documents: int
    tokens: int
    selected_documents: int
    selected_tokens: int
    liquidity: float
    mass: float
    effective_sample_size: float
    entropy: float
    cost: float
    worst_case_loss: float
    marginal_log_price_per_token: float | None
    description: str = ""


@dataclass(frozen=True, slots=True)
class SignalVersion:
    """Which version of a signal traded, what it cost to compute, and how its values came about."""

    signal: str
    signal_id: str
    scope: str
    orientation: str
    model: str
    seconds: float
    cpu_seconds: float
    gpu_seconds: float
    model_calls: int
    parameters: str = ""
    details: Mapping[str, Detail] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageTiming:
    """What one stage took in, gave out and took; None where there is nothing to count."""

    stage: str
    rows_in: int | None
    rows_out: int | None
    seconds: float
    cpu_seconds: float | None


@dataclass(frozen=True, slots=True)
class ContractResult:
    """One rule of one contract; `severity` is critical or warning."""

    contract: str
    rule: str
    severity: str
    is_passed: bool
    failing_rows: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table to print: `alignment` has one letter per column, l for text or r for numbers."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    alignment: str

    def __post_init__(self) -> None:
        widths = {len(self.columns), len(self.alignment), *map(len, self.rows)}
        if len(widths) != 1:
            raise InputError(
                f"table {self.caption!r} needs as many cells in every row as it has columns "
                f"({len(self.columns)}) and letters of alignment; got widths {sorted(widths)}"
            )


@dataclass(frozen=True, slots=True)
class ExtraSection:
    """A section that a later stage adds, such as settlement or a comparison of samplers."""

    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """Everything that the report of one manifest shows.

    Attributes:
        version: None as long as the manifest has no number.
        created_at: printed as it comes; the report never reads the clock.
        funnel: from rows read (first) to documents bought (last).
        priced: one row per candidate document, in any order, with `PRICED_COLUMNS`. `rank` is 1
            for the dearest per token and takes every value up to n once; `tokens` >= 1; log prices
            are natural logs and finite; `log_price` includes the topic's mass.
        traders: K traders, in the order of the columns of `contributions` and `signals`.
        contributions: shape (n, K), each trader's part of the log price, finite.
        signals: shape (n, K), each trader's raw signal, finite.
        texts: text or excerpt by document_id; `measures.example_ids` says whose are needed.
        warnings: what a reader must see before anything else, one sentence each.

    Raises:
        InputError: parts that must agree do not: sizes, ranks, totals, topics.
    """

    pool: str
    version: int | None
    manifest_id: str
    run_id: str
    created_at: str
    config_text: str
    budget: Budget
    spent_tokens: int
    spent_documents: int
    funnel: tuple[FunnelStage, ...]
    dropped: tuple[Dropped, ...]
    priced: pa.Table | Mapping[str, np.ndarray[Any, Any]]
    traders: tuple[Trader, ...]
    contributions: np.ndarray[Any, Any]
    signals: np.ndarray[Any, Any]
    topics: tuple[TopicRow, ...]
    texts: Mapping[str, str]
    signal_versions: tuple[SignalVersion, ...] = ()
    stages: tuple[StageTiming, ...] = ()
    contracts: tuple[ContractResult, ...] = ()
    dedup_notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    sections: tuple[ExtraSection, ...] = field(default=())

    def __post_init__(self) -> None:
        _check_budget(self.budget)
        n_documents = _check_columns(self.priced)
        _check_traders(self, n_documents)
        _check_totals(self)
        _check_topics(self)


def column(
    priced: pa.Table | Mapping[str, np.ndarray[Any, Any]], name: str
) -> np.ndarray[Any, Any]:
    """Return a column of `priced` as an array: text as objects, numbers as numbers."""
    values = priced[name]
    return np.asarray(values.to_numpy() if _is_arrow(values) else values)


def _is_arrow(values: object) -> TypeGuard[pa.ChunkedArray]:
    return isinstance(values, pa.ChunkedArray | pa.Array)


def _check_budget(budget: Budget) -> None:
    if budget.kind not in BUDGET_KINDS:
        raise InputError(f"budget.kind must be one of {BUDGET_KINDS}, got {budget.kind!r}")
    if not budget.limit > 0:
        raise InputError(f"budget.limit must be > 0 {budget.kind}, got {budget.limit!r}")


def _check_columns(priced: pa.Table | Mapping[str, np.ndarray[Any, Any]]) -> int:
    names = priced.column_names if isinstance(priced, pa.Table) else list(priced)
    missing = [name for name in PRICED_COLUMNS if name not in names]
    if missing:
        raise InputError(f"priced lacks the columns {missing}; it has {sorted(names)}")
    lengths = {name: len(column(priced, name)) for name in PRICED_COLUMNS}
    n_documents = lengths["document_id"]
    if n_documents == 0 or len(set(lengths.values())) != 1:
        raise InputError(f"priced needs one value per document in every column, got {lengths}")
    _check_nulls(priced)
    if sorted(column(priced, "rank").tolist()) != list(range(1, n_documents + 1)):
        raise InputError(f"priced.rank must take every value from 1 to {n_documents:,} once")
    if column(priced, "tokens").min() < 1:
        raise InputError(f"priced.tokens must be >= 1, got {column(priced, 'tokens').min()}")
    for name in ("log_price", "log_price_per_token"):
        _check_finite(f"priced.{name}", column(priced, name))
    return n_documents


def _check_nulls(priced: pa.Table | Mapping[str, np.ndarray[Any, Any]]) -> None:
    if isinstance(priced, pa.Table):
        n_nulls = {name: priced[name].null_count for name in PRICED_COLUMNS}
        if any(n_nulls.values()):
            raise InputError(f"priced must not hold nulls, got this many: {n_nulls}")


def _check_traders(inputs: ReportInputs, n_documents: int) -> None:
    shape = (n_documents, len(inputs.traders))
    for name, values in (("contributions", inputs.contributions), ("signals", inputs.signals)):
        if values.shape != shape:
            raise InputError(
                f"{name} must have one row per document and one column per trader {shape}, "
                f"got {values.shape}"
            )
        _check_finite(name, values)
    if not inputs.traders:
        raise InputError("traders must name at least one trader, got none")


def _check_finite(name: str, values: np.ndarray[Any, Any]) -> None:
    n_bad = int((~np.isfinite(values)).sum())
    if n_bad:
        raise InputError(f"{name} must be finite, got {n_bad:,} NaN or infinite values")


def _check_totals(inputs: ReportInputs) -> None:
    is_selected = column(inputs.priced, "is_selected").astype(bool)
    tokens = int(column(inputs.priced, "tokens")[is_selected].sum())
    documents = int(is_selected.sum())
    if (inputs.spent_tokens, inputs.spent_documents) != (tokens, documents):
        raise InputError(
            f"spent_tokens and spent_documents are {inputs.spent_tokens:,} and "
            f"{inputs.spent_documents:,}, but the selected rows of priced hold {tokens:,} and "
            f"{documents:,}"
        )
    if inputs.funnel and inputs.funnel[-1].count != documents:
        raise InputError(
            f"the funnel must end with the {documents:,} documents bought, "
            f"got {inputs.funnel[-1].count:,} at {inputs.funnel[-1].stage!r}"
        )


def _check_topics(inputs: ReportInputs) -> None:
    names, counts = np.unique(column(inputs.priced, "topic").astype(object), return_counts=True)
    priced = dict(zip(names.tolist(), counts.tolist(), strict=True))
    given = {row.topic: row.documents for row in inputs.topics}
    if given != priced:
        differing = sorted(set(priced.items()) ^ set(given.items()))[:3]
        raise InputError(
            "topics must hold one row per topic of priced, with as many documents; "
            f"they differ in {differing}"
        )

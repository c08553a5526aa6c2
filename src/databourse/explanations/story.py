"""The story of one document as values; field names are the keys of the JSON that programs read."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from pydantic import JsonValue


@dataclass(frozen=True)
class DocumentFacts:
    """What is true of a document whatever a run makes of it, and how the run sees it."""

    document_id: str
    characters: int
    tokens: int | None
    tokenizer_id: str | None
    source: str | None
    """Of the row that speaks for the document in the run, as are locator, label and metadata."""
    locator: str | None
    label: str | None
    metadata: JsonValue
    prompt_characters: int | None
    excerpt: str | None
    excerpt_problem: str | None
    """Why the text cannot be shown: its shard is missing or damaged."""


@dataclass(frozen=True)
class RunFacts:
    """The run that the story speaks of."""

    run_id: str
    status: str
    started_at: str
    """ISO 8601, UTC."""
    version: int | None
    """Published version that holds this run's selection."""
    is_latest: bool
    """No later run of the pool is completed."""


@dataclass(frozen=True)
class Rejection:
    """Why a row never became a document."""

    source: str
    locator: str
    reason: str
    words: str
    detail: str
    excerpt: str


@dataclass(frozen=True)
class Arrival:
    """A row that holds the document, and what became of it."""

    source: str
    locator: str
    label: str | None
    metadata: JsonValue
    stage: str | None
    """Null where nothing was decided: the run ended before."""
    outcome: str | None
    reason: str | None
    words: str
    similarity: float | None
    representative_id: str | None
    is_asked: bool
    """The locator that was asked for."""


@dataclass(frozen=True)
class Representative:
    """The document that stands for a near or semantic duplicate, and what became of it."""

    document_id: str
    similarity: float | None
    outcome: str | None
    reason: str | None
    words: str
    price_rank: int | None


@dataclass(frozen=True)
class Represented:
    """A document that this one stands for."""

    document_id: str
    similarity: float | None


@dataclass(frozen=True)
class Represents:
    """What a survivor stands for, besides itself."""

    exact_rows: int
    near_documents: int
    first: tuple[Represented, ...]
    """The most similar near and semantic duplicates."""


@dataclass(frozen=True)
class Topic:
    """The part of the pool that the document competes in."""

    name: str
    n_documents: int | None
    mass: float | None
    liquidity: float | None
    effective_sample_size: float | None
    similarity: float | None
    """Cosine of the document to the topic's centroid."""


@dataclass(frozen=True)
class SignalPart:
    """What one trader said of the document."""

    signal: str
    signal_id: str
    scope: str
    value: float | None
    mean: float | None
    spread: float | None
    lowest: float | None
    """Of all documents of the topic, as is highest."""
    highest: float | None
    z: float | None
    shares_per_spread: float | None
    log_price: float | None
    """Its contribution, in nats."""
    factor: float | None
    needed_value: float | None
    """The raw value at which this signal alone brings the document to the price of `change`."""


@dataclass(frozen=True)
class Price:
    """The document's price, and the parts of which its logarithm is the sum.

    `log_price` = -ln n_documents + `topic_log_price` + the signals + `competition_log_price`.
    """

    log_price: float
    share_of_pool: float
    times_average: float
    """Of an average document of the pool, whose price is 1 / n_documents."""
    topic_log_price: float | None
    """ln of the mass per document of the topic over that of the pool."""
    competition_log_price: float | None
    """Opening price, and orders of the others in the topic."""
    tokens: int
    length_bias: float | None
    log_price_per_token: float
    price_rank: int
    n_documents: int
    margin_log_price_per_token: float | None
    """Of the last document that the budget bought."""
    log_above_margin: float | None
    is_selected: bool
    weight: float
    """In training: 1 unless it was sampled."""
    inclusion_probability: float | None
    """That it is drawn, where the selection is a sample."""


@dataclass(frozen=True)
class Change:
    """What would have to be otherwise, each alone, with everybody else's orders held fixed.

    For a document that was left: for it to be bought. For one that was bought: for it to fall to
    the margin. Null: no finite change does it, and `remarks` say what is true instead.
    """

    target_log_price_per_token: float | None
    """The price per token at which the budget had place for it; for a bought one the margin."""
    log_rise: float | None
    """To the target, in nats; negative for a fall."""
    shares: float | None
    tokens: int | None
    """The longest length at which its price buys it."""
    left_at_turn: int | None
    """What the budget had left when its turn came, in the unit of the budget."""
    budget: int | None
    """That certainly reaches it: the cost of everything ranked at or before it."""
    budget_share: float | None
    """The same as a share of all tokens, where the budget is one."""
    budget_unit: str
    limit: int
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class PublishedIn:
    """A published version that holds the document."""

    version: int
    manifest_id: str
    status: str
    run_id: str
    price_rank: int
    published_at: str


@dataclass(frozen=True)
class Explanation:
    """The whole story of a document, or of a row that never became one."""

    pool: str
    asked: str
    outcome: str
    """selected, left, dropped, quarantined; undecided: the run ended before; absent: not in it."""
    reason: str | None
    summary: str
    run: RunFacts | None
    document: DocumentFacts | None
    rejections: tuple[Rejection, ...]
    arrivals: tuple[Arrival, ...]
    representative: Representative | None
    represents: Represents | None
    topic: Topic | None
    signals: tuple[SignalPart, ...]
    price: Price | None
    change: Change | None
    published: tuple[PublishedIn, ...]
    notes: tuple[str, ...]


def record(explanation: Explanation) -> dict[str, JsonValue]:
    """Return the story as JSON types; numbers that are not finite become null."""
    plain = _plain(asdict(explanation))
    if not isinstance(plain, dict):
        raise TypeError(plain)
    return plain


def _plain(value: object) -> JsonValue:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(value)

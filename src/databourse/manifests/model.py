"""What `manifest.json` and `latest.json` hold: frozen models, schema version 1.

Readers ignore keys they do not know, so a later version of databourse may add some within schema
version 1; types are strict. `manifest_json_schema` publishes the same as a JSON Schema.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

SCHEMA_VERSION = 1

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]
"""A plain file name: a manifest cannot reach outside its own folder."""
PoolName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""A plain folder name; `stage` also refuses those that look like a version."""
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class VersionRef(_Part):
    """A published version of the same pool."""

    version: Annotated[int, Field(ge=1)]
    manifest_id: Sha256


class Tokenizer(_Part):
    """Whose tokens are counted."""

    id: str = Field(min_length=1, description="Digest of the tokenizer's content.")
    name: str = Field(min_length=1, description="Name or path it was loaded by.")


class Budget(_Part):
    """What the selection was allowed to spend."""

    kind: Literal["tokens", "documents", "share"]
    amount: float = Field(gt=0, description="As configured, in the unit of its kind.")
    limit_tokens: Count | None = Field(default=None, description="Most tokens; of tokens, share.")
    limit_documents: Count | None = Field(default=None, description="Most documents.")

    @model_validator(mode="after")
    def _has_the_limit_of_its_kind(self) -> Self:
        wanted, other = self.limit_tokens, self.limit_documents
        if self.kind == "documents":
            wanted, other = other, wanted
        if wanted is None or other is not None:
            unit = "limit_documents" if self.kind == "documents" else "limit_tokens"
            raise ValueError(f"a budget of kind {self.kind!r} needs {unit} and no other limit")
        return self


class Counts(_Part):
    """How much text."""

    documents: Count
    tokens: Count


class TopicMarket(_Part):
    """One topic of the snapshot, before anything is bought."""

    topic: str
    candidate_documents: Count
    candidate_tokens: Count
    mass: float = Field(ge=0, le=1, description="The topic's share of the market.")
    liquidity: float = Field(gt=0, description="LMSR b of the topic, in shares.")
    effective_sample_size: float = Field(ge=0, description="1 / sum of squared prices.")
    marginal_log_price_per_token: float | None = Field(
        description="Of the cheapest bought document; null if none was bought."
    )
    floor: Count | None = Field(default=None, description="Least to spend here; null: none set.")
    cap: Count | None = Field(default=None, description="Most to spend here; null: none set.")
    cost: float | None = Field(default=None, description="What traders paid the maker, C(q).")
    worst_case_loss: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Most the maker can lose, in units of account."
    )
    entropy: float | None = Field(default=None, description="Of the topic's prices, in nats.")


class TopicTotals(TopicMarket):
    """One topic of the snapshot and what was bought of it."""

    selected_documents: Count
    selected_tokens: Count


class SourceSupply(_Part):
    """One source of the snapshot, before anything is bought."""

    source: str
    candidate_documents: Count
    candidate_tokens: Count
    floor: Count | None = Field(default=None, description="Least to spend here; null: none set.")
    cap: Count | None = Field(default=None, description="Most to spend here; null: none set.")


class SourceTotals(SourceSupply):
    """One source of the snapshot and what was bought of it."""

    selected_documents: Count
    selected_tokens: Count


class SignalRecord(_Part):
    """One trader: which version of which signal, what it cost, how much of the orders it got."""

    signal: str
    signal_id: str
    scope: Literal["document", "pool"]
    parameters: dict[str, JsonValue]
    model_fingerprint: str
    orientation: str
    revision: int
    weight: float = Field(ge=0, description="The trader's share of the order flow.")
    seconds: Seconds
    cpu_seconds: Seconds
    gpu_seconds: Seconds = 0.0
    model_calls: Count = 0


class MarketRecord(_Part):
    """The settings that turned signals into prices."""

    topic_mass: JsonValue = Field(description="How mass is given to topics, as configured.")
    liquidity: JsonValue = Field(description="The liquidity setting, as configured.")
    length_bias: float
    weights: dict[str, float] = Field(description="Trader to its share of the order flow.")
    prior: JsonValue = Field(default=None, description="Opening prices, as configured.")
    traders: JsonValue = Field(default=None, description="How orders are made, as configured.")
    settlement_id: str | None = Field(
        default=None, description="The settlement that the weights come from, if one did."
    )


class SelectionRecord(_Part):
    """The settings by which the budget was spent; limits as configured."""

    method: Literal["greedy", "sample"]
    rule: Literal["skip", "stop"]
    best_single: bool
    diversity: float = Field(ge=0)
    topic_floor: JsonValue
    topic_cap: JsonValue
    source_floor: JsonValue
    source_cap: JsonValue


class ContractResult(_Part):
    """What one contract said about the rows it guards."""

    contract: str
    version: str
    success: bool = Field(description="No critical rule failed.")
    rules: Count = Field(description="Number of rules checked.")
    failed_warnings: Count = Field(description="Rules of severity warning that failed.")


class Shard(_Part):
    """One Parquet file of documents."""

    name: FileName
    rows: Count
    bytes: Count
    sha256: Sha256


class ProtectedSetRecord(_Part):
    """One evaluation set or target that the pool was compared with."""

    name: str
    digest: Sha256 = Field(description="Over its texts, whatever their order and ids.")
    examples: Count
    examples_found: Count = Field(description="For which at least one document was dropped.")
    ngrams: Count = Field(description="Distinct n-grams by which its long parts are compared.")
    documents_dropped: Count = Field(description="One may be dropped for several sets.")


class PlantedLeaks(_Part):
    """How many planted leaks of one kind the rule of the run drops."""

    kind: str
    leaks: Count
    found: Count
    recall: float = Field(ge=0, le=1, description="found / leaks.")


class DecontaminationSelfTest(_Part):
    """Protected examples, changed as leaks are, run through the very index of the run."""

    examples: Count = Field(description="Drawn at random by the seed of the config.")
    kinds: tuple[PlantedLeaks, ...]


class DecontaminationProof(_Part):
    """What the pool was compared with, by which rule, and what was dropped; no protected text."""

    rule_revision: int = Field(ge=1)
    parameters: dict[str, JsonValue]
    documents: Count = Field(description="Compared.")
    dropped: Count
    dropped_by_reason: dict[str, Count]
    sets: tuple[ProtectedSetRecord, ...]
    self_test: DecontaminationSelfTest | None = Field(
        default=None, description="Null in manifests written before there was one."
    )


class ManifestFacts(_Part):
    """What the pipeline knows about a selection and its rows do not say."""

    pool: PoolName
    created_at: AwareDatetime
    run_id: str
    databourse_version: str
    config: dict[str, JsonValue]
    config_digest: str
    snapshot_id: str
    encoder_id: str | None
    tokenizer: Tokenizer
    budget: Budget
    candidates: Counts = Field(description="The snapshot: what was for sale.")
    dropped: dict[str, Count] = Field(description="Reason to rows that never were for sale.")
    market: MarketRecord
    selection: SelectionRecord | None = Field(
        default=None, description="Null in manifests of databourse 0.1: greedy, skipping."
    )
    board_id: str | None = Field(
        default=None, description="The stored signals that were traded, for databourse price."
    )
    signals: tuple[SignalRecord, ...]
    topics: tuple[TopicMarket, ...]
    sources: tuple[SourceSupply, ...]
    marginal_log_price_per_token: float | None = Field(
        description="Of the last document bought outside any floor; null for a sample."
    )
    decontamination: DecontaminationProof | None = Field(default=None, description="Null: not run.")


class ManifestDraft(ManifestFacts):
    """A staged manifest: its rows are written, it has no version and no contract results yet."""

    manifest_id: Sha256
    spent: Counts
    topics: tuple[TopicTotals, ...]
    sources: tuple[SourceTotals, ...]
    shards: tuple[Shard, ...] = Field(min_length=1)


class ManifestInfo(ManifestDraft):
    """The content of `manifest.json`."""

    schema_version: int = Field(ge=1, le=SCHEMA_VERSION)
    version: int = Field(ge=1)
    parent: VersionRef | None = Field(description="The version that was latest before this one.")
    contracts: tuple[ContractResult, ...]
    validation_sha256: Sha256 = Field(description="Digest of validation.json.")
    files: dict[FileName, Sha256] = Field(
        description="Every file of the version but shards, manifest.json, SHA256SUMS and signature."
    )
    signer: Sha256 | None = Field(
        default=None, description="Whose public key's signature is in provenance.dsse.json."
    )


class Latest(_Part):
    """The content of `latest.json`: which version of the pool is current."""

    version: int = Field(ge=1)
    manifest_id: Sha256
    path: FileName = Field(description="Folder of the version, beside latest.json.")
    manifest_sha256: Sha256 = Field(description="Digest of its manifest.json.")
    published_at: AwareDatetime


class Withdrawal(_Part):
    """The content of `v000001.withdrawn.json`, beside the version: it must not be used any more."""

    version: int = Field(ge=1)
    manifest_id: Sha256
    manifest_sha256: Sha256 = Field(description="Digest of the version's manifest.json.")
    reason: str = Field(min_length=1)
    withdrawn_at: AwareDatetime


def manifest_json_schema() -> dict[str, object]:
    """Return the JSON Schema (2020-12) of manifest.json, as data_contracts/ publishes it."""
    schema = ManifestInfo.model_json_schema()
    seal = {
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "The file's first key: sha256 of the file with these 64 digits set to 0.",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "databourse manifest.json, schema version 1",
        "properties": {"self_sha256": seal, **schema["properties"]},
        "required": ["self_sha256", *schema["required"]],
    }

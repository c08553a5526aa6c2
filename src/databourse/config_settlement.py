"""The section of a config that says how the market learns which signals to trust."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from databourse.config_section import Section
from databourse.config_sources import FilesConfig

_LEAST_CONTRACTS = 10


class JudgementsConfig(Section):
    """Utilities that people, or another system, have written down: rows of a file."""

    path: str | tuple[str, ...] = Field(
        description="Files: jsonl, csv or parquet; .gz and .zst are unpacked."
    )
    format: Literal["auto", "jsonl", "csv", "parquet"] = Field(
        default="auto", description="Auto goes by the file name's ending."
    )
    document: str | None = Field(default=None, description="Column that holds the document_id.")
    text: str | None = Field(
        default=None, description="Template of the document's text, in place of its id."
    )
    utility: str = Field(default="utility", description="Column of numbers; larger is better.")

    @model_validator(mode="after")
    def _names_documents(self) -> Self:
        if (self.document is None) == (self.text is None):
            raise ValueError(
                "settlement.oracle needs either document (the column of ids) or text (a template), "
                "such as {path: judged.csv, document: document_id, utility: score}"
            )
        return self


class SettlementTargetConfig(FilesConfig):
    """Examples that the oracle measures on and no signal reads; they are never in the pool."""

    what: ClassVar[str] = "settlement.targets"


class WealthConfig(Section):
    """How traders earn and lose when contracts pay out."""

    liquidity: float = Field(
        default=0.25, gt=0, le=1e6, description="LMSR b of the settlement: a ceiling on orders."
    )
    fee: float | None = Field(
        default=None, ge=0, le=1e6, description="Per order, in spreads; null: what luck would earn."
    )
    decay: float = Field(
        default=0.1, ge=0, le=1, description="Part of the way that wealth goes to uniform before."
    )
    memory: float = Field(
        default=2.0, ge=0, le=1e9, description="Contracts that the wealth before weighs as much as."
    )


class SubsetsConfig(Section):
    """The oracle that retrains: what random markets buy, and what is trained on it."""

    markets: int = Field(default=64, ge=4, le=100_000, description="Random markets: trainings.")
    proxy: Literal["auto", "linear", "causal_lm"] = Field(
        default="auto",
        description="What is trained: auto takes linear where sources and examples have labels.",
    )
    heat: float = Field(
        default=1.0, ge=0, le=100, description="How far their prices are from uniform."
    )
    least_share: float = Field(
        default=0.5, gt=0, le=1, description="Least part of the budget that a market may have."
    )
    examples: int = Field(
        default=300, ge=2, le=1_000_000, description="Most examples of each target for causal_lm."
    )


class SettlementConfig(Section):
    """An oracle pays out on a sample; traders earn or lose; weights: settled uses their wealth."""

    oracle: (
        Literal["auto", "linear", "leave_one_out", "subsets", "language_model", "trak", "ask_llm"]
        | JudgementsConfig
    ) = Field(
        default="auto",
        description="Who says what a document is worth: auto takes linear for labelled pools, else "
        "language_model; or a file of judgements.",
    )
    targets: tuple[SettlementTargetConfig, ...] = Field(
        default=(),
        description="What it measures on: sections as for targets, of other examples; those of "
        "targets where none is given.",
    )
    contracts: int = Field(
        default=3_000,
        ge=_LEAST_CONTRACTS,
        le=10_000_000,
        description="Documents settled.",
    )
    allocation: Literal["stratified", "uniform", "bandit"] = Field(
        default="stratified", description="How topics are sampled."
    )
    batch: int = Field(
        default=50, ge=1, description="Documents settled before the bandit looks again."
    )
    alpha: float = Field(
        default=2.0, ge=0, le=1e6, description="How much the bandit doubts what it knows little of."
    )
    ranked: Literal["topic", "pool"] = Field(
        default="topic", description="Among which contracts a utility is ranked."
    )
    payoff_power: float = Field(
        default=0.5, ge=0, le=100, description="A contract pays its rank to this power."
    )
    l2: float = Field(
        default=10.0, gt=0, le=1e6, description="Penalty of the linear oracles, on summed losses."
    )
    subsets: SubsetsConfig = SubsetsConfig()
    weights: Literal["wealth", "regression"] = Field(
        default="wealth",
        description="What the next refresh uses: wealth that was earned, or a fit to ranks.",
    )
    wealth: WealthConfig = WealthConfig()

    @field_validator("targets", mode="before")
    @classmethod
    def _as_sequence(cls, value: object) -> object:
        return (value,) if isinstance(value, dict) else value

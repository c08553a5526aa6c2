"""The section of a config that says how samplers are compared."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from databourse.config_section import Section
from databourse.config_sources import FilesConfig


class TestConfig(FilesConfig):
    """Examples that picks are measured on. No sampler sees them; they are never in the pool."""

    __test__: ClassVar[bool] = False  # a word of the config, no test of pytest's
    what: ClassVar[str] = "compare.test"


class LinearProxyConfig(Section):
    """Softmax regression on frozen embeddings: for pools with labels."""

    l2: float = Field(default=1.0, gt=0, le=1e6, description="Penalty on the sum of losses.")


class CausalProxyConfig(Section):
    """A small causal transformer from scratch, of the sizes of language_model.reference."""

    epochs: float = Field(
        default=2.0,
        gt=0,
        le=1_000,
        description="Tokens that every training reads, as a multiple of the budget's.",
    )


class EncoderProxyConfig(Section):
    """An encoder with a linear head, fine-tuned on each pick: for pools with labels."""

    model: str | None = Field(default=None, description="As encoder; null: the pool's encoder.")
    epochs: float = Field(
        default=2.0,
        gt=0,
        le=1_000,
        description="Tokens that every training reads, as a multiple of the budget's.",
    )
    learning_rate: float = Field(
        default=1e-4, gt=0, le=1, description="The highest, of the encoder's weights."
    )
    head_learning_rate: float = Field(default=1e-2, gt=0, le=1, description="Of the head.")
    batch_tokens: int = Field(
        default=1_024,
        ge=16,
        le=1_000_000,
        description="Tokens of a step, so that every pick of a budget takes as many steps.",
    )
    max_document_tokens: int = Field(
        default=128, ge=8, le=100_000, description="What follows is not read; of examples too."
    )


class TruthConfig(Section):
    """Which stored column says how labels really are: to count wrong ones among what is bought.

    It is read once samplers have bought. No signal and no sampler sees it.
    """

    label: str | None = Field(
        default=None, description="A metadata column of the sources: the true label."
    )
    is_wrong: str | None = Field(
        default=None, description="Instead: a metadata column that is true where the label is not."
    )

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.label is None) == (self.is_wrong is None):
            raise ValueError("compare.truth needs either label or is_wrong: the name of a column")
        return self


class CompareConfig(Section):
    """Every sampler at every budget with every seed: trained on alike, measured on the same."""

    test: tuple[TestConfig, ...] = Field(
        default=(), description="What is measured: one section or more, as for targets."
    )
    budgets: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(0.05, 0.1, 0.25),
        min_length=1,
        description="Shares of the pool's tokens up to 1, else tokens.",
    )
    seeds: int = Field(default=10, ge=1, le=1_000, description="Of draws, and of training.")
    pool_share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Documents that a seed leaves in the pool, drawn anew for each: below 1, what "
        "draws nothing varies too.",
    )
    samplers: tuple[str, ...] = Field(
        default=("random", "market", "market_equal_weights"),
        min_length=1,
        description="Names; all: everything, for the whole pool.",
    )
    proxy: Literal["linear", "encoder", "causal_lm"] = Field(
        default="linear", description="What is trained on each pick."
    )
    truth: TruthConfig | None = Field(
        default=None, description="Where labels may be wrong and it is known which."
    )
    linear: LinearProxyConfig = LinearProxyConfig()
    encoder: EncoderProxyConfig = EncoderProxyConfig()
    causal_lm: CausalProxyConfig = CausalProxyConfig()

    @field_validator("test", mode="before")
    @classmethod
    def _as_sequence(cls, value: object) -> object:
        return (value,) if isinstance(value, dict) else value

"""The section of a config that says how samplers are compared."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

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
    proxy: Literal["linear", "causal_lm"] = Field(
        default="linear", description="What is trained on each pick."
    )
    linear: LinearProxyConfig = LinearProxyConfig()
    causal_lm: CausalProxyConfig = CausalProxyConfig()

    @field_validator("test", mode="before")
    @classmethod
    def _as_sequence(cls, value: object) -> object:
        return (value,) if isinstance(value, dict) else value

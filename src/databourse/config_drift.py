"""The section of a config that says how far a pool may move from its last published version."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from databourse.config_section import Section

Reaction = Literal["off", "warn", "stop"]


class DriftConfig(Section):
    """What a refresh says, or does, where it moved from the last published version.

    `warn` records it beside the other contracts, `stop` publishes nothing, `off` does not look.
    """

    signals: Reaction = Field(default="warn", description="Values of each signal.")
    tokens: Reaction = Field(default="warn", description="Lengths of the candidates.")
    sources: Reaction = Field(default="warn", description="Shares of sources.")
    labels: Reaction = Field(default="warn", description="Shares of labels.")
    topics: Reaction = Field(
        default="warn", description="Shares of topics, where topics are labels."
    )
    removals: Reaction = Field(
        default="warn", description="Share of rows that each stage removes, by reason."
    )
    candidates: Reaction = Field(default="warn", description="Number of candidates.")
    most_stability_index: float = Field(
        default=0.25,
        gt=0,
        description="Most PSI of signals, tokens, sources, labels and topics.",
    )
    most_removal_change: float = Field(
        default=0.1, gt=0, le=1, description="Most difference of a share of removed rows."
    )
    most_candidates_change: float = Field(
        default=0.5, gt=0, description="Most relative change of the number of candidates."
    )

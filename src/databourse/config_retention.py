"""The section of a config that says how much of the past a warehouse keeps."""

from __future__ import annotations

from pydantic import Field

from databourse.config_section import Section


class RetentionConfig(Section):
    """What `databourse gc` leaves in the warehouse. Published versions always stay."""

    runs: int = Field(
        default=10,
        ge=1,
        description="Finished refreshes of each pool that stay explained, and all they stand on.",
    )

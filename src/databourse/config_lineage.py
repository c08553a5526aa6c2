"""The section of a config that says who hears of runs and stages, as OpenLineage events."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from databourse.config_section import Section


class LineageConfig(Section):
    """Where events go; they change no result."""

    path: str | None = Field(
        default=None, description="File that events are added to, a line each."
    )
    url: str | None = Field(
        default=None, description="Server that takes events at /api/v1/lineage; holds no secret."
    )
    api_key_variable: str | None = Field(
        default=None, description="Environment variable with the server's key, sent as a bearer."
    )

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if (self.path is None) == (self.url is None):
            raise ValueError("lineage needs either path (a file) or url (a server)")
        if self.api_key_variable is not None and self.url is None:
            raise ValueError("lineage.api_key_variable goes with lineage.url; a file takes no key")
        return self

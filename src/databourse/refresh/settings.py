"""From the words of the config to the things that stages work with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from databourse.errors import UnknownNameError
from databourse.refresh.context import RunContext

if TYPE_CHECKING:
    from databourse.config import RefreshConfig, SourceConfig
    from databourse.sources import Source


def open_configured_source(config: RefreshConfig, source: SourceConfig, root: Path) -> Source:
    """Return a source of the config, its files found and allowed."""
    from databourse.sources import open_source

    return open_source(root=root, data_roots=config.data_roots, **source.model_dump())


def source_named(run: RunContext, name: str) -> tuple[int, Source]:
    """Return the position of a source in the config, and the source."""
    names = [source.name for source in run.config.sources]
    if name not in names:
        raise UnknownNameError("source", name, names, where="the config")
    rank = names.index(name)
    return rank, open_configured_source(run.config, run.config.sources[rank], Path(run.root))

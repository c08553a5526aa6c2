"""A diff of manifests as one self-contained HTML page."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from databourse.errors import ManifestError
from databourse.manifests.difference_wording import (
    document_rows,
    headlines,
    price_rows,
    setting_rows,
    shift_rows,
    signal_rows,
)
from databourse.manifests.differences import ManifestDiff

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN_DOCUMENTS = 200
_SHIFT_COLUMNS = ["documents", "after", "tokens", "after", "change"]
_DOCUMENT_COLUMNS = ["document", "source", "topic", "tokens", "log price"]


def render_difference_page(diff: ManifestDiff) -> str:
    """Return the page; the same diff gives the same bytes."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("databourse.manifests").joinpath("differences.html.j2")
    before, after = diff.before, diff.after
    sections = [
        ("Tokens by topic", ["topic", *_SHIFT_COLUMNS], shift_rows(diff.topics), range(1, 6)),
        ("Tokens by source", ["source", *_SHIFT_COLUMNS], shift_rows(diff.sources), range(1, 6)),
        _documents("Entered", diff.entered),
        _documents("Left", diff.left),
        (
            "Prices that changed most",
            ["document", "log price", "after", "change"],
            price_rows(diff, n_documents=_SHOWN_DOCUMENTS),
            range(1, 4),
            _shown(diff.changed("log_price")),
        ),
        ("Settings", ["setting", "before", "after"], setting_rows(diff.settings), []),
        (
            "Signals",
            ["signal", "what", "property", "before", "after"],
            signal_rows(diff.signals),
            [],
        ),
    ]
    template = environment.from_string(source.read_text(encoding="utf-8"))
    return template.render(
        title=f"{before.pool} version {before.version} to {after.pool} version {after.version}",
        headlines=headlines(diff),
        sections=sections,
    )


def write_difference_page(diff: ManifestDiff, path: Path) -> None:
    """Write the page.

    Raises:
        ManifestError: the file exists, or its folder does not.
    """
    page = render_difference_page(diff)
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(page)
    except FileExistsError:
        raise ManifestError(f"{path} exists already; nothing was overwritten") from None
    except FileNotFoundError:
        raise ManifestError(f"{path.parent} does not exist; make it first") from None


def _documents(title: str, table: pa.Table) -> tuple[str, list[str], list[list[str]], range, str]:
    rows = document_rows(table, n_documents=_SHOWN_DOCUMENTS)
    return title, _DOCUMENT_COLUMNS, rows, range(3, 5), _shown(table)


def _shown(table: pa.Table) -> str:
    if table.num_rows <= _SHOWN_DOCUMENTS:
        return ""
    return f"The first {_SHOWN_DOCUMENTS} of {table.num_rows:,}; --json lists all."

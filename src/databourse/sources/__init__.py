"""Sources: files of rows, and docstrings of installed packages, as documents."""

from databourse.sources.parts import (
    Source,
    SourcePart,
    check_source,
    empty_source_error,
    open_source,
)
from databourse.sources.rows import RejectedRow, Row, SourceRow

__all__ = [
    "RejectedRow",
    "Row",
    "Source",
    "SourcePart",
    "SourceRow",
    "check_source",
    "empty_source_error",
    "open_source",
]

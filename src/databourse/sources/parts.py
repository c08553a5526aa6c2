"""Sources: files, or docstrings of installed packages, in the same form.

A source has parts: files, or distributions. A part is known by `file_id`, the digest of its bytes
and of every setting that shapes its rows, so its rows are a function of `file_id`. Rows are
numbered from 0 without gaps: a reader that stored n rows goes on with `rows(n)`. Where only some
rows are taken, by the hash of their text, these keep their numbers; a row that cannot be read is in
every part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa

from databourse.digests import digest_of, document_id
from databourse.errors import ConfigError, SourceError
from databourse.sources.docstrings import DocstringSource, check_packages
from databourse.sources.files import FoundFile, find_files
from databourse.sources.reading import ReadRules, check_file, delimiter_of, read_rows, read_tables
from databourse.sources.rows import Row, RowShape, SourceRow, row_shape
from databourse.sources.streams import kind_of

REVISION = 1
"""Of the reading of files: raised when the same bytes and settings give other rows."""

_CHECKED_FILES = 32
_LARGE_BYTES = 1 << 25  # below, starting workers takes longer than they save


class SourcePart(Protocol):
    """A file, or the like: what ingestion reads and commits one by one."""

    @property
    def uri(self) -> str:
        """Return its name in tables; the same on every machine."""

    @property
    def sha256(self) -> str:
        """Return the digest of its content."""

    @property
    def bytes(self) -> int:
        """Return its stored size."""

    @property
    def file_id(self) -> str:
        """Return the digest of its content and of how it is read."""

    def rows(self, start_row: int = 0) -> Iterator[Row]:
        """Yield its rows from `start_row` on, good and rejected."""

    def tables(self, start_row: int = 0, *, at_most: int, workers: int) -> Iterator[pa.Table]:
        """Yield the same rows as tables (`row_tables.ROW_SCHEMA`), in order, of any size.

        Args:
            start_row: the first row that is yielded.
            at_most: rows of a table, where rows are read one by one.
            workers: processes that may read; they change no row.
        """

    def locator(self, row: Row) -> str:
        """Return where a row is: unique within a run, the same on every machine."""


class Source(Protocol):
    """A named source."""

    @property
    def name(self) -> str:
        """Return its name in the config."""

    def parts(self) -> Sequence[SourcePart]:
        """Return its parts in order of `uri`; takes their digests."""


@dataclass(frozen=True, slots=True)
class TextShare:
    """Some of all texts, by their hash: disjoint shares of the same `of` share no text.

    Attributes:
        of: how many shares there are, >= 2.
        take: which are in this one, from 0, distinct.
    """

    of: int
    take: tuple[int, ...]

    def holds(self, row: Row) -> bool:
        """Tell whether a row is taken; one that cannot be read always is, so that it is seen."""
        return not isinstance(row, SourceRow) or self.number(row.text) in self.take

    def held(self, rows: pa.Table) -> pa.Table:
        """Return those rows of a table that are taken, as `holds` says."""
        document_ids = rows["document_id"].to_pylist()
        is_taken = [each is None or self._number(each) in self.take for each in document_ids]
        return rows.filter(pa.array(is_taken, pa.bool_()))

    def number(self, text: str) -> int:
        """Return the share of a canonical text: its document_id modulo `of`."""
        return self._number(document_id(text))

    def _number(self, name: str) -> int:
        return int(name, 16) % self.of


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file of a source."""

    uri: str
    sha256: str
    bytes: int
    file_id: str
    file: FoundFile
    shape: RowShape
    rules: ReadRules
    state: tuple[str, ...]
    share: TextShare | None = None

    def rows(self, start_row: int = 0) -> Iterator[Row]:
        """Yield its rows from `start_row` on; see `databourse.sources.reading.read_rows`."""
        rows = read_rows(self.file, self.shape, self.rules, start_row=start_row, state=self.state)
        return rows if self.share is None else filter(self.share.holds, rows)

    def tables(self, start_row: int = 0, *, at_most: int, workers: int) -> Iterator[pa.Table]:
        """Yield its rows as tables; see `databourse.sources.reading.read_tables`."""
        is_large = self.bytes >= _LARGE_BYTES
        tables = read_tables(
            self.file,
            self.shape,
            self.rules,
            at_most=at_most,
            workers=workers if is_large else 1,
            start_row=start_row,
            state=self.state,
        )
        return tables if self.share is None else map(self.share.held, tables)

    def locator(self, row: Row) -> str:
        """Return `uri#row_number`."""
        return f"{self.uri}#{row.row_number}"


@dataclass(frozen=True, slots=True)
class FileSource:
    """A source of kind files."""

    name: str
    files: tuple[FoundFile, ...]
    shape: RowShape
    rules: ReadRules
    share: TextShare | None = None

    def parts(self) -> list[FilePart]:
        """Return a part per file, in order of `uri`; reads every file once for its digest."""
        return [self._part(file) for file in self.files]

    def _part(self, file: FoundFile) -> FilePart:
        settings = parse_settings(file.uri, self.shape, self.rules, share=self.share)
        state = file.state()
        sha256, size = file.digest()
        file_id = digest_of({"sha256": sha256, "settings": settings})
        return FilePart(
            file.uri, sha256, size, file_id, file, self.shape, self.rules, state, self.share
        )


def parse_settings(
    uri: str, shape: RowShape, rules: ReadRules, *, share: TextShare | None = None
) -> dict[str, object]:
    """Return every setting that shapes the rows of a file, as JSON types.

    Names of labels and a share are there where they are set, so that a file without them keeps the
    file_id that it has had.
    """
    kind = kind_of(uri, rules.file_format)
    is_csv = kind.format == "csv"
    return {
        "revision": REVISION,
        "format": kind.format,
        "packing": kind.packing,
        "columns": list(rules.columns) if is_csv else [],
        "delimiter": delimiter_of(kind, rules) if is_csv else "",
        "templates": [template.source for template in shape.templates],
        "label": shape.label,
        "metadata": list(shape.metadata),
        "min_characters": shape.min_characters,
        "max_row_bytes": rules.max_row_bytes,
        **({"labels": dict(shape.labels)} if shape.labels else {}),
        **({"part": [share.of, *sorted(share.take)]} if share is not None else {}),
    }


def open_source(
    *,
    name: str,
    root: Path,
    data_roots: Sequence[str],
    kind: Literal["files", "docstrings"] = "files",
    path: str | Sequence[str] = (),
    format: Literal["auto", "jsonl", "csv", "parquet"] = "auto",  # noqa: A002 - the config's word
    columns: Sequence[str] = (),
    delimiter: str = ",",
    text: str | None = None,
    prompt: str | None = None,
    completion: str | None = None,
    label: str | None = None,
    labels: Mapping[str, str] | None = None,
    part: Mapping[str, Any] | None = None,
    metadata: Sequence[str] = (),
    max_row_bytes: int = 16 * 2**20,
    packages: Sequence[str] = (),
    limit: int | None = None,
    min_characters: int = 1,
) -> Source:
    """Return the source that a config describes; every argument but two is a key of the config.

    Nothing is read but folders and package records; `parts()` takes digests, `rows()` reads.

    Args:
        name: the source, for messages.
        root: folder of the config, to which paths are relative.
        data_roots: what may be read.
        kind: files or docstrings; the keys that follow are explained in the config.
        path: paths, globs, URIs.
        format: of the files.
        columns: of CSV files without header.
        delimiter: of CSV files.
        text: template.
        prompt: template.
        completion: template.
        label: column.
        labels: new names by old ones.
        part: {of, take}: which rows are read.
        metadata: columns.
        max_row_bytes: limit of a row.
        packages: whose docstrings.
        limit: number of distinct docstrings.
        min_characters: limit of a text.

    Raises:
        ConfigError: settings contradict each other.
        SourceError: there is nothing to read, or it may not be read.
    """
    if kind == "docstrings":
        _refuse_unused(
            name,
            "docstrings",
            path=path,
            text=text,
            prompt=prompt,
            completion=completion,
            columns=columns,
            label=label,
            labels=labels,
            part=part,
            metadata=metadata,
        )
        return DocstringSource(name, tuple(packages), limit, min_characters)
    _refuse_unused(name, "files", packages=packages, limit=limit)
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise ConfigError(
            f"delimiter of source {name!r} must be one character, no quote or line end; "
            f"got {delimiter!r}"
        )
    shape = row_shape(
        text=text,
        prompt=prompt,
        completion=completion,
        label=label,
        metadata=metadata,
        min_characters=min_characters,
        labels=labels,
    )
    patterns = (path,) if isinstance(path, str) else path
    files = find_files(patterns, root=root, data_roots=data_roots)
    rules = ReadRules(format, tuple(columns), delimiter, max_row_bytes)
    for file in files:
        kind_of(file.uri, format)
    share = None if part is None else TextShare(part["of"], tuple(part["take"]))
    return FileSource(name, tuple(files), shape, rules, share)


def check_source(source: Source) -> list[str]:
    """Return the names of what a source will read, after a look at headers and first rows.

    The first 32 files are opened; of packages, the records are read. Takes well under a second
    for local files; no digest is taken.

    Raises:
        SourceError: as reading would: a file is missing, unreadable or lacks a column; a package
            is not installed.
    """
    if isinstance(source, DocstringSource):
        return check_packages(source)
    if isinstance(source, FileSource):
        for file in source.files[:_CHECKED_FILES]:
            check_file(file, source.shape, source.rules)
        return [file.uri for file in source.files]
    return [part.uri for part in source.parts()]


def empty_source_error(
    name: str,
    uris: Sequence[str],
    *,
    n_rows: int,
    rejected: Iterable[tuple[str, int, str]],
) -> SourceError:
    """Return the error of a source that gave no document at all.

    Args:
        name: the source.
        uris: its parts.
        n_rows: rows read, good and rejected.
        rejected: reason, number of rows, and detail of the first, per reason.
    """
    files = "1 part" if len(uris) == 1 else f"{len(uris):,} parts"
    listed = ", ".join(uris[:3]) + (", ..." if len(uris) > 3 else "")
    reasons = "; ".join(
        f"{count:,} {reason} (first: {detail})" for reason, count, detail in rejected
    )
    why = f"{n_rows:,} rows were read and all were rejected: {reasons}" if n_rows else "it is empty"
    return SourceError(
        f"source {name!r} gives no document: {files} ({listed}); {why}. "
        "Fix the files, or the source's path, text and columns."
    )


def _refuse_unused(name: str, kind: str, **given: object) -> None:
    for key, value in given.items():
        if value:
            raise ConfigError(f"source {name!r} of kind {kind} takes no {key!r}; remove it")

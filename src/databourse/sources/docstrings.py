"""Docstrings of installed packages as documents; files are parsed, never imported.

A part of the source is a distribution. Its rows are the docstrings of its modules, classes and
functions, cleaned of indentation, in order of (file, place in the file). Folders named `test` or
`tests` are left out, and so is databourse itself unless it is named.

`limit` takes a sample that depends on nothing but the texts: of the distinct texts that are long
enough, those with the smallest document id, which is a hash. Every docstring with an id up to the
largest one taken is a row, so duplicates stay duplicates, and texts that are too short go to
quarantine in the same proportion as without a limit.

Metadata of a row: package, version, module, qualname, kind (module, class, function) and locator,
`<package>-<version>/<file>#<qualname>`; a name that a file defines again has `~2`, `~3` behind.
"""

from __future__ import annotations

import ast
import hashlib
import heapq
import importlib.metadata
import inspect
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from databourse.digests import canonical_text, digest_of, digest_of_lines, document_id
from databourse.errors import SourceError, nearest_names
from databourse.sources.row_tables import tables_of
from databourse.sources.rows import RejectedRow, Row, SourceRow, check_text, rejected_row
from databourse.sources.template import RowRejectedError

REVISION = 1
"""Of this module's choice and order of rows."""

_TEST_FOLDERS = {"test", "tests"}
_OWN_NAME = "databourse"
_ID_BITS = 128

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring and its place, or a file that cannot be parsed.

    Attributes:
        path: POSIX path of the file within its distribution.
        qualname: dotted name, with `<locals>` as in Python; `<module>` for the module's own.
        kind: module, class or function.
        repetition: 1 for the first of its qualname in the file.
        text: canonical text.
        id: of the text; None when the row cannot be a document whatever its length.
        error: why the file has no docstrings.
    """

    path: str
    qualname: str
    kind: str
    repetition: int
    text: str
    id: str | None
    error: RowRejectedError | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """An installed distribution and its Python files.

    Attributes:
        name: normalised name.
        version: as installed.
        files: by POSIX path within the distribution, in order of path.
    """

    name: str
    version: str
    files: dict[str, Path]

    @property
    def uri(self) -> str:
        """Return `name-version`."""
        return f"{self.name}-{self.version}"


@dataclass(frozen=True)
class DocstringSource:
    """A source of kind docstrings.

    Attributes:
        name: the source.
        packages: distribution or import names; empty for all that are installed.
        limit: number of distinct texts; None for all.
        min_characters: shorter texts are rejected.
    """

    name: str
    packages: tuple[str, ...]
    limit: int | None
    min_characters: int

    def parts(self) -> list[DocstringPart]:
        """Return a part per distribution, in order of name; reads every file for its digest.

        Raises:
            SourceError: a package is not installed.
        """
        digests = [(package, *_digest(package)) for package in find_packages(self.packages)]
        everything = [[package.uri, sha256] for package, sha256, _ in digests]
        sample = None
        if self.limit is not None:
            packages = [package for package, _, _ in digests]
            sample = _Sample(packages, self.limit, self.min_characters)
        settings = {
            "revision": REVISION,
            "python": list(sys.version_info[:2]),  # its grammar
            "min_characters": self.min_characters,
            "limit": self.limit,
            "sampled_from": everything if sample else [],
        }
        return [
            DocstringPart(
                package.uri,
                sha256,
                size,
                digest_of({"package": package.uri, "sha256": sha256, "settings": settings}),
                package,
                self.min_characters,
                sample,
            )
            for package, sha256, size in digests
        ]


@dataclass(frozen=True)
class DocstringPart:
    """The docstrings of a distribution; `sha256` covers its Python files and their paths."""

    uri: str
    sha256: str
    bytes: int
    file_id: str
    package: Package
    min_characters: int
    sample: _Sample | None = field(repr=False)

    def rows(self, start_row: int = 0) -> Iterator[Row]:
        """Yield its rows from `start_row` on.

        Raises:
            SourceError: a file cannot be read.
        """
        found = (
            _docstrings(self.package)
            if self.sample is None
            else iter(self.sample.by_package.get(self.uri, []))
        )
        for number, docstring in enumerate(found):
            if number >= start_row:
                yield _row(number, docstring, self.package, self.min_characters)

    def tables(self, start_row: int = 0, *, at_most: int, workers: int) -> Iterator[pa.Table]:  # noqa: ARG002 - packages are small
        """Yield its rows as tables, in this process."""
        return tables_of(
            self.rows(start_row),
            at_most=at_most,
            place_of=lambda row: self.locator(row).removeprefix(self.uri),
        )

    def locator(self, row: Row) -> str:
        """Return the `locator` in the row's metadata; `uri#row_number` for a rejected row."""
        if isinstance(row, SourceRow):
            return str(row.metadata["locator"])
        return f"{self.uri}#{row.row_number}"


def check_packages(source: DocstringSource) -> list[str]:
    """Return `name-version` of the distributions that a source reads.

    Raises:
        SourceError: one is not installed, or has no Python files.
    """
    return [package.uri for package in find_packages(source.packages)]


def find_packages(names: Sequence[str]) -> list[Package]:
    """Return the installed distributions of the given names, in order of name.

    Args:
        names: of distributions (`scikit-learn`) or of what they import as (`sklearn`); empty for
            all but databourse.

    Raises:
        SourceError: a name is not installed or has no Python files; names the nearest installed.
    """
    installed = _installed()
    if not names:
        every = (_package(name, each) for name, each in sorted(installed.items()))
        return [package for package in every if package.files and package.name != _OWN_NAME]
    wanted = {each for name in names for each in _distributions_of(name, installed)}
    packages = [_package(name, installed[name]) for name in sorted(wanted)]
    for package in packages:
        if not package.files:
            raise SourceError(
                f"package {package.uri} lists no Python files outside of its tests; "
                "name another one in packages"
            )
    return packages


class _Sample:
    """The docstrings with the smallest ids of several distributions, found when first needed."""

    def __init__(self, packages: Sequence[Package], limit: int, min_characters: int) -> None:
        self._packages = packages
        self._limit = limit
        self._min_characters = min_characters

    @cached_property
    def by_package(self) -> dict[str, list[Docstring]]:
        """Return the docstrings of the sample by `uri` of their distribution, in order."""
        cutoff = _Cutoff(self._limit)
        kept: list[tuple[str, Docstring]] = []
        for package in self._packages:
            for docstring in _docstrings(package):
                if docstring.id is not None and len(docstring.text) >= self._min_characters:
                    cutoff.add(docstring.id)
                if docstring.id is None or docstring.id <= cutoff.largest:
                    kept.append((package.uri, docstring))
            kept = [each for each in kept if each[1].id is None or each[1].id <= cutoff.largest]
        result: dict[str, list[Docstring]] = {}
        for uri, docstring in kept:
            result.setdefault(uri, []).append(docstring)
        return result


class _Cutoff:
    """The smallest distinct ids of a stream; its answer does not depend on the order."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: set[str] = set()
        self._heap: list[int] = []  # negated, so that the largest id comes first

    @property
    def largest(self) -> str:
        """Return the largest id that is still in; every id is below it while there is room."""
        full = len(self._ids) == self._limit
        return f"{-self._heap[0]:0{_ID_BITS // 4}x}" if full else "g"

    def add(self, identity: str) -> None:
        """Take an id in if it is among the smallest."""
        if identity in self._ids or identity > self.largest:
            return
        self._ids.add(identity)
        heapq.heappush(self._heap, -int(identity, 16))
        if len(self._ids) > self._limit:
            dropped = -heapq.heappop(self._heap)
            self._ids.remove(f"{dropped:0{_ID_BITS // 4}x}")


def _installed() -> dict[str, importlib.metadata.Distribution]:
    """Return the distributions by normalised name; the first on the path wins, as in imports."""
    found: dict[str, importlib.metadata.Distribution] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(_normalised(name), distribution)
    return found


def _distributions_of(
    name: str, installed: dict[str, importlib.metadata.Distribution]
) -> list[str]:
    if _normalised(name) in installed:
        return [_normalised(name)]
    by_import = importlib.metadata.packages_distributions()
    found = {_normalised(each) for each in by_import.get(name, [])} & set(installed)
    if not found:
        known = [*installed, *(each for each in by_import if not each.startswith("_"))]
        nearest = nearest_names(name, known)
        hint = nearest if nearest.startswith("did") else "see: pip list"
        raise SourceError(f"package {name!r} is not installed; {hint}")
    return sorted(found)


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _package(name: str, distribution: importlib.metadata.Distribution) -> Package:
    paths = {each.as_posix(): each for each in distribution.files or () if _is_read(each.parts)}
    files = {path: Path(str(paths[path].locate())) for path in sorted(paths)}
    present = {path: file for path, file in files.items() if file.is_file()}
    return Package(name, distribution.version, present)


def _is_read(parts: Sequence[str]) -> bool:
    return (
        parts[-1].endswith(".py")
        and ".." not in parts  # scripts outside of the package folder
        and not _TEST_FOLDERS & set(parts[:-1])
    )


def _digest(package: Package) -> tuple[str, int]:
    size = 0
    lines = []
    for path, file in package.files.items():
        content = _content(package, path, file)
        size += len(content)
        lines.append(f"{hashlib.sha256(content).hexdigest()} {path}")
    return digest_of_lines(lines), size


def _content(package: Package, path: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SourceError(f"{package.uri}/{path} cannot be read: {error.strerror}") from None


def _docstrings(package: Package) -> Iterator[Docstring]:
    for path, file in package.files.items():
        content = _content(package, path, file)
        try:
            tree = _parsed(content)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            problem = RowRejectedError("broken_python", f"{type(error).__name__}: {error}")
            yield Docstring(path, "", "module", 1, "", None, problem)
        else:
            yield from _docstrings_of(path, tree)


def _parsed(content: bytes) -> ast.Module:
    with warnings.catch_warnings():
        # Invalid escapes and the like in other people's code.
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return ast.parse(content)


def _docstrings_of(path: str, tree: ast.Module) -> Iterator[Docstring]:
    seen: Counter[str] = Counter()
    for node, qualname in _documented(tree):
        written = ast.get_docstring(node, clean=False)
        if written is not None:
            seen[qualname] += 1
            text = canonical_text(inspect.cleandoc(written))
            yield Docstring(path, qualname, _kind(node), seen[qualname], text, _id(text))


def _documented(tree: ast.Module) -> Iterator[tuple[_Documented, str]]:
    """Yield what can have a docstring, in order of place, with its qualified name."""
    stack: list[tuple[ast.AST, str]] = [(tree, "")]
    while stack:
        node, prefix = stack.pop()
        inner = prefix
        if isinstance(node, ast.Module):
            yield node, "<module>"
        elif isinstance(node, ast.ClassDef):
            yield node, prefix + node.name
            inner = f"{prefix}{node.name}."
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, prefix + node.name
            inner = f"{prefix}{node.name}.<locals>."
        stack.extend((child, inner) for child in reversed(list(_blocks(node))))


def _blocks(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements below a node, and what holds statements: handlers and cases."""
    for name in ("body", "handlers", "cases", "orelse", "finalbody"):
        children = getattr(node, name, None)
        if isinstance(children, list):
            yield from children


def _kind(node: _Documented) -> str:
    if isinstance(node, ast.Module):
        return "module"
    return "class" if isinstance(node, ast.ClassDef) else "function"


def _id(text: str) -> str | None:
    if "\0" in text:
        return None
    try:
        return document_id(text)
    except UnicodeEncodeError:
        return None


def _row(number: int, docstring: Docstring, package: Package, min_characters: int) -> Row:
    try:
        if docstring.error is not None:
            raise docstring.error
        check_text(docstring.text, min_characters)
    except RowRejectedError as error:
        return _rejected(number, error, docstring)
    return SourceRow(number, docstring.text, None, None, _metadata(docstring, package))


def _rejected(number: int, error: RowRejectedError, docstring: Docstring) -> RejectedRow:
    place = docstring.path + (f"#{docstring.qualname}" if docstring.qualname else "")
    return rejected_row(number, error, f"{place}: {docstring.text}")


def _metadata(docstring: Docstring, package: Package) -> dict[str, object]:
    repeated = f"~{docstring.repetition}" if docstring.repetition > 1 else ""
    return {
        "package": package.name,
        "version": package.version,
        "module": _module(docstring.path),
        "qualname": docstring.qualname,
        "kind": docstring.kind,
        "locator": f"{package.uri}/{docstring.path}#{docstring.qualname}{repeated}",
    }


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

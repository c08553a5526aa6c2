"""Opening a manifest: what a training team does with one."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from databourse.errors import (
    IntegrityError,
    ManifestError,
    MissingExtraError,
    UnknownNameError,
)
from databourse.manifests.folders import (
    MANIFEST_FILE,
    Folder,
    Location,
    folder_at,
    is_pool,
    is_version,
    parse_manifest,
    read_latest,
    withdrawal_of,
)
from databourse.manifests.model import ManifestInfo, Withdrawal
from databourse.manifests.seals import BrokenSealError
from databourse.manifests.shards import CONTRIBUTION_PREFIX, row_groups
from databourse.manifests.verification import (
    VerificationReport,
    Version,
    check_version_asked,
    no_manifest,
    verify_version,
    version_of,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class Document:
    """One training example that was bought, and at which price."""

    document_id: str
    source: str
    locator: str
    label: str | None
    tokens: int
    topic: str
    price: float
    log_price: float
    price_per_token: float
    log_price_per_token: float
    rank: int
    weight: float
    prompt_characters: int | None
    contributions: Mapping[str, float] = field(default_factory=dict)
    inclusion_probability: float | None = None
    text: str | None = None


@dataclass(frozen=True)
class Manifest:
    """A published selection of documents: opened, its bytes not yet verified."""

    folder: Folder
    info: ManifestInfo
    withdrawal: Withdrawal | None = None
    """Why it was withdrawn; only where it was opened all the same."""

    def __len__(self) -> int:
        return self.info.spent.documents

    @property
    def location(self) -> str:
        """Return the path or URI of the version."""
        return str(self.folder)

    def verify(self) -> VerificationReport:
        """Return the report of a good manifest; read this before the first training step.

        Raises:
            IntegrityError: a file is not byte for byte what was published; every one is named.
        """
        report = verify_version(self.folder)
        report.require_ok()
        return report

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the documents in order of document_id.

        Args:
            columns: names of the columns to read, in order; all of them by default.

        Raises:
            UnknownNameError: there is no such column.
            IntegrityError: a file is not Parquet any more.
        """
        import pyarrow as pa

        self._check_columns(columns)
        chosen = list(columns) if columns is not None else None
        # a table per row group, because one string column cannot hold more than 2 GiB
        return pa.concat_tables(self._row_groups(chosen))

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the documents in order of document_id, as a data frame."""
        frame: pd.DataFrame = self.to_arrow(columns).to_pandas()
        return frame

    def to_hf_dataset(self, columns: Sequence[str] | None = None) -> Any:  # noqa: ANN401
        """Return the documents in order of document_id, as a Hugging Face `datasets.Dataset`.

        Raises:
            MissingExtraError: the package datasets is not installed.
        """
        try:
            datasets = importlib.import_module("datasets")
        except ImportError:
            raise MissingExtraError("datasets", "hf", "to_hf_dataset") from None
        return datasets.Dataset(self.to_arrow(columns))

    def iter_documents(self) -> Iterator[Document]:
        """Yield the documents in order of document_id, holding one row group in memory.

        Raises:
            IntegrityError: a file is not Parquet any more.
        """
        for table in self._row_groups(None):
            for row in table.to_pylist():
                yield _document(row)

    def _row_groups(self, columns: list[str] | None) -> Iterator[pa.Table]:
        import pyarrow as pa

        for shard in self.info.shards:
            try:
                yield from row_groups(self.folder, [shard.name], columns)
            except (pa.ArrowException, OSError) as error:
                raise IntegrityError(
                    f"{self.folder}/{shard.name} cannot be read: {error}. "
                    f"See what is damaged with: databourse manifest verify {self.folder}"
                ) from error

    def _check_columns(self, columns: Sequence[str] | None) -> None:
        import pyarrow.parquet as pq

        if columns is None:
            return
        with self.folder.open(self.info.shards[0].name) as stream:
            known = pq.read_schema(stream).names
        for name in columns:
            if name not in known:
                raise UnknownNameError("column", name, known, where=str(self.folder))


def open_manifest(
    location: Location, version: Version = "latest", *, allow_withdrawn: bool = False
) -> Manifest:
    """Return a manifest, ready to be read; `verify` it before training on it.

    Opening reads `manifest.json` only, which proves itself whole, and checks that every shard is
    there with the size it was published with.

    Args:
        location: folder of a pool or of one version; a local path or fsspec URI.
        version: which version of a pool.
        allow_withdrawn: open a version that was withdrawn, to look at it.

    Raises:
        ManifestError: there is no such manifest, it was withdrawn, or a newer databourse wrote it.
        IntegrityError: latest.json or manifest.json is damaged, or a shard is missing or truncated.
    """
    folder = folder_at(location)
    if is_version(folder):
        check_version_asked(folder, version)
    elif not is_pool(folder):
        raise no_manifest(folder)
    elif version == "latest":
        folder = version_of(folder, read_latest(folder).version)
    else:
        folder = version_of(folder, version)
    info = read_info(folder)
    withdrawal = withdrawal_of(folder, info)
    if withdrawal is not None and not allow_withdrawn:
        raise ManifestError(
            f"{folder} was withdrawn on {withdrawal.withdrawn_at:%Y-%m-%d}: {withdrawal.reason}. "
            "Use the latest version of its pool; to look at this one all the same, say "
            "allow_withdrawn=True, or --allow-withdrawn"
        )
    return Manifest(folder, info, withdrawal)


def read_info(folder: Folder) -> ManifestInfo:
    """Return the manifest.json of a version whose shards are there.

    Raises:
        ManifestError: a newer databourse wrote it.
        IntegrityError: manifest.json is damaged, or a shard is missing or truncated.
    """
    where = f"{folder}/{MANIFEST_FILE}"
    try:
        info = parse_manifest(folder.read(MANIFEST_FILE), where)
    except FileNotFoundError:
        raise IntegrityError(f"{where} is missing. {_remedy(folder)}") from None
    except BrokenSealError as error:
        raise IntegrityError(f"{where} {error}. {_remedy(folder)}") from error
    sizes = folder.files()
    for shard in info.shards:
        if shard.name not in sizes:
            raise IntegrityError(f"{folder}/{shard.name} is missing. {_remedy(folder)}")
        if sizes[shard.name] != shard.bytes:
            raise IntegrityError(
                f"{folder}/{shard.name} has {sizes[shard.name]:,} of {shard.bytes:,} bytes. "
                f"{_remedy(folder)}"
            )
    return info


def _remedy(folder: Folder) -> str:
    return f"See all that is damaged with: databourse manifest verify {folder}; then copy it again."


def _document(row: dict[str, Any]) -> Document:
    contributions = {
        name.removeprefix(CONTRIBUTION_PREFIX): row.pop(name)
        for name in list(row)
        if name.startswith(CONTRIBUTION_PREFIX)
    }
    known = {name: row[name] for name in Document.__dataclass_fields__ if name in row}
    return Document(**known, contributions=contributions)

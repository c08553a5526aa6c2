"""Opening a manifest: what a training team does with one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
from databourse.manifests.shards import CONTRIBUTION_PREFIX
from databourse.manifests.verification import (
    VerificationReport,
    Version,
    check_version_asked,
    no_manifest,
    verify,
    version_of,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from databourse.manifests.torch_dataset import ManifestDataset


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
    texts: Folder | None = None
    """Where the texts lie, if not in the manifest; see `with_source_texts`."""

    def __len__(self) -> int:
        return self.info.spent.documents

    @property
    def location(self) -> str:
        """Return the path or URI of the version."""
        return str(self.folder)

    def verify(self, *, public_key: Ed25519PublicKey | None = None) -> VerificationReport:
        """Return the report of a good manifest; read this before the first training step.

        Args:
            public_key: whose signature it must have; None: none need be there.

        Raises:
            IntegrityError: a file is not byte for byte what was published, or the signature is
                missing or another's; every bad file is named.
        """
        report = verify(self.location, public_key=public_key)
        report.require_ok()
        return report

    def check_tokenizer(self, tokenizer: object) -> str:
        """Return the fingerprint of the tokenizer that the manifest's tokens were counted by.

        Args:
            tokenizer: the one that training uses: a tokenizer.json, a folder that holds one, a
                `tokenizers.Tokenizer`, or a fast tokenizer of transformers.

        Raises:
            ManifestError: it is another one, so that tokens and budget are not those of the
                training; both fingerprints are shown.
            ConfigError: it is none, or is not in the form of a tokenizer.json.
            MissingExtraError: the package tokenizers is not installed.
        """
        from databourse.manifests.tokenizers import trainer_fingerprints

        counted = self.info.tokenizer.id.rpartition("@")[2]
        used = trainer_fingerprints(tokenizer)
        if counted not in used:
            raise ManifestError(
                f"tokens of {self.location} were counted by the tokenizer "
                f"{self.info.tokenizer.name!r}, fingerprint {counted}, but the training uses one "
                f"of fingerprint {used[0]}: lengths and budget would not hold. Train with the "
                "former, or set tokenizer in the config of the pool to the latter and refresh"
            )
        return counted

    def with_source_texts(
        self, root: Path, *, to: Path, data_roots: Sequence[str] = (".",)
    ) -> Manifest:
        """Return this manifest with the texts of its documents, read from the sources.

        Every text is the one that was bought: its digest is the document_id.

        Args:
            root: where relative paths of the sources start: the folder of the config.
            to: a folder that keeps the texts; made at the first call, read by later ones.
            data_roots: what sources may be read from: folders, relative to `root`, or URI prefixes.

        Raises:
            ManifestError: the manifest says no sources that can be read, or `to` is something else.
            SourceError: a source cannot be read.
            IntegrityError: a text is in no source any more, or `to` is damaged.
        """
        from databourse.manifests.source_texts import prepare_texts

        if self.has_text:
            return self
        prepare_texts(self.folder, self.info, root=root, to=to, data_roots=data_roots)
        return replace(self, texts=folder_at(to))

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Return the names of the columns of every row, `text` among them if there are texts."""
        import pyarrow.parquet as pq

        with self.folder.open(self.info.shards[0].name) as stream:
            names = tuple(pq.read_schema(stream).names)
        return names if self.texts is None or "text" in names else (*names, "text")

    @property
    def has_text(self) -> bool:
        """Return whether rows have the texts of the documents."""
        return "text" in self.column_names

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the documents in order of document_id.

        Args:
            columns: names of the columns to read, in order; all of them by default.

        Raises:
            UnknownNameError: there is no such column.
            IntegrityError: a file is not Parquet any more.
        """
        import pyarrow as pa

        # a table per row group, because one string column cannot hold more than 2 GiB
        return pa.concat_tables(self.read_row_groups(columns))

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

    def to_torch(
        self,
        *,
        seed: int,
        rank: int | None = None,
        ranks: int | None = None,
        columns: Sequence[str] | None = None,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        window_rows: int = 20_000,
        weighting: Literal["carried", "resampled"] = "carried",
        remainder: Literal["keep", "drop"] = "keep",
    ) -> ManifestDataset:
        """Return the documents as a PyTorch `IterableDataset`, shuffled anew in each epoch.

        Args:
            seed: of the order; the same on every rank.
            rank: number of this process in the training; that of torch.distributed by default.
            ranks: how many processes there are; give both or none.
            columns: of the examples, which are dicts; the usual ones by default.
            transform: what becomes of an example, in the process that reads it.
            window_rows: least rows that are shuffled together, and held in memory by every worker;
                0 keeps the order of the files.
            weighting: `carried` gives each document once per epoch, its weight beside it;
                `resampled` gives it as often as its weight says, and as many examples in all.
            remainder: `keep` gives every example, so that ranks differ by at most one; `drop`
                leaves out what would make them differ.

        Raises:
            MissingExtraError: torch is not installed.
            InputError: the rank is not one of `ranks`, or WORLD_SIZE says there are several and
                neither arguments nor torch.distributed say which is this one.
            UnknownNameError: there is no such column.
        """
        try:
            from databourse.manifests.torch_dataset import ManifestDataset
        except ImportError as error:
            if error.name is None or error.name.partition(".")[0] != "torch":
                raise
            raise MissingExtraError("torch", "pipeline", "to_torch") from None
        return ManifestDataset(
            self,
            seed=seed,
            rank=rank,
            ranks=ranks,
            columns=columns,
            transform=transform,
            window_rows=window_rows,
            weighting=weighting,
            remainder=remainder,
        )

    def blocks(self) -> list[tuple[str, int, int]]:
        """Return the row groups in order: shard, number within it, and rows."""
        found = []
        for shard in self.info.shards:
            with self.open_shard(shard.name) as reader:
                found += [
                    (shard.name, index, reader.rows_of(index))
                    for index in range(reader.n_row_groups)
                ]
        return found

    def iter_documents(self) -> Iterator[Document]:
        """Yield the documents in order of document_id, holding one row group in memory.

        Raises:
            IntegrityError: a file is not Parquet any more.
        """
        for table in self.read_row_groups():
            for row in table.to_pylist():
                yield _document(row)

    def read_row_groups(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the documents in order of document_id, a row group at a time.

        Raises:
            UnknownNameError: there is no such column.
            IntegrityError: a file is not Parquet any more.
        """
        self.check_columns(columns)
        return self._row_groups(list(columns) if columns is not None else None)

    def _row_groups(self, columns: list[str] | None) -> Iterator[pa.Table]:
        for shard in self.info.shards:
            with self.open_shard(shard.name) as reader:
                for index in range(reader.n_row_groups):
                    yield reader.read(index, columns)

    @contextmanager
    def open_shard(self, name: str) -> Iterator[ShardReader]:
        """Open a shard, and its texts, for reading row groups in any order.

        Raises:
            IntegrityError: the file is not Parquet any more.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        with ExitStack() as opened:
            try:
                stream = opened.enter_context(self.folder.open(name))
                documents = opened.enter_context(pq.ParquetFile(stream))
                texts = None
                if self.texts is not None and "text" not in documents.schema_arrow.names:
                    stream = opened.enter_context(self.texts.open(name))
                    texts = opened.enter_context(pq.ParquetFile(stream))
                yield ShardReader(documents, texts)
            except (pa.ArrowException, OSError) as error:
                raise IntegrityError(
                    f"{self.folder}/{name} cannot be read: {error}. "
                    f"See what is damaged with: databourse manifest verify {self.folder}"
                ) from error

    def check_columns(self, columns: Sequence[str] | None) -> None:
        """Do nothing if there are such columns.

        Raises:
            UnknownNameError: there is none of a name.
        """
        for name in columns or ():
            if name not in self.column_names:
                raise UnknownNameError("column", name, self.column_names, where=str(self.folder))


@dataclass(frozen=True)
class ShardReader:
    """An open shard, with its texts where they lie elsewhere."""

    documents: pq.ParquetFile
    texts: pq.ParquetFile | None

    @property
    def n_row_groups(self) -> int:
        """Return how many row groups there are."""
        return int(self.documents.num_row_groups)

    def rows_of(self, index: int) -> int:
        """Return how many rows a row group has."""
        return int(self.documents.metadata.row_group(index).num_rows)

    def read(self, index: int, columns: list[str] | None) -> pa.Table:
        """Return a row group, with the columns named, in order, or with all of them."""
        if self.texts is None or (columns is not None and "text" not in columns):
            return self.documents.read_row_group(index, columns=columns)
        from databourse.manifests.source_texts import joined_row_group

        return joined_row_group(self.documents, self.texts, index, columns)


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

"""The files of a feature store: names, sizes, rows and digests; see `feature_store`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from databourse.digests import digest_of_lines
from databourse.errors import IntegrityError
from databourse.influence.feature_manifest import FeatureManifest
from databourse.manifests.seals import BrokenSealError, seal, unseal

MANIFEST_FILE = "manifest.json"
IDS_FILE = "document_ids.txt"
FEATURES_FILE = "features.bin"
OUT_TO_LOSS_FILE = "out_to_loss.bin"
SCALES_FILE = "scales.json"
BATCHES_FILE = "batches.bin"

DIGEST_BYTES = 32
NOT_DONE = bytes(DIGEST_BYTES)
_TYPES: dict[str, np.dtype[np.floating]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
}
OUT_TO_LOSS = np.dtype("<f8")


@dataclass(frozen=True)
class StoreFiles:
    """The folder of a store and where its rows lie."""

    folder: Path
    manifest: FeatureManifest

    @property
    def n_batches(self) -> int:
        """Return how many batches there are."""
        return -(-self.manifest.n // self.manifest.batch_documents)

    @property
    def type(self) -> np.dtype[np.floating]:
        """Return the type of a feature on disk."""
        return _TYPES[self.manifest.precision]

    def rows(self, batch: int) -> slice:
        """Return the rows of a batch."""
        start = batch * self.manifest.batch_documents
        return slice(start, min(start + self.manifest.batch_documents, self.manifest.n))

    def sizes(self) -> dict[str, int]:
        """Return the bytes that the files of rows must have."""
        return {
            FEATURES_FILE: self.manifest.n * self.manifest.k * self.type.itemsize,
            OUT_TO_LOSS_FILE: self.manifest.n * OUT_TO_LOSS.itemsize,
            BATCHES_FILE: self.n_batches * DIGEST_BYTES,
        }

    def check_sizes(self) -> None:
        """Pass if the files of rows have the bytes that they must have.

        Raises:
            IntegrityError: one has not, or is missing.
        """
        for name, size in self.sizes().items():
            path = self.folder / name
            found = path.stat().st_size if path.is_file() else 0
            if found != size:
                raise IntegrityError(
                    f"{path} has {found:,} bytes, expected {size:,}: it was truncated or changed; "
                    "remove the folder and compute its features again"
                )

    def digests(self) -> list[bytes]:
        """Return the digest of every batch; NOT_DONE for one that is not."""
        data = (self.folder / BATCHES_FILE).read_bytes()
        return [data[i : i + DIGEST_BYTES] for i in range(0, len(data), DIGEST_BYTES)]

    def scales(self) -> npt.NDArray[np.float32] | None:
        """Return what features were divided by, shape (k,); None if nothing is written yet."""
        if self.manifest.precision == "float32":
            return np.ones(self.manifest.k, dtype=np.float32)
        path = self.folder / SCALES_FILE
        if not path.is_file():
            return None
        content = unsealed(path)
        blocks = self.manifest.projection.blocks(self.manifest.shapes)
        scales = content["scales"]
        if content["manifest_id"] != self.manifest.manifest_id or not isinstance(scales, list):
            raise IntegrityError(f"{path} is of another store; compute the features again")
        return np.repeat(np.array(scales, dtype=np.float32), list(blocks.values()))

    def read(self, batch: int) -> tuple[bytes, bytes]:
        """Return the bytes of a batch's features and of its Q."""
        rows = self.rows(batch)
        width = self.manifest.k * self.type.itemsize
        with (self.folder / FEATURES_FILE).open("rb") as stream:
            stream.seek(rows.start * width)
            features = stream.read((rows.stop - rows.start) * width)
        with (self.folder / OUT_TO_LOSS_FILE).open("rb") as stream:
            stream.seek(rows.start * OUT_TO_LOSS.itemsize)
            out_to_loss = stream.read((rows.stop - rows.start) * OUT_TO_LOSS.itemsize)
        return features, out_to_loss

    def digest(
        self, batch: int, features: bytes, out_to_loss: bytes, scales: npt.NDArray[np.float32]
    ) -> bytes:
        """Return the digest of a batch: of the manifest, its place, its bytes and its scales."""
        state = hashlib.sha256(f"{self.manifest.manifest_id} {batch}\n".encode())
        for part in (features, out_to_loss, scales.astype("<f4").tobytes()):
            state.update(len(part).to_bytes(8, "little"))
            state.update(part)
        return state.digest()

    def checked(self, batch: int, digest: bytes) -> tuple[bytes, bytes]:
        """Return the bytes of a batch that is done.

        Raises:
            IntegrityError: they are not those that were written.
        """
        features, out_to_loss = self.read(batch)
        scales = self.scales()
        if scales is None or self.digest(batch, features, out_to_loss, scales) != digest:
            rows = self.rows(batch)
            raise IntegrityError(
                f"rows {rows.start:,} to {rows.stop - 1:,} of {self.folder / FEATURES_FILE}, of "
                f"{OUT_TO_LOSS_FILE} or their digest in {BATCHES_FILE} were truncated or changed; "
                "remove the folder and compute its features again"
            )
        return features, out_to_loss


def create(files: StoreFiles, ids: Sequence[str]) -> None:
    """Make the files of an empty store; the manifest comes last."""
    files.folder.mkdir(parents=True, exist_ok=True)
    (files.folder / SCALES_FILE).unlink(missing_ok=True)  # of a run killed in here
    for name, size in files.sizes().items():
        with (files.folder / name).open("wb") as stream:
            stream.truncate(size)
            os.fsync(stream.fileno())
    lines = "".join(f"{each}\n" for each in ids)
    replace(files.folder / IDS_FILE, lines.encode("utf-8"))
    replace(files.folder / MANIFEST_FILE, seal(files.manifest.as_json()))


def read_ids(files: StoreFiles) -> tuple[str, ...]:
    """Return the document_ids of a store.

    Raises:
        IntegrityError: they are not those of its manifest.
    """
    path = files.folder / IDS_FILE
    try:
        ids = tuple(path.read_text(encoding="utf-8").split("\n")[:-1])
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path} cannot be read: {error}") from error
    if digest_of_lines(ids) != files.manifest.documents:
        raise IntegrityError(
            f"{path} was truncated or changed; remove the folder and compute its features again"
        )
    return ids


def unsealed(path: Path) -> dict[str, object]:
    """Return the content of a sealed file.

    Raises:
        IntegrityError: there is none, or it was changed.
    """
    try:
        return unseal(path.read_bytes())
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read: {error}") from error
    except BrokenSealError as error:
        raise IntegrityError(
            f"{path} {error}; remove the folder and compute its features again"
        ) from error


def write_at(path: Path, offset: int, data: bytes) -> None:
    """Write into a file at a place, and wait until it is on the disk."""
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def replace(path: Path, data: bytes) -> None:
    """Write a file in one step: there is the old one or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)

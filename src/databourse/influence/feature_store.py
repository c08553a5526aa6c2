"""Features on disk: one folder per pool and checkpoint, written batch by batch, read in blocks.

    manifest.json       what the features are; sealed by its own digest
    document_ids.txt    the ids in ascending order, one row each; its digest is in the manifest
    features.bin        (n, k) row by row, little endian: a memory map
    out_to_loss.bin     Q, (n,) float64
    scales.json         of float16: what each part of a feature vector was divided by; sealed
    batches.bin         the sha256 of every batch, 32 bytes each; zeros for one that is not done

A batch is done once its digest is written, after its rows are on the disk: what a killed run was
about to write is computed again, and nothing else. The digest covers manifest, place and bytes, so
rows that were edited, cut off or brought from another store are found, by whoever reads them.

In float16 the features of a layer are divided by their root mean square over the first batch, so
that small gradients do not vanish; what would overflow is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from databourse.digests import digest_of_lines
from databourse.errors import InputError, IntegrityError
from databourse.influence.adam_features import AdamSteps, step_features
from databourse.influence.feature_files import (
    BATCHES_FILE,
    DIGEST_BYTES,
    FEATURES_FILE,
    MANIFEST_FILE,
    NOT_DONE,
    OUT_TO_LOSS,
    OUT_TO_LOSS_FILE,
    SCALES_FILE,
    StoreFiles,
    create,
    read_ids,
    replace,
    unsealed,
    write_at,
)
from databourse.influence.feature_manifest import (
    FeatureManifest,
    check_ascending,
    differences,
    manifest_from_json,
    parameter_digest,
)
from databourse.influence.per_example import gradient_features
from databourse.influence.weighted_documents import WeightedDocument
from databourse.language_models.model import LanguageModel
from databourse.manifests.seals import seal
from databourse.progress import ProgressReport, silent

FloatArray = npt.NDArray[np.float64]

_MOST_HALF = 65_504.0  # the largest number of float16


class FeatureBlock(NamedTuple):
    """Rows of a store: ids (b,), features (b, k) float32, Q (b,) float64."""

    document_ids: tuple[str, ...]
    features: npt.NDArray[np.float32]
    out_to_loss: FloatArray


class FeatureWriter:
    """A store that is being filled, by one process; see `feature_writer`.

    Attributes:
        manifest: what its features are.
        document_ids: of its rows.
    """

    def __init__(self, files: StoreFiles, document_ids: tuple[str, ...]) -> None:
        self.manifest, self.document_ids = files.manifest, document_ids
        self._files = files

    def unfinished(self) -> list[int]:
        """Return the batches that are not done, in order."""
        return [place for place, each in enumerate(self._files.digests()) if each == NOT_DONE]

    def ids_of(self, batch: int) -> tuple[str, ...]:
        """Return the document_ids of a batch."""
        return self.document_ids[self._files.rows(batch)]

    def write(self, batch: int, features: npt.NDArray[np.float32], out_to_loss: FloatArray) -> None:
        """Write a batch, all of it; it is done when this returns.

        Args:
            batch: one of `unfinished`; of float16 the first one comes first, for its scales.
            features: shape (b, k), finite.
            out_to_loss: shape (b,), finite.

        Raises:
            InputError: the batch is done or not the next, shapes are wrong, a number is not finite,
                or too large for float16.
        """
        rows = self._files.rows(batch)
        expected = (rows.stop - rows.start, self.manifest.k)
        if features.shape != expected or out_to_loss.shape != expected[:1]:
            raise InputError(
                f"batch {batch} has features of shape {expected} and one Q per row, got "
                f"{features.shape} and {out_to_loss.shape}"
            )
        if batch not in self.unfinished():
            raise InputError(f"batch {batch} is not one that is unfinished")
        if not (np.isfinite(features).all() and np.isfinite(out_to_loss).all()):
            raise InputError(f"features of batch {batch} must be finite; some are not")
        scales = self._scales_for(batch, features)
        scaled = features / scales
        if self.manifest.precision == "float16" and np.abs(scaled).max() > _MOST_HALF:
            row, column = np.unravel_index(int(np.abs(scaled).argmax()), scaled.shape)
            raise InputError(
                f"feature {column} of document {self.ids_of(batch)[int(row)]} is "
                f"{abs(float(scaled[row, column])):.3g} times the root mean square of its layer, "
                "which float16 cannot hold; store in float32"
            )
        stored = scaled.astype(self._files.type).tobytes()
        last = out_to_loss.astype(OUT_TO_LOSS).tobytes()
        folder, width = self._files.folder, self.manifest.k * self._files.type.itemsize
        write_at(folder / FEATURES_FILE, rows.start * width, stored)
        write_at(folder / OUT_TO_LOSS_FILE, rows.start * OUT_TO_LOSS.itemsize, last)
        digest = self._files.digest(batch, stored, last, scales)
        write_at(folder / BATCHES_FILE, batch * DIGEST_BYTES, digest)

    def _scales_for(self, batch: int, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self.manifest.precision == "float32" or batch > 0:
            scales = self._files.scales()
            if scales is None:
                raise InputError("the first batch of a float16 store is written first")
            return scales
        found, start = [], 0
        for width in self.manifest.projection.blocks(self.manifest.shapes).values():
            own = features[:, start : start + width].astype(np.float64)
            found.append(float(np.sqrt((own**2).mean())) or 1.0)  # of a layer without a gradient
            start += width
        content = {"manifest_id": self.manifest.manifest_id, "scales": found}
        replace(self._files.folder / SCALES_FILE, seal(content))
        scales = self._files.scales()
        if scales is None:  # it was just written
            raise IntegrityError(f"{self._files.folder / SCALES_FILE} vanished; try again")
        return scales


@dataclass(frozen=True)
class FeatureStore:
    """Features that are all there; see `read_features`.

    Attributes:
        manifest: what they are.
        document_ids: of the rows, ascending.
    """

    manifest: FeatureManifest
    document_ids: tuple[str, ...]
    _files: StoreFiles

    def blocks(self, batch_documents: int) -> Iterator[FeatureBlock]:
        """Yield all rows in order, so many at a time: memory is bounded by a block and a batch.

        Every batch is checked against its digest as it is read.

        Args:
            batch_documents: rows of a block, >= 1; the last one may have fewer.

        Raises:
            InputError: the number is not positive.
            IntegrityError: rows are not those that were written.
        """
        if batch_documents < 1:
            raise InputError(f"batch_documents must be >= 1, got {batch_documents!r}")
        n, k = self.manifest.n, self.manifest.k
        digests = self._files.digests()
        start, filled = 0, 0
        size = min(batch_documents, n)
        features, out_to_loss = np.empty((size, k), dtype=np.float32), np.empty(size)
        for batch in range(self._files.n_batches):
            own, own_q = self._decoded(batch, digests[batch])
            taken = 0
            while taken < len(own):
                count = min(len(own) - taken, size - filled)
                features[filled : filled + count] = own[taken : taken + count]
                out_to_loss[filled : filled + count] = own_q[taken : taken + count]
                filled, taken = filled + count, taken + count
                if filled == size:
                    ids = self.document_ids[start : start + size]
                    yield FeatureBlock(ids, features, out_to_loss)
                    start, filled = start + size, 0
                    size = min(batch_documents, n - start)
                    features = np.empty((size, k), dtype=np.float32)
                    out_to_loss = np.empty(size)

    def verify(self) -> None:
        """Pass if every batch is what was written.

        Raises:
            IntegrityError: one is not; the first is named.
        """
        for batch, digest in enumerate(self._files.digests()):
            self._files.checked(batch, digest)

    def _decoded(self, batch: int, digest: bytes) -> tuple[npt.NDArray[np.float32], FloatArray]:
        features, out_to_loss = self._files.checked(batch, digest)
        scales = self._files.scales()
        rows = np.frombuffer(features, self._files.type).reshape(-1, self.manifest.k)
        values = rows.astype(np.float32)
        if scales is not None and self.manifest.precision == "float16":
            values *= scales
        return values, np.frombuffer(out_to_loss, OUT_TO_LOSS).astype(np.float64)


def feature_writer(
    folder: Path, manifest: FeatureManifest, document_ids: Sequence[str]
) -> FeatureWriter:
    """Return a writer of a store, new or as far as an earlier run came.

    Args:
        folder: of this pool and checkpoint; created.
        manifest: what is to be written.
        document_ids: those of the manifest.

    Raises:
        InputError: ids are not those of the manifest, or the folder holds other features.
        IntegrityError: what the folder holds is not what was written.
    """
    ids = tuple(document_ids)
    check_ascending(ids)
    if digest_of_lines(ids) != manifest.documents:
        raise InputError(f"document_ids are not the {manifest.n:,} of the manifest")
    files = StoreFiles(folder, manifest)
    if not (folder / MANIFEST_FILE).is_file():
        create(files, ids)
        return FeatureWriter(files, ids)
    found = read_feature_manifest(folder)
    _check_manifest(found, manifest, folder)
    files = StoreFiles(folder, found)  # fingerprints may differ in their last digits
    read_ids(files)
    files.check_sizes()
    for batch, digest in enumerate(files.digests()):
        if digest != NOT_DONE:
            files.checked(batch, digest)
    return FeatureWriter(files, ids)


class BatchFeatures(NamedTuple):
    """Features (b, k) float32 and Q (b,) float64 of the documents of a batch, in their order."""

    features: npt.NDArray[np.float32]
    out_to_loss: FloatArray


@dataclass(frozen=True, eq=False)
class FeatureComputation:
    """What computes the batches of a store, by whatever process has the model loaded.

    Attributes:
        manifest: of the store.
        batch_tokens: as `gradient_features`.
        steps: what turns gradients into Adam's steps where features are of these; the manifest's
            weighting must name it. None for gradients.
    """

    manifest: FeatureManifest
    batch_tokens: int
    steps: AdamSteps | None = None

    def check(self, model: LanguageModel) -> None:
        """Pass if a model is that of the manifest.

        Raises:
            InputError: it has other parameters.
        """
        if parameter_digest(model) != self.manifest.parameters:
            raise InputError(
                f"model {model.model_id} has other parameters than the manifest of "
                f"{self.manifest.pool!r} names ({self.manifest.model_id}); load that checkpoint"
            )

    def of_batch(
        self, model: LanguageModel, documents: Sequence[WeightedDocument], *, threads: int
    ) -> BatchFeatures:
        """Return the features of a batch, whatever the number of threads.

        Raises:
            IntegrityError: a gradient is not finite.
        """
        manifest = self.manifest
        result = BatchFeatures(
            np.empty((len(documents), manifest.k), dtype=np.float32), np.empty(len(documents))
        )
        batches = (
            gradient_features(
                model,
                documents,
                layers=[name for name, *_ in manifest.layers],
                projection=manifest.projection,
                output=manifest.output,
                batch_tokens=self.batch_tokens,
                threads=threads,
            )
            if self.steps is None
            else step_features(
                model,
                documents,
                projection=manifest.projection,
                steps=self.steps,
                batch_tokens=self.batch_tokens,
                threads=threads,
            )
        )
        for found in batches:
            result.features[found.positions] = found.features
            result.out_to_loss[found.positions] = found.out_to_loss
        return result


def fill_features(
    writer: FeatureWriter,
    model: LanguageModel,
    documents_of: Callable[[Sequence[str]], Sequence[WeightedDocument]],
    *,
    batch_tokens: int,
    threads: int,
    progress: ProgressReport = silent,
    steps: AdamSteps | None = None,
) -> None:
    """Compute and write the batches of a store that are not done, in this process.

    Args:
        writer: of the store.
        model: the checkpoint of its manifest.
        documents_of: ids to documents, in the same order.
        batch_tokens, steps: as `FeatureComputation`.
        threads: of it; they change nothing.
        progress: told of finished documents, those of earlier runs included.

    Raises:
        InputError: the model is not that of the manifest, or as `FeatureWriter.write`.
        IntegrityError: a gradient is not finite.
    """
    computation = FeatureComputation(writer.manifest, batch_tokens, steps)
    computation.check(model)
    write_features(
        writer,
        documents_of,
        lambda batches: (
            (batch, computation.of_batch(model, batch, threads=threads)) for batch in batches
        ),
        progress=progress,
    )


def write_features(
    writer: FeatureWriter,
    documents_of: Callable[[Sequence[str]], Sequence[WeightedDocument]],
    computed: Callable[
        [Iterator[Sequence[WeightedDocument]]],
        Iterator[tuple[Sequence[WeightedDocument], BatchFeatures]],
    ],
    *,
    progress: ProgressReport = silent,
) -> None:
    """Write the batches of a store that are not done, in order, as they are computed.

    A document's features depend on its batch by rounding alone, and batches do not depend on where
    a run was interrupted: an interrupted store is, byte for byte, one that was not.

    Args:
        writer: of the store.
        documents_of: ids to documents, in the same order.
        computed: batches to batches with their features, in the same order.
        progress: told of finished documents, those of earlier runs included.

    Raises:
        InputError: as `FeatureWriter.write`.
    """
    unfinished = writer.unfinished()
    progress(writer.manifest.n - sum(len(writer.ids_of(batch)) for batch in unfinished))

    def documents() -> Iterator[Sequence[WeightedDocument]]:
        for batch in unfinished:
            ids = writer.ids_of(batch)
            found = documents_of(ids)
            if len(found) != len(ids):
                raise InputError(f"expected {len(ids):,} documents for as many ids: {len(found):,}")
            yield found

    for batch, (_, found) in zip(unfinished, computed(documents()), strict=True):
        writer.write(batch, *found)
        progress(len(writer.ids_of(batch)))


def read_features(folder: Path, *, expected: FeatureManifest) -> FeatureStore:
    """Return a store all of whose batches are done.

    Rows are checked when they are read, sizes, manifest and ids here.

    Args:
        folder: of the store.
        expected: what the reader takes the features for.

    Raises:
        InputError: the folder holds other features.
        IntegrityError: there is no store, it is not complete, or a file is not what was written.
    """
    if not (folder / MANIFEST_FILE).is_file():
        raise IntegrityError(f"{folder} holds no features; compute them first")
    found = read_feature_manifest(folder)
    _check_manifest(found, expected, folder)
    files = StoreFiles(folder, found)
    ids = read_ids(files)
    files.check_sizes()
    missing = sum(each == NOT_DONE for each in files.digests())
    if missing:
        raise IntegrityError(
            f"{folder} lacks {missing:,} of {files.n_batches:,} batches; run its computation again "
            "to finish it"
        )
    return FeatureStore(found, ids, files)


def read_feature_manifest(folder: Path) -> FeatureManifest:
    """Return what the features of a folder are.

    Raises:
        IntegrityError: there is no manifest, or it was changed.
    """
    return manifest_from_json(unsealed(folder / MANIFEST_FILE))


def _check_manifest(found: FeatureManifest, expected: FeatureManifest, folder: Path) -> None:
    unequal = differences(found, expected)
    if unequal:
        raise InputError(
            f"{folder} holds other features than asked for: they differ in {', '.join(unequal)}; "
            "use another folder, or remove this one"
        )

"""Near dedup by datatrove's four stages, as its documentation says, in its own environment."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter

_NGRAM, _BANDS, _ROWS = 5, 16, 8


def duplicates(documents: Path) -> list[tuple[str, str]]:
    """Return (dropped, kept) document ids, groups being its clusters."""
    config = MinhashConfig(n_grams=_NGRAM, num_buckets=_BANDS, hashes_per_bucket=_ROWS)
    with TemporaryDirectory() as folder:
        parts = Path(folder)
        (parts / "in").mkdir()
        (parts / "in" / "documents.parquet").symlink_to(documents.resolve())

        def read() -> ParquetReader:
            return ParquetReader(str(parts / "in"), id_key="document_id")

        for number, pipeline in enumerate(
            (
                [
                    read(),
                    MinhashDedupSignature(output_folder=f"{folder}/signatures", config=config),
                ],
                [
                    MinhashDedupBuckets(
                        input_folder=f"{folder}/signatures",
                        output_folder=f"{folder}/buckets",
                        config=config,
                    )
                ],
                [
                    MinhashDedupCluster(
                        input_folder=f"{folder}/buckets",
                        output_folder=f"{folder}/clusters",
                        config=config,
                        save_cluster_id=True,
                    )
                ],
                [
                    read(),
                    MinhashDedupFilter(
                        input_folder=f"{folder}/clusters",
                        exclusion_writer=ParquetWriter(f"{folder}/removed"),
                        load_cluster_ids=True,
                    ),
                    ParquetWriter(f"{folder}/kept"),
                ],
            )
        ):
            LocalPipelineExecutor(
                pipeline,
                tasks=_BANDS if number == 1 else 1,
                workers=1,
                logging_dir=f"{folder}/logs/{number}",
            ).run()
        return _pairs_of(parts / "kept", parts / "removed")


def _pairs_of(kept: Path, removed: Path) -> list[tuple[str, str]]:
    stands = {row["cluster"]: row["id"] for row in _metadata(kept)}
    return [(row["id"], stands[row["cluster"]]) for row in _metadata(removed)]


def _metadata(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for path in sorted(folder.glob("**/*.parquet")):
        table = pq.read_table(path, columns=["id", "metadata"])
        for own, metadata in zip(
            *(table[name].to_pylist() for name in table.schema.names), strict=True
        ):
            cluster = metadata.get("minhash_cluster_id", -1)
            if cluster != -1:
                rows.append({"id": own, "cluster": cluster})
    return rows

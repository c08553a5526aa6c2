"""From arrivals to the snapshot: tokens counted, duplicates dropped, decisions in the ledger."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pyarrow as pa

from databourse.config import DeduplicateConfig, RefreshConfig
from databourse.dedup.removed_share import (
    DuplicateGroup,
    Part,
    largest_groups,
    over_allowed_share,
    removed_share_error,
)
from databourse.dedup.semantic import find_semantic_duplicates
from databourse.digests import digest_of_lines
from databourse.engines import LOCAL, Engine
from databourse.errors import ConfigError, IntegrityError
from databourse.progress import ProgressReport
from databourse.queries import materialise, query
from databourse.refresh.embedding import snapshot_vectors
from databourse.refresh.near_duplicates import find_near_duplicates
from databourse.tokenization import Tokenizer
from databourse.warehouse.store import Warehouse, append, insert_query


def count_tokens(
    warehouse: Warehouse,
    tokenizer: Tokenizer,
    *,
    run_id: str,
    batch_documents: int,
    advance: ProgressReport,
) -> tuple[int, int]:
    """Count the tokens of this run's documents that were not counted yet.

    Returns:
        Distinct documents of the run, and how many of them were counted now.
    """
    arrived, missing = _uncounted(warehouse, run_id, tokenizer.tokenizer_id)
    for batch in warehouse.texts_of(missing, batch_documents=batch_documents):
        rows = {
            "document_id": batch["document_id"],
            "tokenizer_id": pa.array([tokenizer.tokenizer_id] * batch.num_rows, pa.string()),
            "tokens": pa.array(tokenizer.count_tokens(batch["text"].to_pylist())),
        }
        with warehouse.transaction() as cursor:
            append(cursor, "token_counts", pa.table(rows))
        advance(batch.num_rows)
    return arrived, len(missing)


def drop_exact_duplicates(
    warehouse: Warehouse, *, run_id: str, tokenizer_id: str
) -> tuple[int, int]:
    """Keep one arrival of each document; put the others, and rejected rows, into the ledger.

    Returns:
        Arrivals, and the distinct documents that stay.
    """
    settings = {"run_id": run_id, "tokenizer_id": tokenizer_id}
    _forget(warehouse, run_id, "ingest", "exact_dedup")
    with warehouse.transaction() as cursor:
        materialise(cursor, "stg_run__arrivals", settings)
        materialise(cursor, "int_arrivals_ranked", settings)
        insert_query(cursor, "decisions", "stg_run__rejections", settings)
        dropped = insert_query(cursor, "decisions", "mart_exact_duplicates_decided", settings)
        kept = insert_query(cursor, "pool_documents", "mart_pool_documents", settings)
    return kept + dropped, kept


def drop_near_duplicates(
    warehouse: Warehouse,
    settings: DeduplicateConfig,
    *,
    run_id: str,
    root_seed: int,
    threads: int,
    advance: ProgressReport,
    engine: Engine = LOCAL,
    threads_elsewhere: int = 1,
) -> tuple[int, int, int]:
    """Put documents that another one nearly repeats into the ledger, and guard every source.

    Returns:
        Documents before, the documents that stay, and those that a limit kept from a comparison.

    Raises:
        DedupError: exact and near dedup together remove more of a source or a label than allowed.
    """
    documents = warehouse.rows("stg_run__pool_documents", {"run_id": run_id})
    dropped = limited = 0
    if settings.near:
        found = find_near_duplicates(
            warehouse,
            settings.near,
            document_ids=documents["document_id"].combine_chunks(),
            root_seed=root_seed,
            threads=threads,
            advance=advance,
            engine=engine,
            threads_elsewhere=threads_elsewhere,
        )
        dropped, limited = found.duplicates.num_rows, found.n_limited
        _forget(warehouse, run_id, "near_dedup")
        with warehouse.transaction() as cursor:
            cursor.register("near_duplicates", found.duplicates)
            insert_query(cursor, "decisions", "mart_near_duplicates_decided", {"run_id": run_id})
    _guard_parts(warehouse, run_id, settings)
    return documents.num_rows, documents.num_rows - dropped, limited


def drop_semantic_duplicates(
    warehouse: Warehouse,
    settings: DeduplicateConfig,
    *,
    run_id: str,
    snapshot_id: str,
    encoder_id: str,
    threads: int,
    advance: ProgressReport,
) -> tuple[int, int]:
    """Put documents that another one says in other words into the ledger, and guard every source.

    Args:
        warehouse: holds the documents and their vectors.
        settings: with `semantic`.
        run_id: of the refresh.
        snapshot_id: of the documents that are left.
        encoder_id: whose vectors are compared.
        threads: change nothing.
        advance: told the number of documents compared.

    Returns:
        Documents before, and the documents that stay.

    Raises:
        ConfigError: `settings.semantic` is off.
        DedupError: all dedup together removes more of a source or a label than allowed.
        IntegrityError: a document has no vector.
    """
    if not settings.semantic:
        raise ConfigError("deduplicate.semantic is off; there is nothing to compare")
    members = warehouse.rows("stg_snapshot__characters", {"snapshot_id": snapshot_id})
    if members.num_rows == 0:
        return 0, 0
    vectors = snapshot_vectors(warehouse, snapshot_id=snapshot_id, encoder_id=encoder_id)
    if len(vectors) != members.num_rows:
        raise IntegrityError(
            f"{warehouse.root} holds vectors of {len(vectors):,} of {members.num_rows:,} "
            "documents; run again"
        )
    duplicates = find_semantic_duplicates(
        members["document_id"].combine_chunks(),
        vectors,
        members["characters"].to_numpy(),
        threshold=settings.semantic.threshold,
        workers=threads,
        progress=advance,
    )
    _forget(warehouse, run_id, "semantic_dedup")
    with warehouse.transaction() as cursor:
        cursor.register("semantic_duplicates", duplicates)
        insert_query(cursor, "decisions", "mart_semantic_duplicates_decided", {"run_id": run_id})
    _guard_parts(warehouse, run_id, settings)
    return members.num_rows, members.num_rows - duplicates.num_rows


def removed_share_limits(config: RefreshConfig) -> dict[str, float | None]:
    """Return what the contract of the documents needs to know of the guards."""
    limits = config.deduplicate
    return {
        "max_removed_share_per_source": limits.max_removed_share_per_source,
        "max_removed_share_per_label": limits.max_removed_share_per_label,
    }


def take_snapshot(warehouse: Warehouse, *, run_id: str) -> tuple[str, int]:
    """Store the documents that are left under the digest of their ids; return it, and how many."""
    survivors = warehouse.rows("stg_run__survivors", {"run_id": run_id})["document_id"]
    snapshot_id = digest_of_lines(survivors.to_pylist())[:32]
    if not warehouse.rows("stg_snapshot__members", {"snapshot_id": snapshot_id}).num_rows:
        rows = {
            "snapshot_id": pa.array([snapshot_id] * len(survivors), pa.string()),
            "document_id": survivors,
        }
        with warehouse.transaction() as cursor:
            append(cursor, "snapshots", pa.table(rows))
    return snapshot_id, len(survivors)


def _uncounted(warehouse: Warehouse, run_id: str, tokenizer_id: str) -> tuple[int, pa.Array]:
    settings = {"run_id": run_id, "tokenizer_id": tokenizer_id}
    with warehouse.transaction() as cursor:
        materialise(cursor, "stg_run__arrivals", settings)
        arrived = cursor.execute(
            "select count(distinct document_id) from stg_run__arrivals"
        ).fetchall()[0][0]
        uncounted = cursor.sql(
            query("stg_run__uncounted_documents"), params={"tokenizer_id": tokenizer_id}
        ).to_arrow_table()
    return arrived, uncounted["document_id"].combine_chunks()


def _forget(warehouse: Warehouse, run_id: str, *stages: str) -> None:
    """Remove what an earlier try of the same stage of the same run wrote.

    In a transaction of its own: DuckDB refuses a key that was deleted in the same one.
    """
    with warehouse.transaction() as cursor:
        cursor.execute(
            "delete from decisions where run_id = $run_id and stage in (select unnest($stages))",
            {"run_id": run_id, "stages": list(stages)},
        )
        if "exact_dedup" in stages:
            cursor.execute("delete from pool_documents where run_id = $run_id", {"run_id": run_id})


def _guard_parts(warehouse: Warehouse, run_id: str, settings: DeduplicateConfig) -> None:
    _guard(warehouse, run_id, "source", settings.max_removed_share_per_source)
    if settings.max_removed_share_per_label is not None:
        _guard(warehouse, run_id, "label", settings.max_removed_share_per_label)


def _guard(warehouse: Warehouse, run_id: str, part: Part, allowed_share: float) -> None:
    """Stop the run if a source or a label loses too much; name its largest groups."""
    removed: dict[str, int] = defaultdict(int)
    groups: dict[str, list[DuplicateGroup]] = defaultdict(list)
    arrivals: dict[str, int] = {}
    with warehouse.transaction() as cursor:
        materialise(cursor, "stg_run__arrivals", {"run_id": run_id})
        counted = cursor.sql(query("int_arrivals_counted"), params={"part": part}).to_arrow_table()
        dropped = cursor.sql(
            query("int_duplicates_counted"), params={"run_id": run_id, "part": part}
        ).to_arrow_table()
    for row in counted.to_pylist():
        arrivals[row["name"]] = row["arrived_rows"]
    for row in dropped.to_pylist():
        removed[row["name"]] += row["dropped_rows"]
        groups[row["name"]].append(DuplicateGroup(row["representative_id"], row["dropped_rows"]))
    over = over_allowed_share(removed, arrivals, allowed_share=allowed_share)
    if over:
        shown = largest_groups(groups[over[0]])
        ids = pa.array([each.representative_id for each in shown], pa.string())
        texts = {
            row["document_id"]: row["text"]
            for batch in warehouse.texts_by_shard(ids)
            for row in batch.to_pylist()
        }
        raise removed_share_error(
            part,
            over,
            removed=removed[over[0]],
            arrivals=arrivals[over[0]],
            allowed_share=allowed_share,
            groups=[replace(each, text=texts[each.representative_id]) for each in shown],
        )

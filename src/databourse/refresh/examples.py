"""Examples beside the pool: of targets, and protected texts that must not be in it.

They are read, kept and embedded as documents are, but no source of the run is made of them, so that
none can be bought.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from databourse.config import RefreshConfig
from databourse.config_sources import FilesConfig, ProtectedConfig
from databourse.digests import digest_of
from databourse.errors import ConfigError, IntegrityError, SourceError
from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext
from databourse.refresh.embedding import embed_texts, vectors_of
from databourse.refresh.ingestion import nothing_read_error, read_part
from databourse.refresh.settings import encoder_of, open_configured_source
from databourse.targets import TargetSet
from databourse.warehouse.store import Warehouse, append

ExampleKind = Literal["target", "protected", "test", "settlement"]

_OF_ITS_OWN = frozenset({"name", "path", "label", "labels", "part"})
"""What protected files that are given as paths alone do not take over from the first source."""

_BY_PATH = "protected"
"""What protected files are called that the config gives as paths alone."""


def protected_sections(config: RefreshConfig) -> tuple[ProtectedConfig, ...]:
    """Return what the config protects beside its targets, each as a section of its own.

    Raises:
        ConfigError: a path stands alone, and no source of files says how its rows are read.
    """
    against = config.decontaminate.against
    paths = tuple(each for each in against if isinstance(each, str))
    sections = tuple(each for each in against if not isinstance(each, str))
    if not paths:
        return sections
    model = next((each for each in config.sources if each.kind == "files"), None)
    if model is None:
        raise ConfigError(
            f"decontaminate.against names the path {paths[0]!r} and no source of files says how "
            "its rows are read; write {name: NAME, path: FILE, text: TEMPLATE} in its place"
        )
    shape = model.model_dump(include=set(FilesConfig.model_fields) - _OF_ITS_OWN)
    return (ProtectedConfig(name=_BY_PATH, path=paths, **shape), *sections)


def example_sections(config: RefreshConfig) -> dict[ExampleKind, tuple[FilesConfig, ...]]:
    """Return every section of examples, by their kind."""
    return {
        "target": config.targets,
        "protected": protected_sections(config),
        "test": config.compare.test,
        "settlement": config.settlement.targets,
    }


def read_examples(
    warehouse: Warehouse, run: RunContext, *, kind: ExampleKind, advance: ProgressReport
) -> int:
    """Read what is new in the examples of a kind, and write down which files the run stands on.

    Returns:
        Rows read in all.

    Raises:
        SourceError: a file or one of its rows cannot be read, or a set has not one example.
    """
    with warehouse.transaction() as cursor:
        cursor.execute(
            "delete from example_files where run_id = $run_id and kind = $kind",
            {"run_id": run.run_id, "kind": kind},
        )
    rows = 0
    for position, section in enumerate(example_sections(run.config)[kind]):
        parts = open_configured_source(run.config, section, Path(run.root)).parts()
        found = []
        for part in parts:
            row = read_part(
                warehouse,
                part,
                batch_documents=run.config.compute.batch_documents,
                workers=run.config.compute.threads,
                advance=advance,
            )
            found.append(
                {
                    **row,
                    "run_id": run.run_id,
                    "kind": kind,
                    "name": section.name,
                    "position": position,
                }
            )
        read = sum(int(each["rows"]) for each in found)
        refused = sum(int(each["rejected_rows"]) for each in found)
        if read == refused:
            raise nothing_read_error(warehouse, section.name, parts, n_rows=read)
        if refused:
            raise SourceError(_unreadable(warehouse, section, found, refused, read))
        with warehouse.transaction() as cursor:
            append(cursor, "example_files", pa.Table.from_pylist(found))
        rows += read
    return rows


def _unreadable(
    warehouse: Warehouse,
    section: FilesConfig,
    files: Sequence[Mapping[str, object]],
    refused: int,
    read: int,
) -> str:
    """Return why a set with rows that cannot be read is refused: they would not be protected."""
    reasons = warehouse.rows(
        "int_rejections_counted", {"file_ids": [each["file_id"] for each in files]}
    ).to_pylist()
    first = reasons[0]
    return (
        f"{section.what} {section.name!r} has {refused:,} of {read:,} rows that cannot be read "
        f"({first['reason']}: {first['first_detail']}), and what is not read cannot be kept out of "
        "the pool; mend or remove them"
    )


def stored_examples(warehouse: Warehouse, run_id: str, kind: ExampleKind) -> pa.Table:
    """Return name, document_id, label, prompt_characters: sets as configured, then by id."""
    return warehouse.rows("stg_run__examples", {"run_id": run_id, "kind": kind})


def n_shared(examples: pa.ChunkedArray, others: pa.ChunkedArray) -> int:
    """Return how many of some ids are among others."""
    known = pa.compute.is_in(examples, value_set=others.combine_chunks())
    return int(pa.compute.sum(known).as_py() or 0)


def targets_id(warehouse: Warehouse, run_id: str) -> str:
    """Return the digest of all that targets say: names, examples, labels, and where prompts end."""
    return digest_of(stored_examples(warehouse, run_id, "target").to_pylist())[:32]


def embed_examples(
    warehouse: Warehouse, run: RunContext, *, kind: ExampleKind, advance: ProgressReport
) -> int:
    """Embed the examples of a kind that have no vector yet; return how many they were."""
    encoder = encoder_of(run)
    examples = stored_examples(warehouse, run.run_id, kind)["document_id"].unique()
    known = vectors_of(warehouse, examples, encoder_id=encoder.encoder_id)["document_id"]
    missing = examples.filter(pa.compute.invert(pa.compute.is_in(examples, value_set=known)))
    return embed_texts(warehouse, run, encoder, missing, advance=advance)


def target_sets(
    warehouse: Warehouse,
    run: RunContext,
    *,
    encoder_id: str | None,
    kind: ExampleKind = "target",
) -> tuple[TargetSet, ...]:
    """Return the targets of a run in the order of the config, examples in order of their ids.

    Args:
        warehouse: that holds them.
        run: that read them.
        kind: test sets have the same form.
        encoder_id: of the vectors they come with; None for none.

    Raises:
        IntegrityError: an example has no vector.
    """
    examples = stored_examples(warehouse, run.run_id, kind)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(examples["name"].to_pylist()):
        rows_of[name].append(row)
    return tuple(
        _target_set(warehouse, run, name, examples.take(rows), encoder_id)
        for name, rows in rows_of.items()
    )


def _target_set(
    warehouse: Warehouse,
    run: RunContext,
    name: str,
    examples: pa.Table,
    encoder_id: str | None,
) -> TargetSet:
    wanted = examples["document_id"].combine_chunks()
    batches = warehouse.texts_of(wanted, batch_documents=run.config.compute.batch_documents)
    target = TargetSet(
        name=name,
        texts=tuple(text for batch in batches for text in batch["text"].to_pylist()),
        labels=np.array(examples["label"].to_pylist(), dtype=np.object_),
        prompt_characters=np.array(
            [cut or 0 for cut in examples["prompt_characters"].to_pylist()], dtype=np.int64
        ),
    )
    if encoder_id is None:
        return target
    vectors = vectors_of(warehouse, wanted, encoder_id=encoder_id)
    if vectors.num_rows != len(wanted):
        raise IntegrityError(
            f"{warehouse.root} holds vectors of {vectors.num_rows:,} of {len(wanted):,} examples "
            f"of target {name!r}; move the warehouse away and run again"
        )
    flat = vectors["vector"].combine_chunks().flatten().to_numpy()
    return dataclasses.replace(target, embeddings=flat.reshape(len(wanted), -1))

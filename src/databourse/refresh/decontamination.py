"""Keep what a model is judged by out of the pool: the last stage before the snapshot."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from databourse.config_sources import DecontaminateConfig
from databourse.decontamination.overlap import (
    RULE_REVISION,
    Contamination,
    find_contaminated,
)
from databourse.decontamination.planted import PlantedLeak, drawn_examples, planted_leaks
from databourse.decontamination.protected import ProtectedText
from databourse.decontamination.removed_share import check_removed_shares
from databourse.digests import canonical_json
from databourse.manifests.model import (
    DecontaminationProof,
    DecontaminationSelfTest,
    PlantedLeaks,
    ProtectedSetRecord,
)
from databourse.progress import ProgressReport
from databourse.refresh.examples import ExampleKind, stored_examples
from databourse.seeds import stage_rng
from databourse.warehouse.store import Warehouse, insert_query

STAGE = "decontaminate"
SELF_TEST_EXAMPLES = 200
_SELF_TEST_WORDS = 50_000  # of these examples: seconds, even where they are whole books
_BEFORE = "zzfirst zzsecond zzthird zzfourth"  # words of no language: they share nothing
_AFTER = "zzfifth zzsixth zzseventh zzeighth"


@dataclass(frozen=True)
class Decontaminated:
    """What the stage did.

    Attributes:
        n_documents: documents that came in.
        n_kept: documents that stay.
        n_examples: protected examples.
        proof: for the manifest; None if there was no protected example, so that nothing was
            compared.
    """

    n_documents: int
    n_kept: int
    n_examples: int
    proof: DecontaminationProof | None

    def proof_json(self) -> str:
        """Return the proof as canonical JSON; `null` if there is none."""
        return canonical_json(None if self.proof is None else self.proof.model_dump(mode="json"))


def decontaminate(
    warehouse: Warehouse,
    protected: Iterable[ProtectedText],
    settings: DecontaminateConfig,
    *,
    run_id: str,
    root_seed: int,
    batch_documents: int,
    advance: ProgressReport,
) -> Decontaminated:
    """Put documents that repeat protected text into the ledger, unless a source loses too much.

    Args:
        warehouse: the open warehouse; duplicates of the run are decided on.
        protected: the examples of every evaluation set and target.
        settings: how they are compared.
        run_id: of the run.
        root_seed: draws the examples that the self-test of the proof plants.
        batch_documents: documents read at a time.
        advance: told of the documents compared.

    Raises:
        DecontaminationError: a source would lose more than `max_removed_share_per_source` of its
            documents; nothing is written.
        InputError: an example has two texts, or nothing visible.
    """
    forget_decontamination(warehouse, run_id)
    documents = warehouse.rows("stg_run__survivors", {"run_id": run_id})
    examples = list(protected)
    if not examples:
        advance(documents.num_rows)
        return Decontaminated(documents.num_rows, documents.num_rows, 0, None)
    leaks = self_test_leaks(examples, settings, root_seed=root_seed)
    found = find_contaminated(
        _texts(warehouse, documents, batch_documents),
        examples,
        ngram=settings.ngram,
        overlap=settings.overlap,
        long_ngram=settings.long_ngram,
        short_words=settings.short_words,
        numbers=settings.numbers,
        template_examples=settings.template_examples,
        near_ngram=settings.near_ngram,
        near_overlap=settings.near_overlap,
        leaks=leaks,
        progress=advance,
    )
    _guard_sources(warehouse, run_id, documents, found, settings.max_removed_share_per_source)
    with warehouse.transaction() as cursor:
        cursor.register("contaminated", found.documents)
        insert_query(cursor, "decisions", "mart_contaminated_decided", {"run_id": run_id})
    return Decontaminated(
        documents.num_rows,
        documents.num_rows - found.documents.num_rows,
        len(examples),
        decontamination_proof(
            found, settings, n_planted_examples=len({leak.example for leak in leaks})
        ),
    )


def self_test_leaks(
    examples: Sequence[ProtectedText], settings: DecontaminateConfig, *, root_seed: int
) -> list[PlantedLeak]:
    """Return leaks of at most 200 protected examples, to be looked for as documents are.

    Which examples, and what is changed, depends on the examples and the seed alone.
    """
    rng = stage_rng(root_seed, STAGE, "self_test")
    drawn = drawn_examples(
        examples, at_most=SELF_TEST_EXAMPLES, most_words=_SELF_TEST_WORDS, rng=rng
    )
    return planted_leaks(
        drawn, least_words=settings.ngram, around=lambda _: (_BEFORE, _AFTER), rng=rng
    )


def protected_examples(
    warehouse: Warehouse, run_id: str, *, batch_documents: int
) -> Iterator[ProtectedText]:
    """Yield every example that a run read: of its targets, then of `decontaminate.against`.

    An example is known by the name of its set and the document_id of its text.
    """
    kinds: tuple[ExampleKind, ...] = ("target", "protected", "test", "settlement")
    for kind in kinds:
        examples = stored_examples(warehouse, run_id, kind)
        sets: dict[str, list[tuple[str, int | None]]] = defaultdict(list)
        for row in examples.to_pylist():
            sets[row["document_id"]].append((row["name"], row["prompt_characters"]))
        wanted = pa.array(sorted(sets), pa.string())
        for batch in warehouse.texts_of(wanted, batch_documents=batch_documents):
            for row in batch.to_pylist():
                for name, cut in sets[row["document_id"]]:
                    yield ProtectedText(name, row["document_id"], row["text"], cut)


def decontamination_proof(
    found: Contamination, settings: DecontaminateConfig, *, n_planted_examples: int
) -> DecontaminationProof:
    """Return what the manifest says of decontamination: the rule, the sets, what was dropped.

    It has no text of an example: a manifest must not spread what it keeps out of training.
    """
    reasons = Counter(found.documents["reason"].to_pylist())
    parameters = settings.model_dump(
        mode="json", exclude={"against", "max_removed_share_per_source"}
    )
    return DecontaminationProof(
        rule_revision=RULE_REVISION,
        parameters=parameters,
        documents=found.n_documents,
        dropped=found.documents.num_rows,
        dropped_by_reason={reason: reasons[reason] for reason in sorted(reasons)},
        sets=tuple(
            ProtectedSetRecord(
                name=each.name,
                digest=each.digest,
                examples=each.n_examples,
                examples_found=each.n_examples_found,
                ngrams=each.n_ngrams,
                documents_dropped=each.n_documents,
            )
            for each in found.sets
        ),
        self_test=DecontaminationSelfTest(
            examples=n_planted_examples,
            kinds=tuple(
                PlantedLeaks(
                    kind=each.kind,
                    leaks=each.n_leaks,
                    found=each.n_found,
                    recall=each.n_found / each.n_leaks,
                )
                for each in found.recall
            ),
        ),
    )


def forget_decontamination(warehouse: Warehouse, run_id: str) -> None:
    """Remove what an earlier try of the stage wrote in the same run.

    In a transaction of its own: DuckDB refuses a key that was deleted in the same one.
    """
    with warehouse.transaction() as cursor:
        cursor.execute(
            "delete from decisions where run_id = $run_id and stage = $stage",
            {"run_id": run_id, "stage": STAGE},
        )


def _texts(
    warehouse: Warehouse, documents: pa.Table, batch_documents: int
) -> Iterator[tuple[list[str], list[str]]]:
    wanted = documents["document_id"].combine_chunks()
    for batch in warehouse.texts_of(wanted, batch_documents=batch_documents):
        yield batch["document_id"].to_pylist(), batch["text"].to_pylist()


def _guard_sources(
    warehouse: Warehouse,
    run_id: str,
    documents: pa.Table,
    found: Contamination,
    allowed_share: float,
) -> None:
    of_pool = warehouse.rows("stg_run__pool_documents", {"run_id": run_id})
    check_removed_shares(
        _by_source(of_pool, found.documents),
        _by_source(of_pool, documents),
        allowed_share=allowed_share,
        sets={each.name: each.n_documents for each in found.sets},
        frequent=[(each.words, each.n_documents) for each in found.frequent],
    )


def _by_source(of_pool: pa.Table, documents: pa.Table) -> Mapping[str, int]:
    is_wanted = pa.compute.is_in(of_pool["document_id"], value_set=documents["document_id"])
    counts = pa.compute.value_counts(of_pool["source"].filter(is_wanted))
    return {each["values"]: each["counts"] for each in counts.to_pylist()}

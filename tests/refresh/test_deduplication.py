"""From arrivals to the snapshot: who speaks for a document, and what the ledger says."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from databourse.config import DeduplicateConfig, NearDuplicates
from databourse.dedup.exact import surviving_arrivals
from databourse.digests import digest_of_lines, document_id
from databourse.encoders.hashing import HashingEncoder
from databourse.errors import ConfigError, DedupError, IntegrityError
from databourse.progress import silent
from databourse.queries import materialise
from databourse.refresh.context import RunContext
from databourse.refresh.deduplication import (
    count_tokens,
    drop_exact_duplicates,
    drop_near_duplicates,
    drop_semantic_duplicates,
    take_snapshot,
)
from databourse.refresh.embedding import embed_documents
from databourse.tokenization import load_tokenizer
from databourse.warehouse.store import append
from tests.refresh.conftest import model_config

LONG = " ".join(f"word{n}" for n in range(60))


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("default")


@pytest.fixture
def dedup(warehouse, tokenizer):
    def dedup(run_id="run", **settings):
        count_tokens(warehouse, tokenizer, run_id=run_id, batch_documents=10, advance=silent)
        exact = drop_exact_duplicates(warehouse, run_id=run_id, tokenizer_id=tokenizer.tokenizer_id)
        near = drop_near_duplicates(
            warehouse,
            DeduplicateConfig(**settings),
            run_id=run_id,
            root_seed=1,
            threads=1,
            advance=silent,
        )
        return exact, near, take_snapshot(warehouse, run_id=run_id)

    return dedup


def test_the_ledger_names_who_stands_for_a_duplicate(ingest, dedup, query):
    near = LONG + " more"
    ingest([{"text": "short one"}, {"text": LONG}, {"text": near}, {"text": LONG, "label": "x"}])

    exact, after_near, (snapshot_id, documents) = dedup()

    assert exact == (4, 3)
    assert after_near == (3, 2, 0)
    kept = sorted([document_id("short one"), document_id(near)])
    assert (snapshot_id, documents) == (digest_of_lines(kept)[:32], 2)
    assert query(
        "select locator, stage, reason, representative_id from decisions order by locator"
    ) == [
        ("rows.jsonl#1", "exact_dedup", "exact_duplicate", document_id(LONG)),
        ("rows.jsonl#3", "near_dedup", "near_duplicate", document_id(near)),
    ]
    similarity = query("select value from decisions where stage = 'near_dedup'")[0][0]
    assert similarity == pytest.approx(56 / 57)  # 60 words: 56 shingles, of 57 in the longer text


def test_the_labelled_arrival_speaks_for_a_document_whatever_the_order(ingest, dedup, query):
    arrivals = [
        {"text": "same", "note": 1},
        {"text": "same", "label": "b", "note": 1},
        {"text": "same", "label": "a", "note": 2},
        {"text": "same", "label": "a", "note": 1},
    ]
    for number, order in enumerate(itertools.permutations(arrivals)):
        run = f"run-{number}"
        ingest(order, run_id=run)
        dedup(run, near=False, max_removed_share_per_source=1.0)
        chosen = query("select label, metadata::varchar from pool_documents where run_id = ?", run)
        assert chosen == [("a", '{"note":1}')]


def test_the_query_and_its_plain_twin_choose_the_same_arrivals(warehouse):
    rng = np.random.default_rng(3)
    n_arrivals = 400
    optional = [None, "", "B", "a", "\u00e9", "\U0001f600", '{"n":2}', '{"n":10}']
    arrivals = pa.table(
        {
            "document_id": [f"{n:032d}" for n in rng.integers(0, 40, n_arrivals)],
            "source": ["rows"] * n_arrivals,
            "source_rank": pa.array(rng.integers(0, 2, n_arrivals), pa.int32()),
            "locator": [f"f#{n}" for n in rng.permutation(n_arrivals)],
            "label": [optional[n] for n in rng.integers(0, len(optional), n_arrivals)],
            "prompt_characters": [[None, 2, 10][n] for n in rng.integers(0, 3, n_arrivals)],
            "metadata": [optional[n] for n in rng.integers(0, len(optional), n_arrivals)],
        }
    )
    ids = sorted(set(arrivals["document_id"].to_pylist()))
    counts = pa.table(
        {"document_id": ids, "tokenizer_id": ["t"] * len(ids), "tokens": [1] * len(ids)}
    )
    with warehouse.transaction() as cursor:
        append(cursor, "token_counts", counts)
        cursor.register("stg_run__arrivals", arrivals)
        materialise(cursor, "int_arrivals_ranked", {"tokenizer_id": "t"})
        chosen = cursor.execute(
            "select locator from int_arrivals_ranked where arrival_rank = 1 order by document_id"
        ).fetchall()

    expected = arrivals["locator"].take(pa.array(surviving_arrivals(arrivals))).to_pylist()
    assert [locator for (locator,) in chosen] == expected


def test_the_earlier_source_keeps_a_document(ingest, dedup, query):
    ingest([{"text": "same", "label": "z"}], source="first", rank=0, file="z.jsonl")
    ingest([{"text": "same", "label": "a"}, {"text": "x"}], source="later", rank=1, file="a.jsonl")

    dedup(near=False)

    assert query("select source, label from pool_documents where label = 'z'") == [("first", "z")]
    assert query("select source, locator from decisions") == [("later", "a.jsonl#0")]


def test_a_stage_that_is_tried_again_decides_the_same(ingest, dedup, query):
    ingest([{"text": LONG}, {"text": LONG + " more"}, {"text": LONG}, {"text": "b"}, {"text": "c"}])
    dedup(near=NearDuplicates())
    before = query("select * from decisions order by locator")
    dedup(near=NearDuplicates())
    assert query("select * from decisions order by locator") == before
    assert query("select count(*) from snapshots") == [(3,)]


def test_documents_without_a_token_are_dropped_with_that_reason(ingest, dedup, query):
    ingest([{"text": "\u0001\u0002"}, {"text": "one"}])
    dedup(near=False)
    assert query("select reason, representative_id from decisions") == [("no_tokens", None)]


def test_a_source_that_loses_too_much_stops_the_run(ingest, dedup):
    ingest([{"text": "same"}] * 3 + [{"text": "other"}])
    with pytest.raises(DedupError, match=r"2 of 4 arrivals .* source 'rows'.*\(2: 'same'\)"):
        dedup(near=False, max_removed_share_per_source=0.4)


def test_a_label_that_loses_too_much_stops_the_run(ingest, dedup):
    ingest(
        [{"text": LONG, "label": "a"}, {"text": "b", "label": "b"}, {"text": "c", "label": "b"}]
        + [{"text": LONG + " " + end, "label": "rare"} for end in ("x", "y y")]
        + [{"text": f"kept {number}"} for number in range(5)]
    )
    longest = document_id(LONG + " y y")
    assert dedup(max_removed_share_per_label=1.0)[1] == (10, 8, 0)
    with pytest.raises(
        DedupError,
        match=rf"1 of 1 arrivals \(100.0%\) of label 'a'; .*{longest} \(1: 'word0 word1 ",
    ):
        dedup(max_removed_share_per_label=0.5)


SAID = "the harbour was closed because a storm came over the keel"
TWICE = f"{SAID} {SAID}"  # the same words in the same order: 8 of 20 shingles differ


@pytest.fixture
def semantic(warehouse, dedup, tmp_path):
    """Return a function that drops exact, near and semantic duplicates of a run."""

    left = {}  # of each run, before this stage: a stage that is tried again gets the same

    def semantic(run_id="run", threads=1, threshold=0.9, **settings):
        encoder = HashingEncoder()
        snapshot_id, documents = left.get(run_id) or dedup(run_id, **settings)[2]
        left[run_id] = snapshot_id, documents
        config = model_config(encoder="hashing", compute={"threads": 1, "batch_documents": 2})
        embed_documents(
            warehouse,
            RunContext(run_id, "tiny", str(tmp_path), config),
            encoder,
            snapshot_id=snapshot_id,
            n_documents=documents,
            advance=silent,
        )
        return drop_semantic_duplicates(
            warehouse,
            DeduplicateConfig(semantic={"threshold": threshold}, **settings),
            run_id=run_id,
            snapshot_id=snapshot_id,
            encoder_id=encoder.encoder_id,
            threads=threads,
            advance=silent,
        )

    return semantic


def test_a_semantic_duplicate_has_its_own_reason_and_its_cosine(ingest, semantic, query, warehouse):
    ingest([{"text": SAID}, {"text": "bread and butter"}, {"text": TWICE}])

    assert semantic() == (3, 2)

    decided = query("select locator, stage, reason, representative_id, value from decisions")
    assert [row[:4] for row in decided] == [
        ("rows.jsonl#0", "semantic_dedup", "semantic_duplicate", document_id(TWICE))
    ]
    assert 0.9 < decided[0][4] < 1
    kept = sorted([document_id("bread and butter"), document_id(TWICE)])
    assert take_snapshot(warehouse, run_id="run") == (digest_of_lines(kept)[:32], 2)
    semantic(threads=2)  # tried again: it forgets what it decided
    assert (
        query("select locator, stage, reason, representative_id, value from decisions") == decided
    )


def test_without_a_duplicate_by_meaning_all_stay(ingest, semantic, query):
    ingest([{"text": SAID}, {"text": TWICE}])
    assert semantic(threshold=1.0) == (2, 2)
    assert query("select count(*) from decisions") == [(0,)]


def test_the_guard_counts_semantic_duplicates_too(ingest, semantic):
    texts = [SAID, TWICE, f"bread {TWICE} {SAID}", "bread", "butter"]
    ingest([{"text": text, "label": "a"} for text in [*texts, SAID]])
    with pytest.raises(DedupError, match=r"3 of 6 arrivals \(50.0%\) of source 'rows'"):
        semantic(max_removed_share_per_source=0.4)
    with pytest.raises(DedupError, match=r"3 of 6 arrivals \(50.0%\) of label 'a'"):
        semantic(max_removed_share_per_label=0.4)


def test_a_document_without_a_vector_is_an_error_and_no_document_is_none(
    ingest, semantic, warehouse, query
):
    ingest([{"text": SAID}, {"text": TWICE}])
    semantic()
    query("delete from embeddings where document_id = ?", document_id(TWICE))
    with pytest.raises(IntegrityError, match="vectors of 1 of 2 documents"):
        drop_semantic_duplicates(
            warehouse,
            DeduplicateConfig(semantic={}),
            run_id="run",
            snapshot_id=query(
                "select max(snapshot_id) from snapshots group by snapshot_id having count(*) = 2"
            )[0][0],
            encoder_id=HashingEncoder().encoder_id,
            threads=1,
            advance=silent,
        )
    with pytest.raises(ConfigError, match="semantic is off"):
        drop_semantic_duplicates(
            warehouse,
            DeduplicateConfig(),
            run_id="run",
            snapshot_id="none",
            encoder_id="none",
            threads=1,
            advance=silent,
        )

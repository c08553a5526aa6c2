"""What is protected leaves the pool before the snapshot, with a decision and a proof."""

import json

import pytest

from databourse.config import DeduplicateConfig, RefreshConfig
from databourse.config_sources import DecontaminateConfig
from databourse.decontamination.protected import ProtectedText
from databourse.decontamination.removed_share import DecontaminationError
from databourse.digests import document_id
from databourse.errors import InputError
from databourse.manifests.model import DecontaminationProof
from databourse.progress import silent
from databourse.refresh.context import RunContext
from databourse.refresh.decontamination import decontaminate, protected_examples
from databourse.refresh.deduplication import (
    count_tokens,
    drop_exact_duplicates,
    drop_near_duplicates,
    take_snapshot,
)
from databourse.refresh.examples import read_examples
from databourse.tokenization import load_tokenizer

LEAKED = "on a cold night in march the harbour master counted seventeen boats and one lost whale"
CLEAN = [f"an ordinary text number {word} of the pool" for word in ("one", "two", "three", "four")]
EXAMPLES = [ProtectedText("dev", "0", LEAKED), ProtectedText("test", "0", "never seen anywhere")]


@pytest.fixture
def pool(ingest, warehouse):
    """Return a function that ingests texts and drops exact duplicates."""

    def pool(texts, *, run_id="run", **source):
        ingest([{"text": text} for text in texts], run_id=run_id, **source)
        tokenizer = load_tokenizer("default")
        count_tokens(warehouse, tokenizer, run_id=run_id, batch_documents=10, advance=silent)
        drop_exact_duplicates(warehouse, run_id=run_id, tokenizer_id=tokenizer.tokenizer_id)

    return pool


@pytest.fixture
def drop(warehouse):
    def drop(examples=EXAMPLES, *, run_id="run", batch=2, advance=silent, **settings):
        return decontaminate(
            warehouse,
            iter(examples),
            DecontaminateConfig(**settings),
            run_id=run_id,
            root_seed=3,
            batch_documents=batch,
            advance=advance,
        )

    return drop


def test_what_repeats_a_protected_text_is_decided_on_and_left_out_of_the_snapshot(
    pool, drop, query, warehouse
):
    half = " ".join(LEAKED.split()[:8])
    pool([*CLEAN, f"Once, {LEAKED.title()}!", f"{half} and so on", LEAKED.replace("a ", "b ")])
    done = []

    outcome = drop(advance=done.append)

    assert (outcome.n_documents, outcome.n_kept, outcome.n_examples) == (7, 4, 2)
    assert sum(done) == 7
    assert query("""
        select locator, source, stage, outcome, reason, representative_id, value
        from decisions where run_id = 'run' order by locator
    """) == [
        ("rows.jsonl#4", "rows", "decontaminate", "dropped", "exact_match", "dev:0", 1.0),
        ("rows.jsonl#5", "rows", "decontaminate", "dropped", "ngram_overlap", "dev:0", 0.5),
        # all but "on a" at its start: 14 of 16 words
        ("rows.jsonl#6", "rows", "decontaminate", "dropped", "ngram_overlap", "dev:0", 0.875),
    ]
    snapshot_id, documents = take_snapshot(warehouse, run_id="run")
    left = query("select document_id from snapshots where snapshot_id = ?", snapshot_id)
    assert documents == 4
    assert {each for (each,) in left} == {document_id(text) for text in CLEAN}


def test_the_proof_says_what_was_compared_and_how_and_shows_no_protected_text(pool, drop):
    pool([*CLEAN, LEAKED])

    proof = drop(short_words=4, long_ngram=None).proof

    assert proof.parameters == {
        "ngram": 8,
        "overlap": 0.5,
        "long_ngram": None,
        "short_words": 4,
        "numbers": "masked_too",
        "template_examples": None,
        "near_ngram": 5,
        "near_overlap": 0.65,
    }
    assert (proof.documents, proof.dropped) == (5, 1)
    assert proof.dropped_by_reason == {"exact_match": 1}
    dev, test = proof.sets
    assert (dev.name, dev.examples, dev.ngrams) == ("dev", 1, 9)  # 16 words
    assert (dev.examples_found, dev.documents_dropped) == (1, 1)
    assert (test.name, test.ngrams, test.documents_dropped) == ("test", 0, 0)
    assert dev.digest != test.digest
    assert "harbour" not in proof.model_dump_json()


def test_the_self_test_measures_the_rule_of_the_run_and_counts_in_nothing_else(pool, drop):
    pool([*CLEAN, LEAKED])

    proof = drop().proof
    found = {each.kind: (each.leaks, each.found) for each in proof.self_test.kinds}

    assert proof.self_test.examples == 2
    assert found == {
        "exact": (2, 2),
        "recased": (2, 2),
        "repunctuated": (2, 2),
        "inside_document": (2, 1),  # "never seen anywhere" may stand in a document
        "word_in_ten": (1, 1),
        "numbers_translated": (1, 1),  # "seventeen boats and one lost whale"
        "half": (2, 1),
    }
    assert [each.recall for each in proof.self_test.kinds] == [1, 1, 1, 0.5, 1, 1, 0.5]
    assert proof.dropped == 1
    assert sum(each.examples_found for each in proof.sets) == 1

    strict = drop(overlap=1.0, long_ngram=None, near_ngram=None, numbers="kept").proof
    of_strict = {each.kind: each.found for each in strict.self_test.kinds}
    assert (of_strict["word_in_ten"], of_strict["numbers_translated"], of_strict["half"]) == (
        0,
    ) * 3


def test_the_self_test_does_not_depend_on_the_order_of_examples(pool, drop):
    pool(CLEAN)
    assert drop(EXAMPLES).proof == drop(EXAMPLES[::-1]).proof


def test_the_proof_travels_as_json_and_is_null_where_nothing_is_protected(pool, drop, query):
    pool([*CLEAN, LEAKED])
    outcome = drop()
    assert DecontaminationProof.model_validate_json(outcome.proof_json()) == outcome.proof

    outcome = drop([])
    assert (outcome.n_documents, outcome.n_kept, outcome.proof) == (5, 5, None)
    assert outcome.proof_json() == "null"
    assert query("select count(*) from decisions") == [(0,)]  # nor the decision of the first try


def test_a_stage_that_is_tried_again_decides_the_same_and_spares_other_runs(pool, drop, query):
    pool([*CLEAN, LEAKED])
    pool([*CLEAN, LEAKED], run_id="other")
    first, before = drop(run_id="other"), query("select * from decisions order by run_id")
    drop()
    again = drop(batch=100)

    assert again == first
    assert query("select * from decisions where run_id = 'other'") == before
    assert query("select count(*) from decisions where run_id = 'run'") == [(1,)]


def test_documents_that_were_dropped_before_are_not_decided_on_twice(pool, drop, query, warehouse):
    pool([*CLEAN, LEAKED, f"{LEAKED} again", LEAKED])
    drop_near_duplicates(
        warehouse,
        DeduplicateConfig(),
        run_id="run",
        root_seed=1,
        threads=1,
        advance=silent,
    )
    assert drop().n_documents == 5
    assert query("select locator, reason from decisions order by locator") == [
        ("rows.jsonl#4", "near_duplicate"),
        ("rows.jsonl#5", "exact_match"),
        ("rows.jsonl#6", "exact_duplicate"),
    ]


def test_a_source_that_loses_too_much_stops_the_run_and_nothing_is_written(pool, drop, query):
    pool(CLEAN)
    pool([f"{LEAKED} {n}" for n in ("a", "b")] + ["c"], source="web", rank=1, file="web.jsonl")
    before = query("select * from decisions")
    with pytest.raises(
        DecontaminationError,
        match=r"2 of 3 documents \(66\.7%\) of source 'web'; allowed is 50\.0%; for the sets dev",
    ):
        drop()
    assert query("select * from decisions") == before
    assert drop(max_removed_share_per_source=0.7).n_kept == 5


def test_an_example_without_visible_text_stops_the_run(pool, drop):
    pool(CLEAN)
    with pytest.raises(InputError, match="has no visible text"):
        drop([ProtectedText("dev", "0", " ")])


def test_every_example_of_targets_and_protected_sets_is_protected(warehouse, tmp_path):
    pairs = [{"q": "Why so?", "a": "Because."}, {"q": "Who?", "a": "Nobody."}]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(each) + "\n" for each in pairs))
    rows = [{"text": "Why so?\nBecause."}, {"text": LEAKED}, {"text": LEAKED}]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    config = RefreshConfig(
        pool="tiny",
        seed=1,
        sources=[{"name": "rows", "path": "rows.jsonl", "text": "{text}"}],
        targets=[{"name": "dev", "path": "dev.jsonl", "prompt": "{q}", "completion": "{a}"}],
        decontaminate={"against": [{"name": "dev", "path": "test.jsonl", "text": "{text}"}]},
        signals=["length"],
        budget={"tokens": 1},
    )
    run = RunContext("run", "tiny", str(tmp_path), config)
    for kind in ("target", "protected"):
        read_examples(warehouse, run, kind=kind, advance=silent)

    found = list(protected_examples(warehouse, "run", batch_documents=1))

    pair = "Why so?\nBecause."
    assert sorted(found, key=lambda each: (each.text, str(each.prompt_characters))) == [
        ProtectedText("dev", document_id("Who?\nNobody."), "Who?\nNobody.", 5),
        ProtectedText("dev", document_id(pair), pair, 8),
        ProtectedText("dev", document_id(pair), pair, None),  # the same name and text again
        ProtectedText("dev", document_id(LEAKED), LEAKED, None),
    ]
    assert (
        decontaminate(
            warehouse,
            found,
            config.decontaminate,
            run_id="run",
            root_seed=3,
            batch_documents=10,
            advance=silent,
        ).n_examples
        == 4
    )

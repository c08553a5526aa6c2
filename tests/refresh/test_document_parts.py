"""Parts of documents: what a model reads of each, and what is before it."""

import pyarrow as pa
import pytest

from databourse.digests import document_id
from databourse.refresh.document_parts import of_fold, read_parts, wanted_parts
from databourse.signals.folds import document_folds

DOCUMENTS = pa.table(
    {
        "document_id": ["a", "b", "c", "d"],
        "prompt_characters": pa.array([3, None, 0, 7], pa.int64()),
        "tokens": [1, 2, 3, 4],
    }
)


def test_the_whole_text_of_every_document_is_wanted():
    wanted = wanted_parts(DOCUMENTS, "text")
    assert wanted.to_pydict() == {
        "document_id": ["a", "b", "c", "d"],
        "prompt_characters": [0, 0, 0, 0],
    }


@pytest.mark.parametrize("part", ["completion", "conditioned"])
def test_completions_are_wanted_of_pairs_alone(part):
    assert wanted_parts(DOCUMENTS, part).to_pydict() == {
        "document_id": ["a", "c", "d"],
        "prompt_characters": [3, 0, 7],
    }


@pytest.mark.parametrize("part", ["text", "completion", "conditioned"])
def test_no_document_wants_no_part(part):
    assert wanted_parts(DOCUMENTS.slice(0, 0), part).num_rows == 0


@pytest.mark.parametrize("folds", [1, 2, 5])
def test_folds_share_out_the_rows_in_their_order(folds):
    ids = [f"document {n}" for n in range(60)]
    rows = pa.table({"document_id": ids, "n": list(range(60))})
    parts = [of_fold(rows, fold, folds) for fold in range(folds)]

    assert sum(part.num_rows for part in parts) == 60
    for fold, part in enumerate(parts):
        expected = [n for n, own in enumerate(document_folds(ids, folds).tolist()) if own == fold]
        assert part["n"].to_pylist() == expected


@pytest.mark.parametrize("batch", [1, 3, 100])
@pytest.mark.parametrize("part", ["text", "completion", "conditioned"])
def test_a_model_reads_what_stands_in_the_source(untrained, rows_of_pool, part, batch):
    pairs, plain = rows_of_pool
    cuts, expected = {}, {}
    for row in pairs:
        question, answer = row["question"], " " + row["answer"]
        own = document_id(question + answer)
        cuts[own] = len(question)
        expected[own] = {
            "text": (question + answer, None),
            "completion": (answer, None),
            "conditioned": (answer, question),
        }[part]
    if part == "text":
        expected |= {document_id(row["text"]): (row["text"], None) for row in plain}

    wanted = wanted_parts(untrained.documents(), part)
    found = {}
    for read in read_parts(untrained.warehouse, wanted, part, batch_documents=batch):
        ids = read.rows["document_id"].to_pylist()
        assert len(ids) == len(read.texts) <= batch
        prompts = [None] * len(ids) if read.prompts is None else read.prompts
        found |= dict(zip(ids, zip(read.texts, prompts, strict=True), strict=True))
        for each, cut in zip(ids, read.rows["prompt_characters"].to_pylist(), strict=True):
            assert cut == (0 if part == "text" else cuts[each])

    assert found == expected
    assert list(found) == sorted(found)
    assert len(found) == (40 if part == "text" else 20)

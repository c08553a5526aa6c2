"""Ingestion: batches, resumption, and rows that cannot be used."""

import pytest

from databourse.digests import document_id
from databourse.errors import SourceError
from databourse.progress import silent
from databourse.refresh.ingestion import ingest_source
from databourse.sources import open_source
from databourse.sources.row_tables import tables_of


def rows(*texts, label="a"):
    return [{"text": text, "label": label, "note": "n"} for text in texts]


def test_every_row_becomes_an_arrival_or_a_quarantined_row(ingest, query):
    assert ingest([*rows("one", "two", "one"), "{broken", {"text": "", "label": "a"}]) == (5, 2)

    assert query("select row_number, place, document_id from arrivals order by row_number") == [
        (0, "#0", document_id("one")),
        (1, "#1", document_id("two")),
        (2, "#2", document_id("one")),
    ]
    assert query("select row_number, reason from quarantine order by row_number") == [
        (3, "broken_json"),
        (4, "too_short"),
    ]
    assert query("select count(*) from documents") == [(2,)]
    assert query("select rows, rejected_rows, source_rank from sources") == [(5, 2, 0)]


def test_a_file_that_was_read_is_not_read_again_but_counts_for_the_run(ingest, query):
    ingest(rows("one", "two"), run_id="first")
    ingest(rows("one", "two"), run_id="second")

    assert query("select count(*) from arrivals") == [(2,)]
    assert query("select run_id, rows from sources order by run_id") == [
        ("first", 2),
        ("second", 2),
    ]


def test_a_changed_file_is_read_anew_and_only_its_new_texts_are_stored(ingest, query):
    ingest(rows("one", "two"), run_id="first")
    ingest(rows("one", "two", "three"), run_id="second")

    assert query("select count(*) from documents") == [(3,)]
    assert query("select sum(documents) from text_shards") == [(3,)]
    assert query("select count(distinct file_id) from arrivals") == [(2,)]


class Interrupted(Exception):  # noqa: N818
    """Stands for a kill: nothing after it runs."""


class Interrupting:
    """A part of a source that is killed after some rows."""

    def __init__(self, part, after):
        self._part, self._after = part, after
        self.started_at = []

    def __getattr__(self, name):
        return getattr(self._part, name)

    def tables(self, start_row=0, *, at_most, workers):
        return tables_of(self.rows(start_row), at_most=1)

    def rows(self, start_row=0):
        self.started_at.append(start_row)
        for row in self._part.rows(start_row):
            if self._after is not None and row.row_number == self._after:
                raise Interrupted
            yield row


class Parts:
    """A source of given parts."""

    name = "rows"

    def __init__(self, *parts):
        self._parts = parts

    def parts(self):
        return self._parts


def test_a_killed_read_continues_after_its_last_batch(ingest, warehouse, query, tmp_path):
    texts = [f"text number {n}" for n in range(70)]
    ingest(rows(*texts), run_id="clean")
    clean = query("select row_number, document_id from arrivals order by all")
    with warehouse.transaction() as cursor:
        for table in ("arrivals", "source_files", "sources"):
            cursor.execute(f"delete from {table}")  # noqa: S608
    source = open_source(
        name="rows",
        root=tmp_path,
        data_roots=["."],
        path="rows.jsonl",
        text="{text}",
        label="label",
        metadata=["note"],
    )
    part = Interrupting(source.parts()[0], after=65)
    settings = {
        "run_id": "killed",
        "source_rank": 0,
        "batch_documents": 3,
        "workers": 1,
        "advance": silent,
    }

    with pytest.raises(Interrupted):
        ingest_source(warehouse, Parts(part), **settings)
    assert query("select count(*) from arrivals") == [(60,)]  # two commits of ten batches of three
    part._after = None
    ingest_source(warehouse, Parts(part), **settings)

    assert part.started_at == [0, 60]
    assert query("select row_number, document_id from arrivals order by all") == clean


def test_a_source_whose_rows_are_all_rejected_says_why(ingest):
    with pytest.raises(SourceError, match=r"source 'rows' .* 2 broken_json"):
        ingest(["{broken", "also broken"])


def test_metadata_and_labels_are_kept(ingest, query):
    ingest([{"text": "one", "label": 3, "note": {"b": 1, "a": 2}}, {"text": "two"}])
    found = query("select label, metadata::varchar from arrivals order by row_number")
    assert found == [("3", '{"note":{"a":2,"b":1}}'), (None, '{"note":null}')]

import gzip
import hashlib
import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from databourse.config_sources import SourceConfig
from databourse.errors import ConfigError, SourceError
from databourse.sources import check_source, empty_source_error, open_source
from databourse.sources.row_tables import ROW_SCHEMA, row_table


@pytest.fixture
def opened(tmp_path):
    def run(**settings):
        settings = {"path": "*.jsonl", "text": "{text}", **settings}
        return open_source(name="news", root=tmp_path, data_roots=["."], **settings)

    return run


def test_every_key_of_the_config_is_an_argument(store, tmp_path):
    store("x.jsonl", [{"text": "a"}])
    config = SourceConfig(name="news", path="x.jsonl", text="{text}")

    source = open_source(**config.model_dump(), root=tmp_path, data_roots=["."])

    assert source.name == "news"
    assert [part.uri for part in source.parts()] == ["x.jsonl"]


def test_parts_are_files_in_order_of_name_with_digest_size_and_locators(store, opened):
    store("b.jsonl", [{"text": "b"}])
    path = store("a.jsonl", [{"text": "a"}, {"text": None}])

    first, second = opened().parts()

    assert (first.uri, second.uri) == ("a.jsonl", "b.jsonl")
    assert first.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert first.bytes == path.stat().st_size
    assert [first.locator(row) for row in first.rows()] == ["a.jsonl#0", "a.jsonl#1"]
    assert [row.reason for row in first.rows(start_row=1)] == ["missing_value"]


def test_the_file_id_depends_on_bytes_and_settings_and_not_on_place_or_time(store, opened):
    store("x.jsonl", [{"text": "a"}])
    (part,) = opened().parts()
    path = store("elsewhere/y.jsonl", [{"text": "a"}])
    os.utime(path, (1, 1))

    (same,) = opened(path="elsewhere/y.jsonl", format="jsonl").parts()
    assert same.file_id == part.file_id

    path.write_text('{"text": "b"}\n')
    (other,) = opened(path="elsewhere/y.jsonl").parts()
    assert other.file_id != part.file_id


@pytest.mark.parametrize(
    "settings",
    [
        {"text": "{text}!"},
        {"text": None, "prompt": "{text}", "completion": "{text}"},
        {"label": "text"},
        {"metadata": ["text"]},
        {"min_characters": 2},
        {"max_row_bytes": 10},
        {"format": "csv"},
        {"format": "csv", "columns": ["text"]},
        {"format": "csv", "delimiter": ";"},
    ],
)
def test_every_setting_that_shapes_rows_changes_the_file_id(store, opened, settings):
    store("x.jsonl", [{"text": "a"}])
    ids = {opened(**each).parts()[0].file_id for each in ({}, {"format": "csv"}, settings)}

    assert len(ids) == (2 if settings == {"format": "csv"} else 3)


def test_settings_of_csv_files_do_not_change_the_file_id_of_others(store, opened):
    store("x.jsonl", [{"text": "a"}])

    ids = {opened(**each).parts()[0].file_id for each in ({}, {"columns": ["a"], "delimiter": ";"})}

    assert len(ids) == 1


def test_a_file_that_is_edited_after_its_digest_is_not_read(store, opened):
    path = store("x.jsonl", [{"text": "a"}])
    (part,) = opened().parts()
    path.write_text('{"text": "edited"}\n')

    with pytest.raises(SourceError, match=r"x\.jsonl changed after its digest was taken"):
        list(part.rows())


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"text": "{text"}, "text '{text'"),
        ({"text": None}, "either text or prompt and completion"),
        ({"delimiter": '"'}, "delimiter of source 'news'"),
        ({"packages": ["numpy"]}, "takes no 'packages'"),
        ({"limit": 3}, "takes no 'limit'"),
        ({"kind": "docstrings"}, "takes no 'path'"),
        (
            {"kind": "docstrings", "path": (), "text": None, "metadata": ["m"]},
            "takes no 'metadata'",
        ),
    ],
)
def test_contradictory_settings_are_errors_of_the_config(store, opened, settings, problem):
    store("x.jsonl", [{"text": "a"}])

    with pytest.raises(ConfigError) as caught:
        opened(**settings)

    assert problem in str(caught.value)


def test_unreadable_paths_and_endings_are_found_when_a_source_is_opened(store, opened):
    store("x.txt", "text")

    with pytest.raises(SourceError, match=r"format of x\.txt is unknown"):
        opened(path="*.txt")
    with pytest.raises(SourceError, match="matches no file"):
        opened(path="*.jsonl")


def test_a_check_names_what_will_be_read_or_what_is_wrong(store, opened):
    for number in range(200):
        store(f"x{number:03}.jsonl.gz", [{"text": "a"}] * 50)
    started = time.perf_counter()

    uris = check_source(opened(path="*.jsonl.gz"))

    assert time.perf_counter() - started < 2
    assert uris == [f"x{number:03}.jsonl.gz" for number in range(200)]
    with pytest.raises(SourceError, match=r"no row of x000\.jsonl\.gz has the column 'body'"):
        check_source(opened(path="*.jsonl.gz", text="{body}"))


def test_an_empty_source_says_why():
    none = empty_source_error("news", ["a", "b", "c", "d"], n_rows=0, rejected=[])
    some = empty_source_error(
        "news", ["a.csv"], n_rows=3, rejected=[("too_short", 2, "got 0"), ("not_text", 1, "x")]
    )

    assert "4 parts (a, b, c, ...); it is empty" in str(none)
    assert str(some) == (
        "source 'news' gives no document: 1 part (a.csv); 3 rows were read and all were rejected: "
        "2 too_short (first: got 0); 1 not_text (first: x). "
        "Fix the files, or the source's path, text and columns."
    )


DATA = Path(os.environ.get("DATABOURSE_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the real data sets (DATABOURSE_DATA)")
@pytest.mark.parametrize(
    ("settings", "n_rows"),
    [
        ({"path": "ag_news_noisy/*.csv.gz", "text": "{text}", "label": "label"}, 10_000),
        ({"path": "ag_news/test.csv.gz", "columns": ["y", "t", "b"], "text": "{t}. {b}"}, 7_600),
        ({"path": "gsm8k/*.jsonl.gz", "prompt": "{question}", "completion": "{answer}"}, 8_792),
    ],
)
def test_every_row_of_real_data_is_read(settings, n_rows):
    source = open_source(name="real", root=DATA, data_roots=["."], **settings)

    rows = [row for part in source.parts() for row in part.rows()]

    assert len(rows) == n_rows
    assert all(hasattr(row, "text") for row in rows)


def texts_of(source):
    return [row.text for part in source.parts() for row in part.rows()]


def test_parts_share_no_text_and_are_everything_together(store, opened):
    store("x.jsonl", [{"text": f"row {number % 150}"} for number in range(200)])
    whole = texts_of(opened())
    shares = [texts_of(opened(part={"of": 3, "take": [place]})) for place in range(3)]
    assert sorted(text for share in shares for text in share) == sorted(whole)
    assert not set(shares[0]) & set(shares[1]) | set(shares[1]) & set(shares[2])
    assert all(30 < len(share) < 110 for share in shares)
    two = texts_of(opened(part={"of": 3, "take": [2, 0]}))
    assert sorted(two) == sorted(shares[0] + shares[2])


def test_rows_of_a_part_keep_their_numbers_and_go_on_from_any_of_them(store, opened):
    store("x.jsonl", [{"text": f"row {number}"} for number in range(40)])
    (part,) = opened(part={"of": 4, "take": [1]}).parts()
    rows = list(part.rows())
    assert [row.text for row in rows] == [f"row {row.row_number}" for row in rows]
    assert list(part.rows(start_row=rows[2].row_number + 1)) == rows[3:]


def test_a_row_that_cannot_be_read_is_in_every_part(store, opened):
    store("x.jsonl", [{"text": None}, {"text": "a"}])
    for place in range(5):
        (part,) = opened(part={"of": 5, "take": [place]}).parts()
        assert next(part.rows()).reason == "missing_value"


def test_labels_are_called_what_the_config_calls_them(store, opened):
    store("x.jsonl", [{"text": "a", "y": 1}, {"text": "b", "y": "2"}, {"text": "c", "y": None}])
    (part,) = opened(label="y", labels={"1": "World"}).parts()
    assert [row.label for row in part.rows()] == ["World", "2", None]
    with pytest.raises(ConfigError, match="labels renames the values of a label column"):
        opened(labels={"1": "World"})


def test_parts_and_names_of_labels_have_a_file_id_of_their_own(store, opened):
    store("x.jsonl", [{"text": "a", "y": 1}])
    ids = {
        opened(label="y", **more).parts()[0].file_id
        for more in (
            {},
            {"labels": {"1": "World"}},
            {"part": {"of": 2, "take": [0]}},
            {"part": {"of": 2, "take": [1]}},
            {"part": {"of": 3, "take": [1]}},
        )
    }
    assert len(ids) == 5
    plain = opened(label="y").parts()[0].file_id
    assert opened(label="y", labels={}, part=None).parts()[0].file_id == plain


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"of": 2, "take": 2}, "part.take must be in 0 to 1, got 2"),
        ({"of": 2, "take": [1, 1]}, "names a part twice"),
        ({"of": 1, "take": 0}, "greater than or equal to 2"),
        ({"of": 2, "take": []}, "at least 1 item"),
    ],
)
def test_a_part_that_is_not_there_is_refused(part, message):
    with pytest.raises(ValueError, match=message):
        SourceConfig(name="news", path="x.jsonl", text="{text}", part=part)


def rows_of_tables(part, start_row=0, workers=1):
    tables = list(part.tables(start_row, at_most=7, workers=workers))
    return pa.concat_tables([ROW_SCHEMA.empty_table(), *tables])


@pytest.mark.parametrize(
    "settings",
    [{}, {"part": {"of": 3, "take": [1]}}, {"path": "x.csv"}, {"path": "x.jsonl.gz"}],
)
def test_tables_hold_the_rows_with_their_ids_and_places(store, opened, tmp_path, settings):
    lines = [json.dumps({"text": f"row {number}" if number % 5 else ""}) for number in range(40)]
    store("x.jsonl", [json.loads(line) for line in lines])
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (tmp_path / "x.csv").write_text("text\n" + "".join(f"row {number}\n" for number in range(40)))
    (part,) = opened(**settings).parts()
    for start_row in (0, 9, 40):
        rows = list(part.rows(start_row))
        found = rows_of_tables(part, start_row)
        assert found == row_table(rows)
        assert [part.uri + place for place in found["place"].to_pylist()] == [
            part.locator(row) for row in rows
        ]


def test_a_large_file_is_read_alike_by_workers(store, opened, monkeypatch):
    monkeypatch.setattr("databourse.sources.parts._LARGE_BYTES", 0)
    store("x.jsonl", [{"text": f"row {number} " * 300} for number in range(1_500)])
    (part,) = opened().parts()
    assert rows_of_tables(part, workers=2) == rows_of_tables(part)

"""The warehouse: transactions, one writer, damage that is noticed."""

import subprocess
import sys
import textwrap

import pyarrow as pa
import pytest

from databourse.digests import document_id
from databourse.errors import IntegrityError, UnknownNameError, WarehouseLockedError
from databourse.warehouse import held_warehouse, hold_warehouse
from databourse.warehouse.store import append

TEXTS = {document_id(text): text for text in ("one", "two", "three")}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "warehouse"


def hold(root, **settings):
    return hold_warehouse(root, **{"threads": 1, "memory_limit": "200MB", **settings})


def store_texts(warehouse, texts=TEXTS):
    shard = warehouse.texts.write(texts)
    with warehouse.transaction() as cursor:
        append(cursor, "text_shards", pa.Table.from_pylist([shard]))
        rows = [
            {"document_id": key, "characters": len(text), "text_shard": shard["text_shard"]}
            for key, text in texts.items()
        ]
        append(cursor, "documents", pa.Table.from_pylist(rows))
    return warehouse.root / "text" / shard["text_shard"]


def read_texts(warehouse, keys=tuple(TEXTS)):
    batches = warehouse.texts_of(pa.array(keys, pa.string()), batch_documents=2)
    return {row["document_id"]: row["text"] for batch in batches for row in batch.to_pylist()}


def test_texts_come_back_in_key_order(root):
    with hold(root) as warehouse:
        store_texts(warehouse)
        assert read_texts(warehouse) == TEXTS
        assert list(read_texts(warehouse)) == sorted(TEXTS)
        assert read_texts(warehouse, ()) == {}


def test_a_failed_transaction_leaves_nothing(root):
    row = pa.table({"text_shard": ["a"], "sha256": ["b"], "documents": [1], "bytes": [1]})
    with hold(root) as warehouse:
        with pytest.raises(RuntimeError), warehouse.transaction() as cursor:
            append(cursor, "text_shards", row)
            raise RuntimeError
        cursor = warehouse.cursor()
        assert cursor.execute("select count(*) from text_shards").fetchall() == [(0,)]


def test_what_was_committed_is_there_after_reopening(root):
    with hold(root) as warehouse:
        store_texts(warehouse)
    with hold(root) as warehouse:
        assert read_texts(warehouse) == TEXTS


def test_columns_are_matched_by_name_and_missing_ones_are_null(root):
    row = pa.table({"document_id": ["d"], "row_number": [3], "place": ["#3"], "file_id": ["f"]})
    with hold(root) as warehouse:
        with warehouse.transaction() as cursor:
            assert append(cursor, "arrivals", row) == 1
            found = cursor.execute("select * from arrivals").fetchall()
        assert found == [("f", 3, "#3", "d", None, None, None)]
        with pytest.raises(UnknownNameError, match="did you mean 'arrivals'"):
            append(warehouse.cursor(), "arivals", row)


def test_one_edited_byte_of_a_text_shard_is_found_and_named(root):
    with hold(root) as warehouse:
        path = store_texts(warehouse)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with hold(root) as warehouse, pytest.raises(IntegrityError, match=path.name):
        read_texts(warehouse)


def test_a_missing_text_shard_is_named(root):
    with hold(root) as warehouse:
        store_texts(warehouse).unlink()
        with pytest.raises(IntegrityError, match="is missing"):
            read_texts(warehouse)


def test_a_document_without_text_is_an_error(root):
    with hold(root) as warehouse, pytest.raises(IntegrityError, match="0 of 1 wanted"):
        read_texts(warehouse, ["0" * 32])


def test_half_written_shards_are_swept_when_the_warehouse_opens(root):
    with hold(root) as warehouse:
        store_texts(warehouse)
    leftover = root / "text" / "abc.parquet.staging"
    leftover.write_bytes(b"half")
    with hold(root) as warehouse:
        assert not leftover.exists()
        assert read_texts(warehouse) == TEXTS


def test_the_same_texts_give_the_same_shard(root, tmp_path):
    with hold(root) as one, hold(tmp_path / "other") as other:
        reordered = dict(reversed(TEXTS.items()))
        assert one.texts.write(TEXTS) == other.texts.write(reordered)


def test_a_second_writer_is_refused_with_pid_and_start(root):
    code = textwrap.dedent(f"""
        import os, sys
        from pathlib import Path
        from databourse.warehouse import hold_warehouse
        with hold_warehouse(Path({str(root)!r}), threads=1, memory_limit="200MB"):
            print(os.getpid(), flush=True)
            sys.stdin.read()
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        pid = process.stdout.readline().strip()
        with pytest.raises(WarehouseLockedError, match=f"process {pid} since 20"), hold(root):
            pass
        process.kill()
    with hold(root):  # a killed holder leaves no lock behind
        pass


def test_a_warehouse_that_is_not_held_is_refused(root):
    with pytest.raises(WarehouseLockedError, match="not open in this process"):
        held_warehouse(root)
    with hold(root) as warehouse:
        assert held_warehouse(root) is warehouse


def test_a_damaged_database_file_gives_one_line_with_a_remedy(root):
    with hold(root):
        pass
    (root / "bourse.duckdb").write_bytes(
        b"not a database at all, but long enough to look like one" * 90
    )
    with pytest.raises(IntegrityError, match="move it away and run again"), hold(root):
        pass


def test_a_warehouse_of_another_layout_is_refused(root):
    with hold(root) as warehouse, warehouse.transaction() as cursor:
        cursor.execute("insert into schema_versions values (99)")
    with pytest.raises(IntegrityError, match="table layout 99"), hold(root):
        pass

"""A disk that is full, read-only or damaged: one line, and nothing committed is lost."""

import errno
import os
import resource
import subprocess
import sys

import duckdb
import pyarrow as pa
import pytest

from databourse.errors import IntegrityError, StorageError, WarehouseLockedError
from databourse.warehouse import hold_warehouse
from databourse.warehouse.reading import open_for_reading
from databourse.warehouse.storage import storage_error
from databourse.warehouse.store import append

ROOM = {"threads": 1, "memory_limit": "200MB"}
FILL = """
import sys
import numpy as np, pyarrow as pa
from pathlib import Path
from databourse.errors import DatabourseError
from databourse.warehouse import hold_warehouse
from databourse.warehouse.store import append

rng = np.random.default_rng(1)
committed = 0
try:
    with hold_warehouse(Path(sys.argv[1]), threads=1, memory_limit="200MB") as warehouse:
        for number in range(400):
            vectors = pa.FixedSizeListArray.from_arrays(rng.random(64 * 500).astype("float32"), 64)
            ids = [f"{number}-{each}" for each in range(500)]
            rows = pa.table({"document_id": ids, "encoder_id": ["e"] * 500, "vector": vectors})
            with warehouse.transaction() as cursor:
                append(cursor, "embeddings", rows)
            committed += 500
            print(committed, flush=True)
except DatabourseError as error:
    print(f"{type(error).__name__}: {error}")
"""


def test_a_full_disk_is_one_line_and_what_was_committed_stays(tmp_path):
    root = tmp_path / "warehouse"
    with hold_warehouse(root, **ROOM):
        pass
    limit = (root / "bourse.duckdb").stat().st_size + 2_000_000

    filled = subprocess.run(
        [sys.executable, "-c", FILL, root],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )

    *counts, line = filled.stdout.splitlines()
    assert line.startswith("StorageError: no room was left"), filled.stdout + filled.stderr
    assert "gc CONFIG --yes" in line
    assert "Traceback" not in filled.stderr
    with hold_warehouse(root, **ROOM) as warehouse:
        cursor = warehouse.cursor()
        found = cursor.execute("select count(*) from embeddings").fetchall()[0][0]
        cursor.close()
    assert found >= int(counts[-1]) > 0


@pytest.fixture
def read_only(tmp_path):
    """A warehouse that cannot be written, also by root."""
    root = tmp_path / "warehouse"
    with hold_warehouse(root, **ROOM):
        pass
    if os.geteuid() != 0:
        root.chmod(0o555)
        (root / "writer.lock").chmod(0o444)
        yield root
        root.chmod(0o755)
        return
    mount = ["mount", "--bind", root, root]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("root may write everywhere, and may not mount here")
    try:
        remount = ["mount", "-o", "remount,bind,ro", root]
        if subprocess.run(remount, capture_output=True, check=False).returncode:
            pytest.skip("a mount cannot be made read-only here")
        yield root
    finally:
        subprocess.run(["umount", root], check=True)


def test_a_read_only_warehouse_is_refused_in_one_line(read_only):
    with (
        pytest.raises(StorageError, match=f"warehouse {read_only} cannot be written"),
        hold_warehouse(read_only, **ROOM),
    ):
        pass
    with open_for_reading(read_only, **ROOM) as reader:  # reading it needs no right to write
        assert reader.connection.execute("select count(*) from runs").fetchall() == [(0,)]


def filled_warehouse(root):
    with hold_warehouse(root, **ROOM) as warehouse:
        ids = [f"{each:032x}" for each in range(50_000)]
        rows = {"document_id": ids, "characters": list(range(50_000)), "text_shard": ids}
        with warehouse.transaction() as cursor:
            append(cursor, "documents", pa.table(rows))
    return root / "bourse.duckdb"


@pytest.mark.parametrize("opened", [hold_warehouse, open_for_reading])
def test_a_damaged_database_is_named_with_what_to_do(tmp_path, opened):
    path = filled_warehouse(tmp_path)
    content = bytearray(path.read_bytes())
    for place in range(3 * 4096 + 5_000, len(content), 40_000):  # leaves the headers whole
        content[place] ^= 0xFF
    path.write_bytes(content)

    with (
        pytest.raises(IntegrityError, match=r"bourse\.duckdb.*Restore") as raised,
        opened(tmp_path, **ROOM) as warehouse,
    ):
        connection = warehouse.cursor() if opened is hold_warehouse else warehouse.connection
        connection.execute("select max(text_shard), sum(characters) from documents").fetchall()
    assert str(raised.value).count("\n") == 0


def test_a_truncated_database_is_named_with_what_to_do(tmp_path):
    path = filled_warehouse(tmp_path)
    path.write_bytes(path.read_bytes()[: 3 * 4096 + 100])

    with (
        pytest.raises(IntegrityError, match=r"bourse\.duckdb.*Restore"),
        hold_warehouse(tmp_path, **ROOM),
    ):
        pass


def test_other_errors_are_not_said_to_be_the_disks(tmp_path):
    elsewhere = PermissionError(errno.EACCES, "Permission denied", "/data/source.jsonl")
    for error in (elsewhere, ValueError("full"), duckdb.ConstraintException("duplicate key")):
        assert storage_error(error, tmp_path) is None


def test_what_a_later_error_hides_is_found(tmp_path):
    first = OSError(errno.ENOSPC, "No space left on device")
    hidden = duckdb.FatalException("the database has been invalidated")
    hidden.__context__ = first
    assert isinstance(storage_error(hidden, tmp_path), StorageError)


HOLD = """
import sys, time
from pathlib import Path
from databourse.warehouse import hold_warehouse
with hold_warehouse(Path(sys.argv[1]), threads=1, memory_limit="200MB"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the warehouse until it is told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_writer_is_refused_with_the_owner_and_its_start(holder, tmp_path):
    for wait_seconds in (0.0, 0.5):
        with (
            pytest.raises(WarehouseLockedError, match=rf"process {holder.pid} since 20\d\d-"),
            hold_warehouse(tmp_path, **ROOM, wait_seconds=wait_seconds),
        ):
            pass


def test_a_second_writer_that_waits_begins_when_the_first_ends(holder, tmp_path):
    holder.stdin.write(b"\n")
    holder.stdin.flush()
    with hold_warehouse(tmp_path, **ROOM, wait_seconds=60):
        pass


def test_a_killed_writer_leaves_no_lock(holder, tmp_path):
    holder.kill()
    with hold_warehouse(tmp_path, **ROOM, wait_seconds=30):
        pass

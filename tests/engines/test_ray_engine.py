"""Batches over a real Ray cluster on this machine: order, lost workers, errors, what stays behind.

Two small workers serve all tests of the file.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from databourse.config_engine import OnRay, RayConfig
from databourse.engines import LOCAL, check_engine, held_engine, hold_engine
from databourse.engines.elsewhere import cpu_seconds
from databourse.errors import ConfigError, InputError, TransientError
from tests.engines.jobs import fragile_job, squares_job

if importlib.util.find_spec("ray") is None:
    pytest.skip("ray is not installed", allow_module_level=True)

ENGINE = OnRay(ray=RayConfig(workers=2, attempts=2, object_store_mb=100))


@pytest.fixture(scope="module")
def engine():
    """The engine of two workers, for all tests of the file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with hold_engine(ENGINE):
            yield held_engine(ENGINE)


def batches(n):
    return [[3 * each, 3 * each + 1, 3 * each + 2] for each in range(n)]


def squares(n):
    return [(batch, [each * each for each in batch]) for batch in batches(n)]


def test_results_are_those_of_the_local_engine_in_order(engine, tmp_path):
    (tmp_path / "note.txt").write_text("weights")
    log = tmp_path / "log"
    log.mkdir()
    told = []
    wanted = list(LOCAL.map_batches(squares_job(tmp_path), iter(batches(4))))

    found = list(
        engine.map_batches(squares_job(tmp_path, log), iter(batches(4)), advance=told.append)
    )

    assert [(batch, *rest[:2]) for batch, rest in found] == [
        (batch, *rest[:2]) for batch, rest in wanted
    ]
    assert told == [3, 3, 3, 3]
    pids = {pid for _, (*_, pid) in found}
    assert os.getpid() not in pids
    assert len(list(log.iterdir())) == len(pids) <= 2  # a model is loaded once per worker


def test_a_killed_worker_is_replaced_and_its_batch_computed_again(engine, tmp_path):
    found = list(engine.map_batches(fragile_job(tmp_path, dies_at=31, times=1), batches(40)))

    assert found == squares(40)
    assert len(list(tmp_path.glob("died-*"))) == 1


def test_a_batch_that_ends_every_worker_stops_the_run(engine, tmp_path):
    with pytest.raises(TransientError, match="2 Ray workers were lost over one batch"):
        list(engine.map_batches(fragile_job(tmp_path, dies_at=4, times=99), batches(6)))


def test_what_a_worker_raises_arrives_as_it_was_raised(engine):
    done = []
    with pytest.raises(InputError, match="13 must not be squared"):
        done.extend(engine.map_batches(squares_job(), batches(30)))


def test_only_a_few_batches_are_taken_ahead(engine):
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield [0]

    with contextlib.closing(engine.map_batches(squares_job(), endless())) as results:
        for _ in range(5):
            next(results)

    assert len(taken) <= 5 + 2 * 4


def test_cpu_seconds_of_workers_are_counted(engine):
    before = cpu_seconds()

    list(engine.map_batches(squares_job(), [list(range(14, 400_000))] * 2))

    assert cpu_seconds() - before > 0.01


def test_a_worker_with_other_versions_is_refused(engine, monkeypatch):
    monkeypatch.setattr(
        "databourse.engines.ray_engine.versions", lambda: {"python": "3.11", "torch": "0.1"}
    )
    with pytest.raises(ConfigError, match=r"has python .*, and this run 3\.11: .* may differ"):
        list(engine.map_batches(squares_job(), batches(1)))


def test_another_machine_gets_copies_of_files_and_this_one_reads_them_in_place(engine, tmp_path):
    from databourse.engines.carried_folders import CarriedFolder, unpacked

    list(engine.map_batches(squares_job(), batches(1)))  # Ray has begun
    import ray

    here = ray.get_runtime_context().get_node_id()
    files = (("sub/note.txt", ray.put(b"weights")), ("a.txt", ray.put(b"")))

    there = unpacked(CarriedFolder(tmp_path / "model", "another node", files))

    assert there != tmp_path / "model"
    assert there.name == "model"
    assert (there / "sub" / "note.txt").read_bytes() == b"weights"
    assert (there / "a.txt").read_bytes() == b""
    assert unpacked(CarriedFolder(tmp_path / "model", here, files)) == tmp_path / "model"


def test_hidden_files_do_not_travel(engine, tmp_path):
    from databourse.engines.carried_folders import carried

    list(engine.map_batches(squares_job(), batches(1)))  # Ray has begun
    (tmp_path / "b").mkdir()
    for name in ("z.txt", "b/c.txt", ".half-written"):
        (tmp_path / name).write_text(name)

    sent = carried(tmp_path, node="here", alone=False)

    assert [name for name, _ in sent.files or ()] == ["b/c.txt", "z.txt"]
    assert carried(tmp_path, node="here", alone=True).files is None


def test_an_address_is_said_by_validate_and_the_environment(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    own = OnRay(ray=RayConfig(address="head:6379"))

    assert check_engine(own) == "ray: the cluster at head:6379"
    assert check_engine("ray") == "ray: a cluster on this machine"
    monkeypatch.setenv("RAY_ADDRESS", "other:6379")
    assert check_engine("ray") == "ray: the cluster at other:6379"
    assert check_engine(own) == "ray: the cluster at head:6379"


SCRIPT = """
import sys
from pathlib import Path
from databourse.config_engine import OnRay, RayConfig
from databourse.engines import held_engine, hold_engine
from tests.engines.jobs import squares_job

def listening(file):
    \"\"\"Return inode to address, in hex, of sockets that listen.\"\"\"
    rows = [line.split() for line in Path(file).read_text().splitlines()[1:]]
    return {row[9]: row[1].split(":")[0] for row in rows if row[3] == "0A"}

def inodes_of_ours():
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if sys.argv[1].encode() in (process / "environ").read_bytes():
                links = [str(each.readlink()) for each in (process / "fd").iterdir()]
                yield from (each[8:-1] for each in links if each.startswith("socket:["))
        except OSError:
            pass

engine = OnRay(ray=RayConfig(workers=1, object_store_mb=100))
with hold_engine(engine):
    ((_, (_, _, pid)),) = held_engine(engine).map_batches(squares_job(), [[2]])
    sockets = listening("/proc/net/tcp") | listening("/proc/net/tcp6")
    own = {sockets[each] for each in inodes_of_ours() if each in sockets}
print(pid, *sorted(own))
"""


def test_a_cluster_on_this_machine_hears_no_other_and_leaves_nothing_behind():
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="db-") as folder:
        check_what_stays(Path(folder))


def check_what_stays(tmp_path):
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
        "TMPDIR": str(tmp_path),
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    pid, *addresses = done.stdout.split()
    assert addresses
    assert set(addresses) <= {"0100007F", "0000000000000000FFFF00000100007F"}  # loopback
    assert not Path("/proc", pid).exists()
    assert list(tmp_path.iterdir()) == []  # neither files of Ray nor a home with a token

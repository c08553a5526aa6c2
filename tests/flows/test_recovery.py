"""What happens to a pool over days, kills and damage: nothing is lost, and little is done twice."""

import importlib.util
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
import yaml

from databourse.config import load_config
from databourse.errors import WarehouseLockedError
from databourse.manifests import diff_manifests, open_manifest, verify
from databourse.refresh.retention import collect, plan_collection
from databourse.warehouse import hold_warehouse

pytestmark = pytest.mark.timeout(900)  # a week of refreshes is made for the first test

ROOT = Path(__file__).parents[2]
DAYS = 7
NEW, CHANGED, COPIES = 12, 3, 4
FIRST = 60
THEMES = {
    "weather": "rain wind storm cloud sun frost snow heat flood hail mist thaw drizzle gale",
    "kitchen": "bread oven salt knife soup onion butter flour sauce pepper plate spice dough",
    "harbour": "mast sail rope anchor tide keel crew rudder deck wave compass hull port buoy",
}
SIGNALS = ["rarity", "length", "information_entropy"]  # of the pool, and of documents alone


def database(folder):
    return duckdb.connect(str(folder / "warehouse" / "bourse.duckdb"), read_only=True)


def rows_of(folder, query, *parameters):
    with database(folder) as connection:
        return connection.execute(query, parameters).fetchall()


def tree(folder):
    """Return every file of a pool: its name, size and time of change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for name in ("warehouse", "manifests")
        for path in (folder / name).rglob("*")
    }


def stages_of(folder, run_id):
    found = rows_of(folder, "select stages from runs where run_id = ?", run_id)
    return {each["stage"]: each for each in json.loads(found[0][0])}


def new_of(stages, name):
    """Return how many rows a stage says were new to it."""
    return int(stages[name]["note"].split(" new")[0].replace(",", ""))


def stored_work(folder):
    """Return how many vectors, sketches and values of a document's signal were ever computed."""
    return tuple(
        rows_of(folder, query)[0][0] or 0
        for query in (
            "select count(*) from embeddings",
            (
                "select sum(documents)::int from sketch_shards where sketches_id = "
                "(select arg_max(sketches_id, documents) from sketch_shards)"
            ),
            "select count(distinct document_id)::int from signals where snapshot_id = '-'",
        )
    )


def document(number):
    """Return a row of the week's pool; the same number gives the same row."""
    draw = random.Random(number)  # noqa: S311
    theme = sorted(THEMES)[number % len(THEMES)]
    words = " ".join(draw.choices(THEMES[theme].split(), k=draw.randint(8, 30)))
    return {"text": f"note {number} on {words}", "label": theme}


def day_rows(day):
    """Return the rows that a day brings: new documents, and copies of earlier ones."""
    if day == 0:
        return [document(number) for number in range(FIRST)]
    first = FIRST + NEW * (day - 1)
    copies = random.Random(day).sample(range(CHANGED * DAYS, first), COPIES)  # noqa: S311
    return [document(number) for number in (*range(first, first + NEW), *copies)]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module", name="week")
def _week(prefect_server, tmp_path_factory):
    """A pool after a week of nightly refreshes: its folder, and what each day came to."""
    from flows.refresh_pool import refresh_pool

    folder = tmp_path_factory.mktemp("week")
    (folder / "data").mkdir()
    config = {
        "pool": "week",
        "seed": 4,
        "sources": [{"name": "rows", "path": "data/*.jsonl", "text": "{text}", "label": "label"}],
        "encoder": "hashing",
        "topics": {"count": 3, "smallest": 5},
        "signals": SIGNALS,
        "budget": {"share": 0.4},
        "compute": {"threads": 1, "memory_limit": "500MB", "batch_documents": 40},
    }
    (folder / "pool.yaml").write_text(yaml.safe_dump(config))
    oldest = day_rows(0)
    days = []
    for day in range(DAYS):
        write_rows(folder / "data" / f"day-{day}.jsonl", day_rows(day))
        for number in range(CHANGED * day):
            oldest[number]["text"] = f"corrected: {document(number)['text']}"
        write_rows(folder / "data" / "day-0.jsonl", oldest)
        days.append((refresh_pool(str(folder / "pool.yaml"), []), stored_work(folder)))
    return folder, days


@pytest.fixture
def pool(week, tmp_path):
    """The folder of a copy of that pool."""
    shutil.copytree(week[0], tmp_path / "pool")
    return tmp_path / "pool"


def settings_of(folder, *overrides):
    return load_config(folder / "pool.yaml", overrides), folder


def test_a_week_of_refreshes_gives_seven_versions_whose_differences_add_up(week):
    folder, days = week

    assert [result.version for result, _ in days] == [1, 2, 3, 4, 5, 6, 7]
    opened = [open_manifest(folder / "manifests/week" / f"v{n:06d}") for n in range(1, DAYS + 1)]
    assert all(verify(str(folder / "manifests/week" / f"v{n:06d}")).ok for n in range(1, DAYS + 1))
    for before, after in itertools.pairwise(opened):
        assert after.info.parent.manifest_id == before.info.manifest_id
        found = diff_manifests(before, after)
        assert found.entered.num_rows + found.left.num_rows > 0
        assert found.entered.num_rows - found.left.num_rows == len(after) - len(before)
        entered, left = (sum(each["tokens"].to_pylist()) for each in (found.entered, found.left))
        assert entered - left == after.info.spent.tokens - before.info.spent.tokens
        # what is bought was written by hand or corrected that day, or before
        candidates = after.info.candidates.documents - before.info.candidates.documents
        assert candidates == NEW  # a changed document replaces its old text; a copy adds nothing


def test_a_day_costs_what_is_new_in_it(week):
    _, days = week

    first = days[0][1]
    assert first == (FIRST, FIRST, FIRST)
    for (_, before), (_, after) in itertools.pairwise(days):
        assert [now - then for then, now in zip(before, after, strict=True)] == [NEW + CHANGED] * 3


def test_a_dry_run_of_gc_changes_nothing_and_tells_what_would_go(pool):
    before = tree(pool)

    found = plan_collection(*settings_of(pool, "retention.runs=1"))

    assert tree(pool) == before
    assert not found.applied
    assert found.kept_runs == 1
    # six older refreshes: their prices, and texts that nobody has any more
    assert found.rows["selections"] == DAYS - 1
    assert found.rows["documents"] == CHANGED * (DAYS - 1)
    assert found.rows["embeddings"] == CHANGED * (DAYS - 1)
    assert sum(name.startswith("boards/") for name in found.files) == DAYS - 1


def test_after_gc_a_refresh_gives_the_same_manifest_and_does_nothing_again(pool, refresh):
    (pool / "warehouse" / "text" / "half.parquet.staging").write_text("half")
    (pool / "warehouse" / "text" / "orphan.parquet").write_text("unregistered")
    (pool / "warehouse" / "language_models" / "x.staging").mkdir(parents=True)
    (pool / "warehouse" / "spill").mkdir(exist_ok=True)
    (pool / "warehouse" / "spill" / "left").write_text("spilled")
    (pool / "manifests" / "week" / ".staging-0123").mkdir()
    (pool / "manifests" / "week" / ".latest.json.tmp").write_text("{")
    published = (pool / "manifests" / "week" / "latest.json").read_text()
    versions = dict(tree(pool / "manifests").items())
    work = stored_work(pool)

    found = collect(*settings_of(pool, "retention.runs=1"))

    assert found.applied
    left = set(tree(pool))
    assert not [name for name in left if "stag" in name or "orphan" in name or "tmp" in name]
    assert "warehouse/spill/left" not in left
    assert {"text/half.parquet.staging", "text/orphan.parquet", "spill/left"} <= set(found.files)
    assert (pool / "manifests" / "week" / "latest.json").read_text() == published
    assert versions == tree(pool / "manifests")
    gone = CHANGED * (DAYS - 1)
    assert stored_work(pool)[::2] == (work[0] - gone, work[2] - gone)

    again = refresh(pool / "pool.yaml")

    assert not again.published
    assert again.manifest_id == json.loads(published)["manifest_id"]
    assert stored_work(pool)[::2] == (work[0] - gone, work[2] - gone)
    stages = stages_of(pool, again.run_id)
    assert new_of(stages, "embed documents") == 0
    assert [new_of(stages, f"signal {name}") for name in SIGNALS] == [0, 0, 0]
    assert plan_collection(*settings_of(pool, "retention.runs=2")).rows == {}


def test_gc_leaves_what_an_unfinished_run_may_go_on_with(pool, refresh):
    late = [document(number) for number in range(9_000, 9_010)]
    write_rows(pool / "data" / "late.jsonl", late)
    path = pool / "warehouse" / "bourse.duckdb"
    refresh(pool / "pool.yaml", "manifest.include_text=false")
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "update runs set status = 'failed', stages = '[]' "
            "where run_id = (select max(run_id) from runs)"
        )
    work = stored_work(pool)

    found = collect(*settings_of(pool, "retention.runs=1"))

    assert found.is_unfinished
    assert found.rows["selections"] == DAYS - 1
    assert stored_work(pool) == work
    assert refresh(pool / "pool.yaml").candidates == FIRST + NEW * (DAYS - 1) + 10
    assert stored_work(pool) == work


def test_gc_is_refused_while_the_warehouse_is_written(pool):
    with hold_warehouse(pool / "warehouse", threads=1, memory_limit="500MB"):
        for work in (plan_collection, collect):
            with pytest.raises(WarehouseLockedError, match=str(os.getpid())):
                work(*settings_of(pool))


@pytest.fixture(scope="session")
def killing():
    """The module that kills refreshes."""
    path = ROOT / "benchmarks" / "recovery" / "kill_refreshes.py"
    spec = importlib.util.spec_from_file_location("kill_refreshes", path)
    sys.modules["kill_refreshes"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def other_processes(prefect_server, killing, tmp_path):
    """The environment in which another process finds this session's Prefect server."""
    from prefect.settings import PREFECT_API_URL

    return killing.refresh_environment(PREFECT_API_URL.value(), tmp_path / "prefect")


@pytest.mark.slow
def test_refreshes_that_are_killed_end_as_one_that_was_not(killing, other_processes, tmp_path):
    base = killing.prepared_pool(
        tmp_path / "base", other_processes, padding_bytes=0, signals=["rarity", "length"]
    )
    shutil.copytree(base, tmp_path / "clean")
    clean = killing.clean_refresh(tmp_path / "clean", other_processes)
    points = [
        killing.KillPoint("ingest rows", 0.5),
        killing.KillPoint("drop near duplicates", 0.7, is_alone=True),
        killing.KillPoint("clear market", 0.4),
        killing.KillPoint("publish manifest", step=f"os.rename v{clean.version:06d}"),
        killing.KillPoint("publish manifest", step="os.rename latest.json"),
    ]

    outcome, fell = killing.killed_refresh(base, other_processes, clean, points)
    killing.collect_garbage(base, other_processes)

    assert len(fell) >= 4  # the last one may find the version already in its place
    assert killing.differences(base, outcome, clean) == []


RUN = [sys.executable, "-c", "from flows.cli import app; app()", "run"]


def test_a_server_that_cannot_be_reached_is_one_line(other_processes, pool):
    nowhere = other_processes | {
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "PREFECT_CLIENT_MAX_RETRIES": "1",
    }
    ended = subprocess.run(
        [*RUN, pool / "pool.yaml"], env=nowhere, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("error: the Prefect server http://127.0.0.1:9/api does not answer")
    assert "run the same command again" in last
    assert "Traceback" not in ended.stderr


def test_two_refreshes_at_once_one_waits_and_both_come_to_the_same(other_processes, pool):
    write_rows(pool / "data" / "late.jsonl", [document(number) for number in range(8_000, 8_010)])
    command = [*RUN, str(pool / "pool.yaml"), "--json", "--wait", "5"]
    runs = [
        subprocess.Popen(
            command,
            env=other_processes,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [run.communicate(timeout=280) for run in runs]

    assert [run.returncode for run in runs] == [0, 0], told
    outcomes = [json.loads(out) for out, _ in told]
    assert sorted(each["published"] for each in outcomes) == [False, True]
    assert {each["version"] for each in outcomes} == {DAYS + 1}
    assert len({each["manifest_id"] for each in outcomes}) == 1
    statuses = rows_of(pool, "select status, count(*) from runs group by all")
    assert statuses == [("completed", DAYS + 2)]

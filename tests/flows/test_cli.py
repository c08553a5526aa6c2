"""The command line as a user meets it: help, one-line errors, exit codes, JSON."""

import json
import os
import subprocess
import sys
import time

import pytest

COMMANDS = (
    "demo",
    "init",
    "validate",
    "run",
    "price",
    "explain",
    "attribution",
    "compare",
    "doctor",
    "gc",
)


@pytest.fixture
def databourse(tmp_path):
    """Return a function that runs the command in a process of its own."""
    environment = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect"), "COLUMNS": "100"}

    def run(*arguments, **settings):
        command = [sys.executable, "-c", "from flows.cli import app; app()", *map(str, arguments)]
        return subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=250,
            **settings,
        )

    return run


def one_line_error(finished, code):
    assert finished.returncode == code, finished.stderr
    assert finished.stdout == ""
    assert finished.stderr.startswith("error: ")
    assert finished.stderr.count("\n") == 1
    return finished.stderr


def test_help_lists_the_commands_and_starts_quickly(databourse):
    started = time.perf_counter()
    shown = databourse("--help")
    seconds = time.perf_counter() - started

    assert shown.returncode == 0
    for command in (*COMMANDS, "manifest"):
        assert command in shown.stdout
    assert seconds < 10  # a guard against heavy imports; the promise of 1 s is measured elsewhere


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(databourse, command):
    assert f"Example: databourse {command}" in databourse(command, "--help").stdout


def test_the_config_that_init_writes_is_valid_once_there_is_data(databourse, tmp_path):
    assert databourse("init", tmp_path / "pool").returncode == 0
    config = tmp_path / "pool" / "databourse.yaml"
    assert "'data/*.jsonl' matches no file" in one_line_error(databourse("validate", config), 1)
    (tmp_path / "pool" / "data").mkdir()
    (tmp_path / "pool" / "data" / "a.jsonl").write_text('{"text": "hello"}\n')

    checked = databourse("validate", config, "--show")

    assert checked.returncode == 0, checked.stderr
    assert "my_source: data/a.jsonl" in checked.stdout
    assert "21 bands of 6 compare a pair with probability 0.4: 0.083" in checked.stdout
    assert "0.8: 0.998" in checked.stdout
    assert "length_bias: 1.0" in checked.stdout
    one_line_error(databourse("init", tmp_path / "pool"), 2)


@pytest.mark.parametrize(
    ("change", "code", "expected"),
    [
        ({"budgt": {"tokens": 3}}, 2, "did you mean 'budget'?"),
        ({"signals": ["rarety"]}, 2, "did you mean 'rarity'?"),
        ({"signals": [{"name": "rarity", "kk": 3}]}, 2, "did you mean 'k'?"),
        ({"encoder": "no/such/folder/anywhere"}, None, "no/such/folder/anywhere"),
        ({"tokenizer": "missing.json"}, None, "missing.json"),
    ],
)
def test_validate_names_what_is_wrong(databourse, small_pool, change, code, expected):
    finished = databourse("validate", small_pool(**change))
    assert expected in one_line_error(finished, code or finished.returncode)
    assert finished.returncode in {1, 2}


def test_validate_names_a_missing_column_and_a_missing_file(databourse, small_pool):
    source = {"name": "rows", "path": "data/*.csv", "text": "{body}"}
    path = small_pool(sources=[source])
    assert "data/*.csv" in one_line_error(databourse("validate", path), 1)
    (path.parent / "data" / "a.csv").write_text("text,label\nhello,a\n")
    assert "'body'" in one_line_error(databourse("validate", path), 1)


def test_run_prints_one_json_object_and_says_when_nothing_is_new(databourse, small_pool):
    path = small_pool()

    first = databourse("run", path, "--json")
    again = databourse("run", path, "--set", "compute.threads=2")

    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout)
    assert result["published"] is True
    assert result["tokens"] <= 900
    assert result["dropped"]["exact_duplicate"] == 5
    assert "embed documents" in first.stderr
    assert again.returncode == 0, again.stderr
    assert "Nothing new" in again.stdout
    assert result["manifest_id"][:16] in again.stdout
    checked = databourse("manifest", "verify", result["path"])
    assert checked.returncode == 0


def test_a_killed_refresh_continues_to_the_same_manifest(databourse, small_pool, tmp_path):
    clean = json.loads(databourse("run", small_pool("clean"), "--json").stdout)
    path = small_pool("killed")
    environment = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect")}
    command = [sys.executable, "-c", "from flows.cli import app; app()", "run", str(path), "--json"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        for line in process.stderr:
            if "embed documents" in line:
                break
        process.kill()

    finished = databourse("run", path, "--json")

    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["manifest_id"] == clean["manifest_id"]


def test_doctor_tells_what_is_there(databourse):
    found = {each["what"]: each for each in json.loads(databourse("doctor", "--json").stdout)}
    assert found["duckdb"]["present"]
    assert found["prefect server"]["found"]

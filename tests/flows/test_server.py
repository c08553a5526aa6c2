"""Against a real Prefect server: a cron schedule creates a run by itself, and it completes."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

SERVE = """
from flows.refresh_pool import refresh_pool
refresh_pool.serve(
    name="every-minute",
    cron="* * * * *",
    parameters={"config_path": %r},
    print_starting_message=False,
)
"""
PATIENCE_SECONDS = 240


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def wait_for(found, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if result := found():
                return result
        except OSError:
            pass  # the server is not up yet
        time.sleep(1)
    pytest.fail(f"no {what} within {PATIENCE_SECONDS} s")


@pytest.fixture
def server(tmp_path):
    """A Prefect server of its own: its address, and the environment that points to it."""
    port = free_port()
    environment = os.environ | {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}/api"
            wait_for(lambda: ask(f"{url}/health"), "healthy server")
            yield url, environment | {"PREFECT_API_URL": url}
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE_SECONDS + 60)
def test_a_cron_run_is_created_completes_and_leaves_an_artifact(server, small_pool, tmp_path):
    url, environment = server
    config = small_pool(pool="scheduled")
    with (tmp_path / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE % str(config)], env=environment, stdout=log, stderr=log
        )
        try:
            wanted = {
                "flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}
            }
            runs = wait_for(
                lambda: ask(f"{url}/flow_runs/filter", wanted), "finished scheduled run"
            )
        finally:
            process.terminate()
            process.wait(timeout=30)

    assert runs[0]["state"]["type"] == "COMPLETED", runs[0]["state"]
    assert runs[0]["auto_scheduled"]
    assert runs[0]["name"].startswith("scheduled-")
    tasks = ask(f"{url}/task_runs/filter", {"flow_runs": {"id": {"any_": [runs[0]["id"]]}}})
    names = {run["name"] for run in tasks}
    assert "embed_documents-scheduled" in names
    assert all("scheduled" in name for name in names)
    artifacts = ask(f"{url}/artifacts/filter", {"limit": 50})
    summary = next(each for each in artifacts if each["key"] == "refresh-scheduled")
    assert "bought" in summary["data"].lower()
    latest = json.loads((config.parent / "manifests" / "scheduled" / "latest.json").read_text())
    assert latest["version"] == 1

"""One machine: a Prefect server and UI on loopback; with configs, deployments and a worker too.

    python infra/serve.py [CONFIG ...]

PORT says where (4200). It ends with Ctrl-C or SIGTERM, and takes server and worker along; a run
that is under way is reported as crashed and may be run again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from deploy import INFRA, WORK_POOL

HOST = "127.0.0.1"
PATIENCE_SECONDS = 300
SHUTDOWN_SECONDS = 30


def serve(configs: list[str]) -> int:
    """Serve until a process ends or this one is told to; return the exit code."""
    port = os.environ.get("PORT", "4200")
    api = f"http://{HOST}:{port}/api"
    environment = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # SQLite has one writer: others wait, not fail
        **os.environ,
        "PREFECT_API_URL": api,
    }
    prefect = [sys.executable, "-m", "prefect"]
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(
                _running([*prefect, "server", "start", "--host", HOST, "--port", port], environment)
            )
        ]
        if configs:
            _wait_until_healthy(f"{api}/health", running[0])
            deployment = [sys.executable, str(INFRA / "deploy.py"), *configs]
            subprocess.run(deployment, env=environment, check=True)
            worker = [*prefect, "worker", "start", "--pool", WORK_POOL, "--type", "process"]
            running.append(stack.enter_context(_running(worker, environment)))
        while all(process.poll() is None for process in running):
            time.sleep(0.5)
        return max(abs(process.returncode or 0) for process in running)


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command while the block works, in a group of its own so that nothing is left over."""
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=SHUTDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.5)
    sys.exit(f"error: no server at {url}; what it said is above")


def _stop(number: int, _frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        sys.exit(serve([str(Path(each).resolve()) for each in sys.argv[1:]]))
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)

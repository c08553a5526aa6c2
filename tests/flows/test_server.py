"""A real Prefect server: deployed by infra/deploy.py, run by a worker on schedule, read by its API.

Once with SQLite behind basic authentication, once with PostgreSQL, set up as in infra/compose.yaml.
"""

import base64
import contextlib
import datetime as dt
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 900
ENDED = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
POSTGRES_FOLDERS = os.pathsep.join(map(str, Path("/usr/lib/postgresql").glob("*/bin")))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * PATIENCE_SECONDS)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(found, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if result := found():
                return result
        except OSError:
            pass  # nobody listens yet
        time.sleep(0.5)
    pytest.fail(f"no {what} within {PATIENCE_SECONDS} s")


@contextlib.contextmanager
def running(command, log, **settings):
    """Run a command in a process group of its own; the whole group is gone afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True, **settings
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                pass
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def database_program(name):
    return shutil.which(name) or shutil.which(name, path=POSTGRES_FOLDERS)


@contextlib.contextmanager
def postgres(log):
    """Run a PostgreSQL of our own; give the settings of a Prefect server that uses it."""
    if not (database_program("initdb") and database_program("postgres")):
        pytest.skip("PostgreSQL is not installed: neither PATH nor /usr/lib/postgresql has initdb")
    # PostgreSQL refuses to run as root
    user = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
    port, password = free_port(), "p@ss/word:%20"
    with tempfile.TemporaryDirectory(prefix="databourse-postgres-") as name:
        folder = Path(name)
        (folder / "password").write_text(password)
        if user:
            for path in (folder, folder / "password"):
                shutil.chown(path, "nobody")
        settings = [
            *("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"),
            *("-c", "fsync=off", "-p", str(port)),
        ]
        subprocess.run(
            [
                *(database_program("initdb"), "-D", folder / "data", "-U", "prefect", "--no-sync"),
                *("--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "-E", "UTF8"),
            ],
            check=True,
            capture_output=True,
            cwd=folder,
            **user,
        )
        command = [database_program("postgres"), "-D", folder / "data", *settings]
        with running(command, log, cwd=folder, **user):
            wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close() or True, "port")
            prefix = "PREFECT_SERVER_DATABASE_"
            yield {
                f"{prefix}DRIVER": "postgresql+asyncpg",
                f"{prefix}HOST": "127.0.0.1",
                f"{prefix}PORT": str(port),
                f"{prefix}NAME": "postgres",
                f"{prefix}USER": "prefect",
                f"{prefix}PASSWORD": password,
            }


@contextlib.contextmanager
def notified():
    """Take notifications; give the address, a secret in itself, and the list they end up in."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            heard.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hooks/T0KEN-of-the-hook", heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Served:
    """A server with the deployments of a pool and a worker."""

    def __init__(self, url, folder, secrets, heard):
        self.url, self.folder, self.secrets, self.heard = url, folder, secrets, heard
        self.manifests = folder / "manifests" / "nightly_news"

    def bytes_of(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if authorisation := self.secrets.get("PREFECT_API_AUTH_STRING"):
            token = base64.b64encode(authorisation.encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        request = urllib.request.Request(self.url + path, data, headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310
            return answer.read()

    def ask(self, path, body=None):
        """Ask again while a busy server gives up on its database or is too slow."""

        def answer():
            try:
                return (json.loads(self.bytes_of(path, body)),)
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    pytest.fail(f"{path}: {error.code} {error.read()[:500]}")
                raise

        return wait_for(answer, f"answer to {path}")[0]

    def deployment(self, name):
        return self.ask(f"/deployments/name/{name}")

    def started_run(self, deployment):
        """Wait for the first run of a deployment that started."""
        wanted = {
            "flow_runs": {
                "deployment_id": {"any_": [deployment["id"]]},
                "start_time": {"is_null_": False},
            },
            "sort": "START_TIME_ASC",
        }
        return wait_for(lambda: self.ask("/flow_runs/filter", wanted), "run that started")[0]

    def ended_run(self, run):
        """Wait for a run to end, and return it as it ended."""

        def ended():
            now = self.ask(f"/flow_runs/{run['id']}")
            return now if now["state"]["type"] in ENDED else None

        return wait_for(ended, "run that ended")

    def artifacts(self, run):
        wanted = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}, "limit": 200}
        return {each["key"]: each for each in self.ask("/artifacts/filter", wanted)}


def environment_of(folder, **settings):
    """Return the environment of a command: ours, without what says which server or pool."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "DATABOURSE_"))
    }
    return inherited | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLIENT_MAX_RETRIES": "10",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "120",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
        **settings,
    }


def signing_key():
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@contextlib.contextmanager
def serving(folder, write_pool, database, authorisation):
    """Serve one pool: a server, what deploy.py puts there, and a worker."""
    config = write_pool(folder, pool="nightly_news")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    prefect = [sys.executable, "-m", "prefect"]
    with contextlib.ExitStack() as stack:
        hook, heard = stack.enter_context(notified())
        secrets = {"DATABOURSE_SIGNING_KEY": signing_key(), "DATABOURSE_NOTIFY_URL": hook}
        if authorisation:
            secrets["PREFECT_API_AUTH_STRING"] = authorisation
        on_server = environment_of(folder, **database)
        if authorisation:
            on_server["PREFECT_SERVER_API_AUTH_STRING"] = authorisation
        server = [*prefect, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        stack.enter_context(running(server, folder / "server.log", env=on_server))
        served = Served(url, folder, secrets, heard)
        wait_for(lambda: served.bytes_of("/health"), "healthy server")
        client = environment_of(folder, PREFECT_API_URL=url, **secrets)
        deploy = [sys.executable, str(ROOT / "infra" / "deploy.py"), str(config)]
        deployed = subprocess.run(
            deploy, env=client, cwd=folder, capture_output=True, text=True, check=False
        )
        (folder / "deploy.log").write_text(deployed.stdout + deployed.stderr)
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        worker = [*prefect, "worker", "start", "--pool", "databourse", "--type", "process"]
        stack.enter_context(running(worker, folder / "worker.log", env=client, cwd=folder))
        yield served


def fire_soon(served, deployment):
    """Give a deployment another schedule; it fires within seconds, and again if that was missed."""
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=15)
    schedule = {
        "interval": PATIENCE_SECONDS / 2,
        "anchor_date": soon.isoformat(),
        "timezone": "UTC",
    }
    served.ask(
        f"/deployments/{deployment['id']}/schedules", [{"active": True, "schedule": schedule}]
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory, write_pool):
    """A server on SQLite that wants a password."""
    folder = tmp_path_factory.mktemp("served")
    with serving(folder, write_pool, {}, "operator:s3cret-of-the-api") as started:
        yield started


@pytest.fixture(scope="module")
def runs(served):
    """Two runs: a scheduled one that publishes, and one at the same time that must fail."""
    nightly = served.deployment("refresh_pool/nightly_news-nightly")
    fire_soon(served, nightly)
    scheduled = served.started_run(nightly)
    parameters = nightly["parameters"] | {
        "overrides": ["deduplicate.max_removed_share_per_source=0.001"]
    }
    waiting = served.ask(
        f"/deployments/{nightly['id']}/create_flow_run",
        {
            "parameters": parameters,
            "state": {"type": "SCHEDULED"},
            "idempotency_key": "must-fail",  # asked twice, created once
        },
    )
    return served.ended_run(scheduled), served.ended_run(waiting)


def test_the_shipped_schedules_create_runs(served):
    expected = {
        "refresh_pool/nightly_news-nightly": (range(7), 3),
        "settle_market/nightly_news-weekly-settlement": ([6], 5),
        "compare_selectors/nightly_news-weekly-comparison": ([6], 7),
    }
    for name, (days, hour) in expected.items():
        deployment = served.deployment(name)
        wanted = {
            "flow_runs": {
                "deployment_id": {"any_": [deployment["id"]]},
                "state": {"type": {"any_": ["SCHEDULED"]}},
                "tags": {"all_": ["auto-scheduled", "databourse", "pool:nightly_news"]},
            }
        }
        found = wait_for(lambda: served.ask("/flow_runs/filter", wanted), f"run of {name}")  # noqa: B023
        times = [dt.datetime.fromisoformat(run["expected_start_time"]) for run in found]
        on_the_hour = [at for at in times if (at.minute, at.second, at.microsecond) == (0, 0, 0)]
        assert len(on_the_hour) >= 3
        assert all(at.weekday() in days and at.hour == hour for at in on_the_hour)


def test_a_scheduled_refresh_completes_and_publishes(served, runs):
    published, _ = runs
    assert published["auto_scheduled"]
    assert published["state"]["type"] == "COMPLETED", published["state"]
    assert published["work_queue_name"] == "nightly_news"
    states = served.ask(f"/flow_run_states/?flow_run_id={published['id']}")
    reached = [each["type"] for each in sorted(states, key=lambda each: each["timestamp"])]
    assert reached[0] == "SCHEDULED"
    assert reached[-3:] == ["PENDING", "RUNNING", "COMPLETED"]
    tasks = served.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [published["id"]]}}})
    assert {each["state"]["type"] for each in tasks} == {"COMPLETED"}
    assert "embed_documents-nightly_news" in {each["name"] for each in tasks}
    latest = json.loads((served.manifests / "latest.json").read_text())
    assert latest["version"] == 1


def test_a_refresh_is_named_by_its_version_and_leaves_artifacts(served, runs):
    published, failed = runs
    assert published["name"] == "nightly_news-v000001"
    assert re.fullmatch(r"nightly_news-\d{8}T\d{6}-[0-9a-f]{6}", failed["name"])
    left = served.artifacts(published)
    tables = {
        name: json.loads(left[f"{name}-nightly-news"]["data"])
        for name in ("funnel", "tokens-by-topic", "tokens-by-source", "prices-by-topic", "versions")
    }
    info = json.loads((served.manifests / "v000001" / "manifest.json").read_text())
    assert tables["funnel"][-1]["left"] == info["spent"]["documents"]
    for name in ("tokens-by-topic", "tokens-by-source"):
        assert sum(row["tokens bought"] for row in tables[name]) == info["spent"]["tokens"]
    assert tables["versions"][0]["tokens"] == info["spent"]["tokens"]
    for name in ("tokens-by-topic", "budget-curve", "price-mass"):
        picture = left[f"plot-{name}-nightly-news"]
        assert picture["type"] == "image"
        assert picture["data"].startswith("data:image/svg+xml;base64,")
    assert "bought" in left["refresh-nightly-news"]["data"]
    assert str(served.manifests / "v000001") in left["manifest-nightly-news"]["data"]


def test_what_a_refresh_made_shows_in_the_event_feed(served, runs):
    wanted = {"filter": {"event": {"name": ["prefect.asset.materialization.succeeded"]}}}
    found = wait_for(lambda: served.ask("/events/filter", wanted)["events"], "asset event")
    made = {
        each["resource"]["prefect.resource.id"]: {
            related["prefect.resource.id"] for related in each["related"]
        }
        for each in found
    }
    assert "databourse://nightly_news/prices" in made["databourse://nightly_news/manifest"]


def test_runs_of_one_pool_do_not_overlap(runs):
    published, failed = runs
    assert failed["created"] < published["end_time"]
    assert failed["start_time"] >= published["end_time"]


def test_a_failed_run_is_told_to_who_asked(served, runs):
    _, failed = runs
    assert failed["state"]["type"] == "FAILED"
    heard = wait_for(lambda: served.heard, "notification")
    time.sleep(2)
    assert len(set(heard)) == 1  # a server under load delivers an event more than once
    text = json.loads(heard[0])["text"]
    assert failed["name"] in text
    assert "max_removed_share_per_source" in text


def test_deploying_again_changes_nothing_and_adds_nothing(served, runs):
    before = served.ask("/deployments/filter", {})
    command = [sys.executable, str(ROOT / "infra" / "deploy.py"), str(served.folder / "pool.yaml")]
    client = environment_of(served.folder, PREFECT_API_URL=served.url, **served.secrets)
    subprocess.run(command, env=client, check=True, capture_output=True)
    after = served.ask("/deployments/filter", {})
    assert [each["id"] for each in after] == [each["id"] for each in before]
    assert len(served.ask("/automations/filter", {})) == 2


def test_the_server_answers_nobody_without_the_password(served):
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{served.url}/flow_runs/count", b"{}", timeout=60)  # noqa: S310


def test_no_secret_of_the_environment_is_written_anywhere(served, runs):
    key = served.secrets["DATABOURSE_SIGNING_KEY"]
    secrets = [
        key.splitlines()[1].encode(),
        served.secrets["PREFECT_API_AUTH_STRING"].encode(),
        served.secrets["DATABOURSE_NOTIFY_URL"].rsplit("/", 1)[1].encode(),
    ]
    told = {
        path: served.bytes_of(path, body)
        for path, body in {
            "/logs/filter": {"limit": 200},
            "/artifacts/filter": {"limit": 200},
            "/flow_runs/filter": {"limit": 200},
            "/task_runs/filter": {"limit": 200},
            "/events/filter": {"limit": 50},
            "/automations/filter": {},
            "/block_documents/filter": {},
            "/deployments/filter": {},
        }.items()
    }
    ours = [served.folder / each for each in ("manifests", "warehouse")]
    files = [path for each in ours for path in each.rglob("*") if path.is_file()]
    told |= {path: path.read_bytes() for path in [*files, *served.folder.glob("*.log")]}
    assert (served.manifests / "v000001" / "provenance.dsse.json") in told, "it was not signed"
    assert b"documents" in told["/logs/filter"]
    assert [where for where, what in told.items() if any(each in what for each in secrets)] == []


def test_a_server_on_postgresql_runs_a_schedule(tmp_path, write_pool):
    with (
        postgres(tmp_path / "postgres.log") as database,
        serving(tmp_path, write_pool, database, None) as served,
    ):
        nightly = served.deployment("refresh_pool/nightly_news-nightly")
        fire_soon(served, nightly)
        run = served.ended_run(served.started_run(nightly))
        assert run["state"]["type"] == "COMPLETED", run["state"]
        assert run["auto_scheduled"]
        assert "bought" in served.artifacts(run)["refresh-nightly-news"]["data"]
        version = served.ask("/admin/version")
        assert version
    assert json.loads((served.manifests / "latest.json").read_text())["version"] == 1

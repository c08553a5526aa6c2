"""Refreshes of a small pool, killed with SIGKILL at random moments of every stage and run again.

python -m benchmarks.recovery.kill_refreshes --kills 30

A pool of a few hundred documents is refreshed and settled; then its files grow. That second refresh
(ingestion by several processes, exact and near dedup, decontamination, a language model that is
trained, topics, signals, a market with settled weights, publication) is done once undisturbed, and
on copies of the pool until every kill has fallen. After each, the manifest_id must be that of the
undisturbed one, the manifest must verify, and after `databourse gc` the warehouse and the manifests
must hold the very same files. One Prefect server serves all: its start takes longer than the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import yaml

_REPOSITORY = Path(__file__).resolve().parents[2]
_CHILD = Path(__file__).with_name("announced_refresh.py")
_PATIENCE_SECONDS = 600
PUBLISHING = "publish manifest"
INGESTING = "ingest rows"
SIGNALS = ("rarity", "length", "influence", "neighbour_agreement", "perplexity")
_WORDS = {
    "weather": [
        "rain",
        "wind",
        "storm",
        "cloud",
        "sun",
        "frost",
        "snow",
        "heat",
        "flood",
        "hail",
        "mist",
        "thaw",
        "drizzle",
        "gale",
    ],
    "kitchen": [
        "bread",
        "oven",
        "salt",
        "knife",
        "soup",
        "onion",
        "butter",
        "flour",
        "sauce",
        "pepper",
        "plate",
        "spice",
        "dough",
    ],
    "harbour": [
        "mast",
        "sail",
        "rope",
        "anchor",
        "tide",
        "keel",
        "crew",
        "rudder",
        "deck",
        "wave",
        "compass",
        "hull",
        "port",
        "buoy",
    ],
}


@dataclass(frozen=True)
class KillPoint:
    """Where a refresh is killed.

    Attributes:
        stage: when this stage has begun,
        share: and this share of the seconds that it takes undisturbed has passed,
        step: or before this step of it, such as "os.rename v000002"; "" for none.
        is_alone: only the process itself is killed, not those that it started.
    """

    stage: str
    share: float = 0.0
    step: str = ""
    is_alone: bool = False


@dataclass(frozen=True)
class Clean:
    """The undisturbed refresh: what came of it, and how long each stage took, in order."""

    manifest_id: str
    version: int
    seconds: dict[str, float]
    files: frozenset[str]
    wall_seconds: float


def write_pool(folder: Path, *, padding_bytes: int = 0, signals: Sequence[str] = SIGNALS) -> Path:
    """Write a pool of 240 documents and what is compared with it; return the config's path.

    Args:
        folder: is created.
        padding_bytes: of a column that nothing reads, in every row: makes the file so large that
            several processes parse it.
        signals: the traders; one that reads token losses has a language model trained.
    """
    folder.mkdir(parents=True)
    _write_rows(folder / "pool.jsonl", 0, 160, padding_bytes=padding_bytes)
    _write_rows(folder / "dev.jsonl", 1_000, 30)
    _write_rows(folder / "judge.jsonl", 2_000, 30)
    config = {
        "pool": "killed",
        "seed": 5,
        "sources": [
            {"name": "rows", "path": "pool.jsonl", "text": "{text}", "label": "label"},
        ],
        "targets": [{"name": "dev", "path": "dev.jsonl", "text": "{text}", "label": "label"}],
        "settlement": {
            "contracts": 40,
            "targets": [
                {"name": "judge", "path": "judge.jsonl", "text": "{text}", "label": "label"}
            ],
        },
        "encoder": "hashing",
        "topics": {"count": 3, "smallest": 5},
        "signals": list(signals),
        "language_model": {
            "window_tokens": 48,
            "overlap_tokens": 16,
            "reference": {
                "layers": 1,
                "width": 16,
                "heads": 2,
                "context_tokens": 48,
                "vocabulary": 300,
                "epochs": 1,
            },
        },
        "budget": {"share": 0.3},
        "compute": {"threads": 2, "memory_limit": "500MB", "batch_documents": 40},
    }
    path = folder / "pool.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def grow_pool(folder: Path, *, padding_bytes: int = 0) -> None:
    """Let the pool's file grow by 80 rows: new ones, copies, near copies, leaks of a target."""
    _write_rows(folder / "pool.jsonl", 0, 240, padding_bytes=padding_bytes)


def clean_refresh(folder: Path, environment: dict[str, str]) -> Clean:
    """Refresh a pool undisturbed and collect its garbage; return what came of it."""
    started = time.monotonic()
    outcome, seconds, _ = _attempt(folder / "pool.yaml", environment, None, {})
    wall = time.monotonic() - started
    if outcome is None:
        raise RuntimeError(f"the undisturbed refresh of {folder} failed")
    collect_garbage(folder, environment)
    return Clean(outcome["manifest_id"], outcome["version"], seconds, files_of(folder), wall)


def kill_points(clean: Clean, kills: int, rng: random.Random) -> list[KillPoint]:
    """Draw kill points: one in six around publication, one in fifteen of the parent alone.

    The others fall into stages drawn evenly, at an even share of the time each takes.
    """
    steps = [
        KillPoint(PUBLISHING, step=f"os.rename v{clean.version:06d}"),
        KillPoint(PUBLISHING, step="os.rename latest.json"),
    ]
    stages = sorted(clean.seconds)
    points = [steps[number % 2] for number in range(kills // 6)]
    points += [KillPoint(INGESTING, rng.random(), is_alone=True) for _ in range(kills // 15)]
    while len(points) < kills:
        points.append(KillPoint(rng.choice(stages), rng.random()))
    rng.shuffle(points)
    return points


def killed_refresh(
    folder: Path, environment: dict[str, str], clean: Clean, points: Sequence[KillPoint]
) -> tuple[dict[str, Any], list[str]]:
    """Refresh a pool, killed at each point in turn, until it is done.

    Returns:
        What came of it, and the stage in which each kill fell.

    Raises:
        RuntimeError: it fails otherwise than by being killed.
    """
    fell: list[str] = []
    for point in points:
        outcome, _, at = _attempt(folder / "pool.yaml", environment, point, clean.seconds)
        if outcome is None:
            fell.append(at)
    outcome, _, _ = _attempt(folder / "pool.yaml", environment, None, {})
    if outcome is None:
        raise RuntimeError(f"the refresh of {folder} cannot be completed after {fell}")
    return outcome, fell


def collect_garbage(folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Run `databourse gc --yes` on a pool; return what it says."""
    if _PRELOADED:
        return _collected_in_a_fork(folder)
    command = [*_PYTHON, "from flows.cli import app; app()", "gc"]
    done = subprocess.run(
        [*command, str(folder / "pool.yaml"), "--yes", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"gc of {folder} failed: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _collected_in_a_fork(folder: Path) -> dict[str, Any]:
    from databourse.config import load_config
    from databourse.refresh.retention import collect

    def work() -> None:
        print(json.dumps(asdict(collect(load_config(folder / "pool.yaml"), folder))))

    found: dict[str, Any] = json.loads(_told_by_a_fork(work, folder))
    return found


def _told_by_a_fork(work: Callable[[], object], folder: Path) -> str:
    """Do work in a fork; return what it printed."""
    with (folder / "refresh.log").open("a") as log:
        process = _forked(work, log)
    told = process.stdout.read() if process.stdout else ""
    if process.wait():
        raise RuntimeError((folder / "refresh.log").read_text()[-3_000:])
    return told


def files_of(folder: Path) -> frozenset[str]:
    """Return every file of the warehouse and the manifests of a pool, relative to its folder."""
    return frozenset(
        str(path.relative_to(folder))
        for name in ("warehouse", "manifests")
        for path in (folder / name).rglob("*")
        if path.is_file()
    )


def differences(folder: Path, outcome: dict[str, Any], clean: Clean) -> list[str]:
    """Return how a refresh that was killed differs from the undisturbed one, garbage collected."""
    from databourse.manifests import verify

    found = []
    if outcome["manifest_id"] != clean.manifest_id:
        found.append(f"manifest_id {outcome['manifest_id']}, not {clean.manifest_id}")
    if outcome["version"] != clean.version:
        found.append(f"version {outcome['version']}, not {clean.version}")
    if not verify(outcome["path"]).ok:
        found.append(f"{outcome['path']} does not verify")
    files = files_of(folder)
    found += [f"orphan {name}" for name in sorted(files - clean.files)]
    found += [f"missing {name}" for name in sorted(clean.files - files)]
    return found


_PYTHON = [sys.executable, "-c"]


def _attempt(
    config: Path,
    environment: dict[str, str],
    point: KillPoint | None,
    clean_seconds: dict[str, float],
) -> tuple[dict[str, Any] | None, dict[str, float], str]:
    """Run one refresh, killed at a point if one is given.

    Returns:
        What came of it (None: it was killed), the seconds of each stage that ended, and the stage
        that had begun last.
    """
    own = dict(environment)
    if point is not None and point.step:
        own["ANNOUNCE_STEPS"] = point.stage
    with (config.parent / "refresh.log").open("a") as log:
        if _PRELOADED:
            steps = own.get("ANNOUNCE_STEPS", "")
            announce = _PRELOADED[0].announced_refresh
            process = _forked(lambda: announce(str(config), [], with_steps=steps), log)
        else:
            process = _spawned(config, own, log)
    watch = _Watch(process, point, clean_seconds)
    guard = threading.Timer(_PATIENCE_SECONDS, process.kill)
    guard.start()
    try:
        outcome = watch.run()
    finally:
        guard.cancel()
        watch.end()
    if outcome is None and not watch.was_killed:
        tail = (config.parent / "refresh.log").read_text()[-3_000:]
        raise RuntimeError(f"the refresh of {config} failed by itself: {tail}")
    return outcome, watch.seconds, watch.at


class _Fork:
    """A forked child, with what is needed here of a Popen."""

    def __init__(self, pid: int, stdin: IO[str], stdout: IO[str]) -> None:
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        self._code: int | None = None

    def wait(self) -> int:
        """Wait for its end; return the code that it ended with, negative if it was killed."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def kill(self) -> None:
        """Kill it alone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def _spawned(
    config: Path, environment: dict[str, str], log: IO[str]
) -> subprocess.Popen[str] | _Fork:
    """Start a refresh as a program of its own."""
    return subprocess.Popen(
        [sys.executable, str(_CHILD), str(config)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )


_PRELOADED: list[Any] = []


def preload(environment: dict[str, str]) -> None:
    """Import what refreshes need, so that each is forked with it: imports take longer than they do.

    For a process without threads, and without Prefect in it yet.
    """
    os.environ.update(environment)
    sys.path[:0] = [str(_REPOSITORY / "src"), str(_REPOSITORY)]
    for name in (
        "great_expectations",
        "sklearn.linear_model",
        "torch",
        "transformers",
        "matplotlib",
    ):
        importlib.import_module(name)
    importlib.import_module("databourse.dedup.kernels")
    _PRELOADED.append(importlib.import_module("benchmarks.recovery.announced_refresh"))


def _forked(work: Callable[[], object], log: IO[str]) -> subprocess.Popen[str] | _Fork:
    """Start work in a fork of this process, the leader of a session of its own."""
    to_child, from_child = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        for descriptor, place in ((to_child[0], 0), (from_child[1], 1), (log.fileno(), 2)):
            os.dup2(descriptor, place)
        for descriptor in (*to_child, *from_child):
            os.close(descriptor)
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - the parent reads of it in the log
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(to_child[0])
    os.close(from_child[1])
    return _Fork(pid, os.fdopen(to_child[1], "w"), os.fdopen(from_child[0]))


class _Watch:
    """Reads what a refresh announces, and kills it where it should be killed."""

    def __init__(
        self,
        process: subprocess.Popen[str] | _Fork,
        point: KillPoint | None,
        clean_seconds: dict[str, float],
    ) -> None:
        self._process, self._point, self._clean = process, point, clean_seconds
        self._timer: threading.Timer | None = None
        self.seconds: dict[str, float] = {}
        self.at = "start"
        self.was_killed = False

    def run(self) -> dict[str, Any] | None:
        """Follow the refresh to its end; return what came of it, None if it was killed."""
        outcome = None
        for line in self._process.stdout or ():
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind == "stage":
                self.at = rest
                self._begin(rest)
            elif kind == "done":
                name, _, seconds = rest.rpartition(" ")
                self.seconds[name] = float(seconds)
            elif kind == "step":
                self._step(rest)
            elif kind == "outcome":
                outcome = json.loads(rest)
        self._process.wait()
        return None if self.was_killed and outcome is None else outcome

    def end(self) -> None:
        """Leave no process and no clock behind."""
        if self._timer is not None:
            self._timer.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _begin(self, stage: str) -> None:
        point = self._point
        if point is None or point.step or point.stage != stage or self._timer is not None:
            return
        self._timer = threading.Timer(point.share * self._clean.get(stage, 0.0), self._kill)
        self._timer.start()

    def _step(self, step: str) -> None:
        if self._point is not None and step == self._point.step:
            self._kill()
        elif self._process.stdin is not None:
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def _kill(self) -> None:
        self.was_killed = True
        with contextlib.suppress(ProcessLookupError):
            if self._point is not None and self._point.is_alone:
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)


def _write_rows(path: Path, first: int, rows: int, *, padding_bytes: int = 0) -> None:
    """Write numbered rows; two of twelve repeat or nearly repeat an earlier one."""
    kinds = sorted(_WORDS)
    lines = []
    texts: list[str] = []
    for number in range(first, first + rows):
        draw = random.Random(number)  # noqa: S311 - not for secrets
        kind = kinds[number % len(kinds)]
        text = f"note {number} on " + " ".join(draw.choices(_WORDS[kind], k=draw.randint(12, 40)))
        if number % 12 == 5 and texts:
            text = draw.choice(texts)
        elif number % 12 == 7 and texts:
            text = draw.choice(texts) + " again"
        elif number % 48 == 11 and first == 0:
            leaked = random.Random(1_000)  # noqa: S311
            text = "note 1000 on " + " ".join(
                leaked.choices(_WORDS[kinds[1_000 % len(kinds)]], k=leaked.randint(12, 40))
            )
        texts.append(text)
        padding = {"padding": "x" * padding_bytes} if padding_bytes else {}
        lines.append(json.dumps({"text": text, "label": kind, **padding}))
    if first == 0:
        lines.append("{broken")
    path.write_text("\n".join(lines) + "\n")


def prepared_pool(
    folder: Path,
    environment: dict[str, str],
    *,
    padding_bytes: int,
    signals: Sequence[str] = SIGNALS,
) -> Path:
    """Write a pool, refresh and settle it, and let it grow; return its folder."""
    config = write_pool(folder, padding_bytes=padding_bytes, signals=signals)
    for flow in ("refresh_pool", "settle_market"):
        if _PRELOADED:
            work = getattr(importlib.import_module(f"flows.{flow}"), flow)
            _told_by_a_fork(partial(work, str(config)), folder)
            continue
        program = f"from flows.{flow} import {flow}; {flow}({str(config)!r})"
        done = subprocess.run(
            [*_PYTHON, program], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{flow} failed: {done.stderr[-3_000:]}")
    grow_pool(folder, padding_bytes=padding_bytes)
    return folder


@contextlib.contextmanager
def one_server(folder: Path) -> Iterator[dict[str, str]]:
    """Start a Prefect server; give the environment in which refreshes find it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = refresh_environment(f"http://127.0.0.1:{port}/api", folder / "prefect")
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5)
                break
            time.sleep(0.5)
        yield environment
    finally:
        server.terminate()
        server.wait(timeout=60)


def refresh_environment(api_url: str, prefect_home: Path) -> dict[str, str]:
    """Return the environment of refreshes that use a server, and this repository's code."""
    code = os.pathsep.join(
        [str(_REPOSITORY / "src"), str(_REPOSITORY), os.environ.get("PYTHONPATH", "")]
    )
    return os.environ | {
        "PREFECT_API_URL": api_url,
        "PREFECT_HOME": str(prefect_home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": code,
    }


def main() -> None:
    """Kill, compare, and print what was found; exit with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--kills-per-refresh", type=int, default=3)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--padding-bytes", type=int, default=150_000, help="per row: 36 MB in all")
    options = parser.parse_args()
    rng = random.Random(options.seed)  # noqa: S311 - not for secrets
    fell: Counter[str] = Counter()
    found: list[str] = []
    refreshes = 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name, one_server(Path(name)) as environment:
        folder = Path(name)
        preload(environment)
        base = prepared_pool(folder / "base", environment, padding_bytes=options.padding_bytes)
        undisturbed = folder / "clean"
        shutil.copytree(base, undisturbed)
        clean = clean_refresh(undisturbed, environment)
        stages = ", ".join(f"{stage} {took:.1f}" for stage, took in clean.seconds.items())
        print(f"undisturbed: {clean.wall_seconds:.1f} s; {stages}", flush=True)
        points = kill_points(clean, options.kills, rng)
        while points:
            now, points = points[: options.kills_per_refresh], points[options.kills_per_refresh :]
            copy = folder / "killed"
            shutil.copytree(base, copy)
            outcome, where = killed_refresh(copy, environment, clean, now)
            collect_garbage(copy, environment)
            differs = differences(copy, outcome, clean)
            refreshes += 1
            fell.update(where)
            found += differs
            planned = ", ".join(
                f"{point.stage}{f' ({point.step})' * bool(point.step)}" for point in now
            )
            print(f"planned {planned}; killed in {where}; {differs or 'the same'}", flush=True)
            shutil.rmtree(copy)
    minutes = (time.monotonic() - started) / 60
    print(
        f"{sum(fell.values())} kills in {refreshes} refreshes, {len(fell)} different stages, "
        f"{len(found)} differences, {minutes:.1f} minutes: {dict(fell.most_common())}"
    )
    sys.exit(bool(found))


if __name__ == "__main__":
    main()

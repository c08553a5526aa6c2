"""A refresh that tells, line by line, what it is about to do, so that somebody can kill it there.

Run as a program: CONFIG [KEY=VALUE ...]. Standard output gets `stage NAME` as each stage begins and
`done NAME SECONDS` as it ends; in the stages named by ANNOUNCE_STEPS also `step EVENT NAME` before
each file is renamed or removed, and then the process waits for a line on standard input. The last
line is `outcome JSON`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from databourse.progress import ProgressReport
from databourse.refresh.context import StageReport
from flows.refresh_pool import refresh_pool
from tasks.stages import set_display

_STEPS = ("os.rename", "os.remove", "shutil.rmtree")


class Announcer:
    """A display that prints."""

    def __init__(self, with_steps: frozenset[str]) -> None:
        self._with_steps = with_steps
        self._present = threading.local()

    @contextlib.contextmanager
    def bar(self, stage: str, total: int | None) -> Iterator[ProgressReport]:  # noqa: ARG002 - a display's
        """Tell that a stage begins."""
        print(f"stage {stage}", flush=True)
        self._present.stage = stage
        try:
            yield lambda _: None
        finally:
            self._present.stage = ""

    def done(self, report: StageReport) -> None:
        """Tell that it has ended."""
        print(f"done {report.stage} {report.seconds:.3f}", flush=True)

    def watch(self, event: str, arguments: tuple[object, ...]) -> None:
        """Tell of a step and wait; an audit hook."""
        if event in _STEPS and getattr(self._present, "stage", "") in self._with_steps:
            target = arguments[1] if event == "os.rename" else arguments[0]
            print(f"step {event} {Path(os.fsdecode(str(target))).name}", flush=True)
            sys.stdin.readline()


def announced_refresh(config: str, overrides: list[str], *, with_steps: str) -> None:
    """Refresh a pool and tell about it on standard output.

    Args:
        config: path of its config.
        overrides: `key=value` pairs over it.
        with_steps: stages whose steps are announced, parted by commas.
    """
    announcer = Announcer(frozenset(filter(None, with_steps.split(","))))
    set_display(announcer)
    sys.addaudithook(announcer.watch)
    outcome = refresh_pool(config, overrides)
    print("outcome " + json.dumps(asdict(outcome)), flush=True)


if __name__ == "__main__":
    announced_refresh(sys.argv[1], sys.argv[2:], with_steps=os.environ.get("ANNOUNCE_STEPS", ""))

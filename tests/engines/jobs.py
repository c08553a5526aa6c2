"""Jobs of tests: importable, since worker processes look functions up by name."""

import os
import signal
import time
from functools import partial
from pathlib import Path

from databourse.engines import Elsewhere, Job
from databourse.errors import InputError


def squares_job(folder=None, log=None):
    """Return a job of lists of numbers; results name the process, and what a folder holds."""
    folders = () if folder is None else (folder,)
    return Job(
        here=partial(_opened, log, folders),
        there=lambda: Elsewhere(partial(_opened, log), folders),
        size=len,
    )


def _opened(log, folders):
    note = "".join((each / "note.txt").read_text() for each in folders)
    if log is not None:
        Path(log, f"opened-{os.getpid()}-{time.monotonic_ns()}").touch()
    return partial(_squares, note)


def _squares(note, batch, progress):
    if 13 in batch:
        raise InputError("13 must not be squared")
    progress(len(batch))
    return [each * each for each in batch], note, os.getpid()


def fragile_job(folder, dies_at, times):
    """Return a job whose worker kills itself over one batch, so many times."""
    there = partial(_opened_fragile, str(folder), dies_at, times)
    return Job(here=partial(there, ()), there=lambda: Elsewhere(there), size=len)


def _opened_fragile(folder, dies_at, times, folders):
    return partial(_fragile, folder, dies_at, times)


def _fragile(folder, dies_at, times, batch, progress):
    tries = Path(folder)
    if dies_at in batch and len(list(tries.glob("died-*"))) < times:
        (tries / f"died-{os.getpid()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02 if batch[0] % 2 else 0.0)  # so that they do not end in their order
    return [each * each for each in batch]

"""Models that are made once and kept: a folder is whole under its name or made again."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from databourse.digests import file_sha256

_LOG = logging.getLogger(__name__)
_DIGESTS_FILE = "digests.json"


def made_folder(target: Path, make: Callable[[Path], None]) -> Path:
    """Return the folder of a model, made now if it is not there or damaged.

    Args:
        target: where it is kept; created with its parents.
        make: puts the model's files into an empty folder.
    """
    if not is_intact(target):
        if target.exists():
            _LOG.warning("%s is damaged: the model is made again", target)
        _make_into(target, make)
    return target


def is_intact(target: Path) -> bool:
    """Return whether a model is whole: its files have the digests written with them."""
    try:
        expected = json.loads((target / _DIGESTS_FILE).read_text(encoding="utf-8"))
        return bool(expected) and bool(expected == _digests(target))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(each for each in folder.iterdir() if each.name != _DIGESTS_FILE)
    return {each.name: file_sha256(each) for each in files}


def _make_into(target: Path, make: Callable[[Path], None]) -> None:
    """Put a model at `target` in one step: nobody ever sees a part of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as scratch:
        made, old = Path(scratch) / "made", Path(scratch) / "old"
        made.mkdir()
        make(made)
        (made / _DIGESTS_FILE).write_text(json.dumps(_digests(made)), encoding="utf-8")
        _replace_folder(made, target, old)


def _replace_folder(made: Path, target: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    try:
        made.rename(target)
    except OSError:
        if not is_intact(target):  # another process may have been faster: its model will do
            raise

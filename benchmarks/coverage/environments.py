"""Environments of packages that the product is compared with, apart from the product's own.

Each has its own folder under .venv/peers, made by pip from a list of exact versions, and made again
when that list changes. Nothing of them is ever imported into a process of the product.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ENVIRONMENTS = Path(__file__).resolve().parents[2] / ".venv" / "peers"
REQUIREMENTS = Path(__file__).resolve().parent

_LAST_LINES = 3  # of what pip says when it fails


class NoEnvironmentError(Exception):
    """A package cannot be installed; says what pip said last."""


def peer_python(package: str, *, environments: Path, requirements: Path) -> Path:
    """Return the interpreter of a package's environment, which is made if it is not there.

    Args:
        package: its name; the versions are those of requirements-PACKAGE.txt.
        environments: folder of all environments.
        requirements: folder of the lists of versions.

    Raises:
        NoEnvironmentError: pip fails.
    """
    wanted = (requirements / f"requirements-{package}.txt").read_text(encoding="utf-8")
    folder = environments / package
    made_from = folder / "made_from.txt"
    python = folder / "bin" / "python"
    if made_from.is_file() and made_from.read_text(encoding="utf-8") == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    # The product's own constraints are not those of others.
    environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    listed = requirements / f"requirements-{package}.txt"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", str(folder)],
        [*pip, "-r", str(listed)],
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if done.returncode:
            said = (done.stdout + done.stderr).strip().splitlines()[-_LAST_LINES:]
            raise NoEnvironmentError(f"{package} cannot be installed: {' '.join(said)}")
    made_from.write_text(wanted, encoding="utf-8")  # last: it vouches for all before
    return python

"""When a file or folder of the warehouse was last of use: what garbage collection goes by.

Models, features and sketches are named by digests of all that decides them, so no table needs to
know which run stands on which; the run that makes or reads one stamps it.
"""

from __future__ import annotations

import os
from pathlib import Path


def mark_used(path: Path) -> None:
    """Stamp a file or folder as of use now."""
    os.utime(path)

"""Two more signals, so that a market of eight traders can be timed before eight are shipped.

They are columns of a generated board and are never computed. With them registered, the command
`databourse ARGUMENTS` is

    python -m benchmarks.market.more_signals ARGUMENTS
"""

from __future__ import annotations

import dataclasses
import sys
import types

from databourse.signals import length
from databourse.signals.registry import SIGNALS
from flows.cli import app

NAMES = ("filler_1", "filler_2")


def register() -> None:
    """Add the signals to the registry of this process."""
    for name in NAMES:
        module = types.ModuleType(f"benchmarks.market.{name}")
        module.SIGNAL = dataclasses.replace(length.SIGNAL, name=name)  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        SIGNALS[name] = module.__name__


def main() -> None:
    """Run the command line that follows."""
    register()
    app()


if __name__ == "__main__":
    main()

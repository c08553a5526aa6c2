"""Where batches of work run: in this process, or over the workers of a Ray cluster."""

from databourse.engines.engine import LOCAL, Elsewhere, Engine, Job, LocalEngine, Work
from databourse.engines.holding import check_engine, held_engine, hold_engine

__all__ = [
    "LOCAL",
    "Elsewhere",
    "Engine",
    "Job",
    "LocalEngine",
    "Work",
    "check_engine",
    "held_engine",
    "hold_engine",
]

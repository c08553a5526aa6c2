"""A flow that a command runs in its own process: its environment, and bars on the terminal."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_PREFECT_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the terminal shows our own lines
    "PREFECT_LOGGING_ROOT_LEVEL": "CRITICAL",
    "TOKENIZERS_PARALLELISM": "false",
    "OPENBLAS_NUM_THREADS": "1",  # before numpy and faiss load: their own threads fight ours
}


@contextlib.contextmanager
def flow_on_the_terminal() -> Iterator[None]:
    """Run a flow in the block; import it there, as Prefect reads its environment on import.

    Raises:
        MissingExtraError: a package of the pipeline is missing.
    """
    for key, value in _PREFECT_ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    from databourse.refresh.environment import require_pipeline

    require_pipeline()
    from rich.console import Console

    from flows.display import TerminalDisplay

    console = Console(stderr=True)
    console.print("[dim]starting Prefect (a temporary server, if none runs) ...[/dim]")
    from tasks.stages import set_display

    with TerminalDisplay(console) as display:
        set_display(display)
        yield

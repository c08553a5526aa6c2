"""A flow that a command runs in its own process: its environment, and bars on the terminal."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from databourse.errors import TransientError, first_line

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
        TransientError: the Prefect server cannot be reached, or stopped answering.
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
        with _lost_server_named():
            yield


@contextlib.contextmanager
def _lost_server_named() -> Iterator[None]:
    """Turn what Prefect's client raises without a server into one line."""
    import httpx

    try:
        yield
    except httpx.TransportError as error:
        raise _lost_server(error) from None
    except RuntimeError as error:
        if not str(error).startswith("Failed to reach API"):
            raise
        raise _lost_server(error) from None


def _lost_server(error: Exception) -> TransientError:
    from prefect.settings import PREFECT_API_URL

    where = PREFECT_API_URL.value() or "of this run"
    return TransientError(
        f"the Prefect server {where} does not answer ({first_line(error)}). "
        "What the run committed is kept: start the server, or unset PREFECT_API_URL, and run the "
        "same command again: it goes on from there"
    )

"""Silence for what loading and tracing a transformer are known to say, and for nothing else."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOADING = threading.RLock()


@contextmanager
def one_quiet_load() -> Iterator[None]:
    """Let one thread at a time read weights, without the bar that transformers draws meanwhile.

    transformers imports its parts and switches torch's defaults as it loads, for all threads: two
    loads at once may leave a model without weights that its file has.
    """
    with _LOADING:
        from transformers.utils import logging as transformers_logging

        switches: Any = transformers_logging
        had_bar = switches.is_progress_bar_enabled()
        switches.disable_progress_bar()
        try:
            yield
        finally:
            if had_bar:
                switches.enable_progress_bar()


@contextmanager
def without_tracing_notes() -> Iterator[None]:
    """Hide the warnings and the log line of torch and transformers while a model is traced."""
    from torch.jit._trace import TracerWarning

    def is_wanted(record: logging.LogRecord) -> bool:
        return "loss_type=" not in record.getMessage()

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(is_wanted)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=TracerWarning)
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
            warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated")
            yield
    finally:
        logger.removeFilter(is_wanted)

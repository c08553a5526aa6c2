"""Which engine a run uses: the flow holds it, tasks of the same process ask for it."""

from __future__ import annotations

import contextlib
import importlib.util
import threading
from collections.abc import Iterator

from databourse.config_engine import EngineConfig, ray_config
from databourse.engines.engine import LOCAL, Engine
from databourse.errors import InputError, MissingExtraError

_held: dict[EngineConfig, Engine] = {}
_held_guard = threading.Lock()


def check_engine(engine: EngineConfig) -> str:
    """Return where batches will run, after checking that what it takes is installed.

    Raises:
        MissingExtraError: Ray is not.
    """
    settings = ray_config(engine)
    if settings is None:
        return "local: in this process"
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("ray", "ray", "engine: ray")
    from databourse.engines.ray_engine import cluster_address

    address = cluster_address(settings)
    return f"ray: {f'the cluster at {address}' if address else 'a cluster on this machine'}"


@contextlib.contextmanager
def hold_engine(engine: EngineConfig) -> Iterator[None]:
    """Give tasks an engine for the time of the block; Ray starts when the first job comes.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    settings = ray_config(engine)
    if settings is None:
        yield
        return
    check_engine(engine)
    from databourse.engines.ray_engine import RayEngine

    with contextlib.closing(RayEngine(settings)) as started:
        with _held_guard:
            _held[engine] = started
        try:
            yield
        finally:
            with _held_guard:
                _held.pop(engine, None)


def held_engine(engine: EngineConfig) -> Engine:
    """Return the engine that a config asks for.

    Raises:
        InputError: it is not local, and this process does not hold it.
    """
    if engine == "local":
        return LOCAL
    with _held_guard:
        found = _held.get(engine)
    if found is None:
        raise InputError(f"engine {engine!r} is not held here; tasks run inside a flow that does")
    return found

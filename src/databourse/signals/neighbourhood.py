"""How many of the stored neighbours a signal may use."""

from __future__ import annotations

from databourse.errors import ConfigError
from databourse.neighbours import Neighbours


def usable_neighbours(signal: str, k: int, neighbours: Neighbours, n_documents: int) -> int:
    """Return min(k, n - 1): in a pool of k documents or fewer, all the others are the neighbours.

    Raises:
        ConfigError: the pool is large enough, but fewer neighbours were computed.
    """
    wanted = min(k, n_documents - 1)
    if neighbours.k < wanted:
        raise ConfigError(
            f"signal {signal!r}: k = {k} asks for more neighbours than the {neighbours.k} that "
            f"were computed; compute at least {wanted} or lower k"
        )
    return wanted

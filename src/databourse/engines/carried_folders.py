"""Folders of model files on their way to other machines, through the object store of Ray.

A worker on the machine that sends a folder reads it where it is; on another one the files are
written into a temporary folder of its process, once.
"""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class CarriedFolder:
    """A folder as it travels.

    Attributes:
        path: on the machine that sends it.
        node: that machine, as Ray names it.
        files: relative path and reference to the content of each file, in order; None if no other
            machine is in the cluster.
    """

    path: Path
    node: str
    files: tuple[tuple[str, Any], ...] | None


def carried(folder: Path, *, node: str, alone: bool) -> CarriedFolder:
    """Return a folder, ready to travel.

    Args:
        folder: what is sent; of the files below it, those whose names do not begin with a dot.
        node: this machine.
        alone: whether the cluster can have no other machine: then no file is read.
    """
    if alone:
        return CarriedFolder(folder, node, None)
    import ray

    files = {each.relative_to(folder): each for each in folder.rglob("*") if each.is_file()}
    seen = [each for each in files if not any(part.startswith(".") for part in each.parts)]
    return CarriedFolder(
        folder,
        node,
        tuple((each.as_posix(), ray.put(files[each].read_bytes())) for each in sorted(seen)),
    )


def unpacked(folder: CarriedFolder) -> Path:
    """Return the folder where this machine has it."""
    import ray

    if folder.files is None or ray.get_runtime_context().get_node_id() == folder.node:
        return folder.path
    target = _scratch() / f"{len(list(_scratch().iterdir()))}" / folder.path.name
    target.mkdir(parents=True)
    for name, reference in folder.files:
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(ray.get(reference))
    return target


@functools.cache
def _scratch() -> Path:
    """Return a folder that is removed when this process ends."""
    _scratches.append(tempfile.TemporaryDirectory(prefix="databourse-worker-"))
    return Path(_scratches[-1].name)


_scratches: list[tempfile.TemporaryDirectory[str]] = []

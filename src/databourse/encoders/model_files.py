"""What every loader of a model folder does: name it by its files, find its limit, move it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from databourse.digests import digest_of, file_sha256
from databourse.errors import ConfigError, first_line


def files_digest(
    folder: Path,
    patterns: Sequence[str],
    *,
    without: Collection[str] = (),
    digest: Callable[[Path], str] = file_sha256,
) -> str:
    """Return the digest of a folder's files: their places and contents.

    Args:
        folder: of the model.
        patterns: of the names of files that decide its numbers.
        without: names that do not.
        digest: of one file; one that remembers is for large files that nobody edits.
    """
    files = {file for pattern in patterns for file in folder.rglob(pattern)}
    return digest_of(
        {str(file.relative_to(folder)): digest(file) for file in files if file.name not in without}
    )


def least_limit(folder: Path, *limits: object) -> int:
    """Return the least number of tokens that is a limit: a tokenizer without any says 10^30.

    Raises:
        ConfigError: none of them is.
    """
    real = [int(limit) for limit in limits if isinstance(limit, int) and 0 < limit < 1 << 31]
    if not real:
        raise ConfigError(
            f"{folder} says nowhere how many tokens it reads; set model_max_length in its "
            "tokenizer_config.json"
        )
    return min(real)


def on_device(module: Any, device: str) -> Any:  # noqa: ANN401 - transformers' model
    """Return a model on a device, in evaluation mode.

    Raises:
        ConfigError: torch cannot use the device.
    """
    try:
        return module.eval().to(device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        raise ConfigError(
            f"device {device!r} cannot be used by torch: {first_line(error)}"
        ) from error

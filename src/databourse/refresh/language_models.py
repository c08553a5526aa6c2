"""The language models that score a run's documents: one for all, or one per fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from databourse.config_models import REFERENCE
from databourse.encoders.locations import HubId, fetch, locate
from databourse.encoders.torch_backend import CONFIG_PATTERNS, check_model_folder
from databourse.language_models.loading import (
    language_model_id,
    load_language_model,
    load_trained_model,
)
from databourse.language_models.model import LanguageModel
from databourse.language_models.training import trained_model_id
from databourse.refresh.context import RunContext
from databourse.refresh.reference_model import model_folder


def check_language_model(name: str, *, root: Path) -> str:
    """Return what the model of a name is, after checking that it can be had; loads no weights.

    Raises:
        UnknownNameError: the name is neither of a folder nor a hub id.
        ConfigError: the folder holds no model.
        TransientError: the hub failed.
    """
    place = locate(name, kind="language model", known=[REFERENCE], root=root)
    if isinstance(place, HubId):
        check_model_folder(fetch(place, CONFIG_PATTERNS), needs_weights=False)
        return f"{place} of the hub"
    check_model_folder(place)
    return str(place)


def trains_reference(run: RunContext) -> bool:
    """Tell whether the run trains the model that scores its documents."""
    return run.config.language_model.name == REFERENCE


def model_ids(run: RunContext, trained: Sequence[str]) -> list[str]:
    """Return what decides the numbers of each model, by fold, without loading any.

    Args:
        run: whose config names the model.
        trained: fingerprints of the reference models; empty if another model scores.

    Raises:
        UnknownNameError: the config names neither the reference, nor a folder, nor a hub id.
        ConfigError: the model cannot be used.
    """
    if trains_reference(run):
        return [trained_model_id(each) for each in trained]
    config = run.config
    return [
        language_model_id(
            config.language_model.name, device=config.compute.device, root=Path(run.root)
        )
    ]


def open_model(run: RunContext, trained: Sequence[str], fold: int) -> LanguageModel:
    """Return the model that scores the documents of a fold.

    Raises:
        ConfigError: it cannot be used on this machine.
        IntegrityError: its files are damaged.
        TransientError: the hub failed.
    """
    device = run.config.compute.device
    if trains_reference(run):
        folder = model_folder(run.warehouse_path, trained[fold])
        return load_trained_model(folder, device=device).model
    config = run.config.language_model
    return load_language_model(
        config.name, device=device, precision=config.precision, root=Path(run.root)
    )

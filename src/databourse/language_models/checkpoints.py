"""Checkpoints of a training on disk: a saved reference model with what Adam remembers beside it.

    adam.safetensors    first.NAME and second.NAME of every parameter, and numbers: steps, decays,
                        epsilon and learning rate (a header's own order would not be the same twice)

The file is among those whose digest the model's own record holds: a damaged one is found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from databourse.errors import IntegrityError
from databourse.language_models.loading import read_training_record, save_trained_model
from databourse.language_models.training import (
    AdamMoments,
    Checkpoint,
    TrainedModel,
    TrainingSettings,
    trained_model_id,
)

ADAM_FILE = "adam.safetensors"
_NUMBERS = ("n_steps", "first_decay", "second_decay", "epsilon", "learning_rate")


def save_checkpoint(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    fingerprint: str,
    settings: TrainingSettings,
    n_documents: int,
) -> None:
    """Write a checkpoint; its training.json is written last, so a folder with one is complete.

    Args:
        checkpoint: as its training tells of it.
        folder: created.
        fingerprint: of all that decides its weights.
        settings: of the training.
        n_documents: trained on.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    moments = checkpoint.moments
    numbers = (moments.n_steps, *moments.decays, moments.epsilon, checkpoint.learning_rate)
    tensors: dict[str, npt.NDArray[np.floating]] = {"numbers": np.array(numbers, dtype=np.float64)}
    tensors |= {f"first.{name}": each for name, each in moments.first.items()}
    tensors |= {f"second.{name}": each for name, each in moments.second.items()}
    save_file(tensors, str(folder / ADAM_FILE))
    model = dataclasses.replace(checkpoint.model, model_id=trained_model_id(fingerprint))
    save_trained_model(TrainedModel(model, fingerprint, settings, (), n_documents), folder)


def read_moments(folder: Path) -> AdamMoments:
    """Return what Adam remembered at a checkpoint, its files checked.

    Raises:
        ConfigError: the folder holds no model.
        IntegrityError: its files are not those that were written, or it is no checkpoint.
    """
    from safetensors.numpy import load_file

    numbers = _numbers(folder)
    tensors = load_file(str(folder / ADAM_FILE))

    def of(kind: str) -> Mapping[str, npt.NDArray[np.float32]]:
        start = f"{kind}."
        return {
            name.removeprefix(start): each
            for name, each in tensors.items()
            if name.startswith(start)
        }

    return AdamMoments(
        first=of("first"),
        second=of("second"),
        n_steps=int(numbers["n_steps"]),
        decays=(numbers["first_decay"], numbers["second_decay"]),
        epsilon=numbers["epsilon"],
    )


def read_rate(folder: Path) -> float:
    """Return the mean learning rate of the steps that led to a checkpoint from the one before.

    Raises:
        ConfigError, IntegrityError: as `read_moments`.
    """
    return _numbers(folder)["learning_rate"]


def _numbers(folder: Path) -> dict[str, float]:
    from safetensors import safe_open

    read_training_record(folder)  # its files are those that were written
    file = folder / ADAM_FILE
    if not file.is_file():
        raise IntegrityError(f"{folder} holds a model without {ADAM_FILE}; train it again")
    with safe_open(str(file), framework="numpy") as opened:
        numbers = opened.get_tensor("numbers").tolist()
    return dict(zip(_NUMBERS, numbers, strict=True))

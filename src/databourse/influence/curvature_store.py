"""Fitted curvatures on disk: a folder with arrays.npz and manifest.json, and nothing pickled.

The manifest says what was fitted, on what, which layers of which shapes, and the sha256 of the
arrays; its own digest covers all of that. So a file that was truncated, edited, or taken from
another folder is known before a number of it is used.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Literal, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from databourse.digests import digest_of, file_sha256
from databourse.errors import InputError, IntegrityError, first_line
from databourse.influence.curvature import FloatArray, Sample, Shape
from databourse.influence.eigenbasis import EKFac, EKFacLayer, KFac, KFacLayer, Unit
from databourse.influence.second_moment import SecondMoment

StoredCurvature = KFac | EKFac | SecondMoment

_ARRAYS, _MANIFEST = "arrays.npz", "manifest.json"
_REMEDY = "fit the curvature again and save it to a new folder"


class _Layer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    shape: Shape


class _Manifest(BaseModel):
    """What is in a folder; `fitted_on` is a model's or a feature store's id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    kind: Literal["kfac", "ekfac", "second_moment"]
    unit: Unit | None
    fitted_on: str
    n_documents: int
    n_tokens: int | None
    sample: Sample | None
    basis_sample: Sample | None
    layers: tuple[_Layer, ...]
    arrays_sha256: str
    digest: str

    def own_digest(self) -> str:
        """Return the digest of everything else in it."""
        return digest_of(self.model_dump(mode="json", exclude={"digest"}))


def save_curvature(curvature: StoredCurvature, folder: Path) -> str:
    """Write a curvature to a new folder; return its digest: equal curvatures have equal ones.

    The folder is complete under its name or absent: it is written beside it and renamed.

    Raises:
        InputError: the folder exists.
    """
    if folder.exists():
        raise InputError(f"folder {folder} of a curvature exists; save it to a new one")
    staging = folder.with_name(f"{folder.name}.{os.getpid()}.staging")
    staging.mkdir(parents=True)
    try:
        np.savez(staging / _ARRAYS, allow_pickle=False, **_arrays(curvature))
        manifest = _manifest(curvature, arrays_sha256=file_sha256(staging / _ARRAYS))
        text = manifest.model_dump_json(indent=2) + "\n"
        (staging / _MANIFEST).write_text(text, encoding="utf-8")
        staging.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest.digest


def load_curvature(folder: Path, *, fitted_on: str) -> StoredCurvature:
    """Return a saved curvature.

    Args:
        folder: where it was saved.
        fitted_on: the `model_id` (of a second moment: `features_id`) of what it will be applied to.

    Raises:
        IntegrityError: one of its files is missing, truncated, edited or of another curvature; says
            which.
        InputError: it was fitted on another model, or other features.
    """
    manifest = _read_manifest(folder / _MANIFEST)
    if manifest.fitted_on != fitted_on:
        raise InputError(
            f"the curvature in {folder} was fitted on {manifest.fitted_on!r}, but is wanted for "
            f"{fitted_on!r}: their gradients do not mix; fit one for it"
        )
    path = folder / _ARRAYS
    if not path.is_file():
        raise IntegrityError(f"file {path} is missing; {_REMEDY}")
    found = file_sha256(path)
    if found != manifest.arrays_sha256:
        raise IntegrityError(
            f"file {path} was truncated, edited or taken from another curvature: its sha256 is "
            f"{found[:16]}..., its manifest has {manifest.arrays_sha256[:16]}...; {_REMEDY}"
        )
    with np.load(path, allow_pickle=False) as stored:
        arrays: dict[str, FloatArray] = {name: stored[name] for name in stored.files}
    return _curvature(manifest, arrays)


def _arrays(curvature: StoredCurvature) -> dict[str, FloatArray]:
    """Return arrays under "<number of layer>.<attribute>": names of layers are no file names."""
    if isinstance(curvature, SecondMoment):
        return {"0.matrix": curvature.matrix}
    layers: list[KFacLayer | EKFacLayer] = list(curvature.layers.values())
    return {
        f"{number}.{field.name}": getattr(own, field.name)
        for number, own in enumerate(layers)
        for field in dataclasses.fields(own)
    }


def _manifest(curvature: StoredCurvature, *, arrays_sha256: str) -> _Manifest:
    sample = None if isinstance(curvature, SecondMoment) else curvature.sample
    if isinstance(curvature, SecondMoment):
        layers = {"projected": (len(curvature.matrix), len(curvature.matrix))}
        fitted_on, n_documents = curvature.features_id, curvature.n_documents
    else:
        layers = dict(curvature.shapes)
        fitted_on, n_documents = curvature.sample.model_id, curvature.sample.n_documents
    kinds: dict[type, Literal["kfac", "ekfac", "second_moment"]] = {
        KFac: "kfac",
        EKFac: "ekfac",
        SecondMoment: "second_moment",
    }
    manifest = _Manifest(
        format=1,
        kind=kinds[type(curvature)],
        unit=curvature.unit if isinstance(curvature, EKFac) else None,
        fitted_on=fitted_on,
        n_documents=n_documents,
        n_tokens=sample.n_tokens if sample else None,
        sample=sample,
        basis_sample=curvature.basis_sample if isinstance(curvature, EKFac) else None,
        layers=tuple(_Layer(name=name, shape=shape) for name, shape in layers.items()),
        arrays_sha256=arrays_sha256,
        digest="",
    )
    return manifest.model_copy(update={"digest": manifest.own_digest()})


def _read_manifest(path: Path) -> _Manifest:
    if not path.is_file():
        raise IntegrityError(f"file {path} is missing; {_REMEDY}")
    try:
        manifest = _Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise IntegrityError(
            f"file {path} is no manifest of a curvature ({first_line(error)}); {_REMEDY}"
        ) from error
    if manifest.digest != manifest.own_digest():
        raise IntegrityError(
            f"file {path} was edited: its digest is not that of its content; {_REMEDY}"
        )
    return manifest


def _curvature(manifest: _Manifest, arrays: dict[str, FloatArray]) -> StoredCurvature:
    if manifest.kind == "second_moment":
        return SecondMoment(arrays["0.matrix"], manifest.n_documents, manifest.fitted_on)
    names = [layer.name for layer in manifest.layers]
    # the digest vouches for a manifest that was written here: what its kind has is not None
    sample = cast("Sample", manifest.sample)
    if manifest.kind == "kfac":
        return KFac(
            {name: KFacLayer(**_of_layer(arrays, number)) for number, name in enumerate(names)},
            sample,
        )
    return EKFac(
        {name: EKFacLayer(**_of_layer(arrays, number)) for number, name in enumerate(names)},
        sample,
        cast("Sample", manifest.basis_sample),
        cast("Unit", manifest.unit),
    )


def _of_layer(arrays: dict[str, FloatArray], number: int) -> dict[str, FloatArray]:
    prefix = f"{number}."
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }

"""What stored features are: of which parameters, layers and documents, through which projection."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from databourse.digests import digest_of, digest_of_lines
from databourse.errors import InputError, IntegrityError
from databourse.influence.layers import layer_shapes
from databourse.influence.outputs import Output, check_output
from databourse.influence.per_example import GRADIENT_REVISION
from databourse.influence.projections import Projection
from databourse.language_models.model import LanguageModel, import_torch

Precision = Literal["float32", "float16"]

ORIENTATION = "larger_is_better"
"""Of every value that is made from features: v^T H^-1 g, never its negative."""

_FINGERPRINT_TOLERANCE = 1e-5  # of float32 arithmetic on other processors


@dataclass(frozen=True, kw_only=True)
class FeatureManifest:
    """What decides the numbers of a feature store; equal manifests, equal features.

    Attributes:
        pool: whose documents these are, or of which target.
        model_id: of the checkpoint.
        parameters: digest of its parameters, by `parameter_digest`.
        tokenizer: the tokenizer_id.
        weighting: what the loss of a token counts, in the caller's words; "whole documents",
            "completions, mean of 256 tokens at most".
        layers: name, d_out and d_in of each layer, in the order of the features.
        projection: what features are made by.
        fingerprint: of the projection as it was computed, 16 numbers.
        output: "loss" or "margin".
        precision: of the features on disk.
        batch_documents: documents of a batch: they are written together or not at all.
        documents: digest of the document_ids in order.
        n: documents.
        k: features of each.
    """

    pool: str
    model_id: str
    parameters: str
    tokenizer: str
    weighting: str
    layers: tuple[tuple[str, int, int], ...]
    projection: Projection
    fingerprint: tuple[float, ...]
    output: Output
    precision: Precision
    batch_documents: int
    documents: str
    n: int
    k: int

    def __post_init__(self) -> None:
        check_output(self.output)
        if self.precision not in ("float32", "float16"):
            raise InputError(f"precision must be 'float32' or 'float16', got {self.precision!r}")
        if self.batch_documents < 1:
            raise InputError(f"batch_documents must be >= 1, got {self.batch_documents!r}")
        if self.k != self.projection.features(self.shapes):
            raise InputError(
                f"k must be {self.projection.features(self.shapes)}, what the projection makes of "
                f"the layers, got {self.k!r}"
            )
        if self.n < 1:
            raise InputError(f"a feature store needs at least one document, got {self.n}")

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Return d_out and d_in by layer."""
        return {name: (d_out, d_in) for name, d_out, d_in in self.layers}

    @property
    def manifest_id(self) -> str:
        """Return the digest of everything it says."""
        return digest_of(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            **dataclasses.asdict(self),
            "layers": [list(each) for each in self.layers],
            "fingerprint": list(self.fingerprint),
            "projection": self.projection.as_json(),
            "projection_id": self.projection.identity(self.shapes),
            "orientation": ORIENTATION,
            "revision": GRADIENT_REVISION,
        }


def feature_manifest(
    model: LanguageModel,
    document_ids: Sequence[str],
    *,
    pool: str,
    weighting: str,
    layers: Sequence[str],
    projection: Projection,
    output: Output,
    precision: Precision,
    batch_documents: int,
) -> FeatureManifest:
    """Return the manifest of features of documents under a model.

    Args:
        model: the checkpoint.
        document_ids: ascending and distinct: the rows.
        layers: names, as `tracked_layers` gives them.
        pool, weighting, projection, output, precision, batch_documents: see `FeatureManifest`.

    Raises:
        InputError: ids do not ascend, or an argument is outside its domain.
        UnknownNameError: the model has no such layer.
    """
    check_ascending(document_ids)
    shapes = layer_shapes(model, layers)
    return FeatureManifest(
        pool=pool,
        model_id=model.model_id,
        parameters=parameter_digest(model),
        tokenizer=model.tokenizer.tokenizer_id,
        weighting=weighting,
        layers=tuple((name, *shape) for name, shape in shapes.items()),
        projection=projection,
        fingerprint=tuple(projection.fingerprint(shapes)),
        output=output,
        precision=precision,
        batch_documents=batch_documents,
        documents=digest_of_lines(document_ids),
        n=len(document_ids),
        k=projection.features(shapes),
    )


def manifest_from_json(content: Mapping[str, Any]) -> FeatureManifest:
    """Return the manifest that `as_json` gave.

    Raises:
        IntegrityError: it is of another revision or form, or its parts contradict each other.
    """
    try:
        fields = {field.name: content[field.name] for field in dataclasses.fields(FeatureManifest)}
        own = dict(content["projection"])
        own.pop("revision")
        fields["projection"] = Projection(**own)
        fields["layers"] = tuple((str(name), int(o), int(i)) for name, o, i in content["layers"])
        fields["fingerprint"] = tuple(content["fingerprint"])
        manifest = FeatureManifest(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"a manifest of features has another form than expected: {error}; compute them again"
        ) from error
    if manifest.as_json() != dict(content):
        raise IntegrityError(
            "a manifest of features is of another revision, or its parts contradict each other; "
            "compute the features again"
        )
    return manifest


def differences(found: FeatureManifest, expected: FeatureManifest) -> list[str]:
    """Return the names of fields in which two manifests differ, sorted; [] if they agree.

    Fingerprints agree within 1e-5: other processors round otherwise.
    """
    return [
        each.name
        for each in sorted(dataclasses.fields(FeatureManifest), key=lambda field: field.name)
        if not _agree(each.name, getattr(found, each.name), getattr(expected, each.name))
    ]


def check_comparable(candidates: FeatureManifest, targets: FeatureManifest) -> None:
    """Pass if inner products of features of both mean something: one checkpoint, one projection.

    Raises:
        InputError: they differ in parameters, tokenizer, layers, projection or output.
    """
    shared = {"parameters", "tokenizer", "layers", "projection", "fingerprint", "output"}
    unequal = [each for each in differences(candidates, targets) if each in shared]
    if unequal:
        raise InputError(
            f"features of {candidates.pool!r} and {targets.pool!r} cannot be compared: they differ "
            f"in {', '.join(unequal)}; compute both with the same checkpoint and projection"
        )


def parameter_digest(model: LanguageModel) -> str:
    """Return the sha256 of a model's parameters: names, types, shapes and bytes, sorted by name."""
    torch = import_torch()
    state = hashlib.sha256()
    for name, parameter in sorted(model.module.named_parameters()):
        state.update(f"{name}\x1f{parameter.dtype}\x1f{list(parameter.shape)}\n".encode())
        flat = parameter.detach().cpu().contiguous().reshape(-1)
        state.update(flat.view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def check_ascending(document_ids: Sequence[str]) -> None:
    """Pass if ids are distinct and ascend, without line ends.

    Raises:
        InputError: they do not.
    """
    for before, after in itertools.pairwise(document_ids):
        if before >= after:
            raise InputError(f"document_ids must ascend, got {after!r} after {before!r}; sort them")
    if any("\n" in each for each in document_ids):
        raise InputError("document_ids must have no line ends; one has")


def _agree(name: str, found: object, expected: object) -> bool:
    if name != "fingerprint":
        return found == expected
    both = np.array(found), np.array(expected)
    scale = max(1.0, float(np.abs(both[1]).max()))
    return both[0].shape == both[1].shape and bool(
        (np.abs(both[0] - both[1]) <= _FINGERPRINT_TOLERANCE * scale).all()
    )

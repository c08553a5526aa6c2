"""Influence of documents on the targets, measured by language models where somebody asks for it.

What was measured is stored, so that no document is measured twice, also not by another run. A
document is measured by the model of its fold, which has not seen it.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from databourse.config_influence import InfluenceConfig
from databourse.digests import digest_of
from databourse.errors import IntegrityError
from databourse.influence.curvature_store import load_curvature, save_curvature
from databourse.influence.per_example import GRADIENT_REVISION
from databourse.influence.transformer import (
    Direction,
    InfluenceSettings,
    document_influences,
    fit_curvature,
    target_direction,
)
from databourse.language_models.model import LanguageModel
from databourse.progress import silent
from databourse.refresh.context import RunContext, SnapshotIds
from databourse.refresh.examples import target_sets
from databourse.refresh.language_models import model_ids, open_model
from databourse.seeds import stage_seed
from databourse.selection.greedy import FloatArray, IntArray
from databourse.signals.folds import document_folds
from databourse.targets import TargetSet
from databourse.warehouse.store import Warehouse, append
from databourse.warehouse.usage import mark_used

FOLDER = "curvatures"
_NOT_READ = {"gradients", "steps", "datamodels", "batch_tokens"}
_REVISION = 1
"""Raised when the same models, targets and settings give other values."""


def influence_settings(config: InfluenceConfig) -> InfluenceSettings:
    """Return what the config says of measuring."""
    names = {field.name for field in dataclasses.fields(InfluenceSettings)}
    return InfluenceSettings(**{k: v for k, v in config.model_dump().items() if k in names})


def influence_id(run: RunContext, ids: SnapshotIds) -> str:
    """Return the digest of all that decides a measured influence."""
    config = run.config.influence
    return digest_of(
        {
            "models": model_ids(run, ids.models.trained),
            "targets": ids.targets_id,
            "settings": config.model_dump(mode="json", exclude=_NOT_READ),
            "sample": ids.snapshot_id if config.curvature != "identity" else "",
            "seed": run.config.seed,
            "gradients": GRADIENT_REVISION,
            "revision": _REVISION,
        }
    )[:32]


@dataclass(frozen=True)
class _Measure:
    """A model and the direction along which target loss falls."""

    model: LanguageModel
    direction: Direction


class PoolInfluence:
    """Positions of documents in the snapshot to their influence; measures what is not stored.

    Models are loaded, and their curvature is fitted, when the first value is asked for that is not
    there. What is measured in one call is stored as a whole or not at all, up to a batch of the
    config: the same calls give the same bits, wherever a run was interrupted. Documents that are
    measured in other company differ by rounding.

    Args:
        warehouse: that holds the documents.
        run: that took the snapshot.
        ids: of what the run found out about it; `targets_id` is that of the targets.
        document_ids: of the snapshot, in key order.
        targets: to measure on; None for those of the run.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        run: RunContext,
        ids: SnapshotIds,
        document_ids: Sequence[str],
        *,
        targets: Sequence[TargetSet] | None = None,
    ) -> None:
        self._warehouse = warehouse
        self._run = run
        self._ids = ids
        self._document_ids = np.array(document_ids, dtype=np.object_)
        self._settings = influence_settings(run.config.influence)
        self._targets = targets
        self._n_folds = max(1, len(ids.models.trained))
        self._measures: dict[int, _Measure] = {}
        self.influence_id = influence_id(run, ids)
        self.n_measured = 0
        """Documents that were measured by this object."""

    def __call__(self, positions: IntArray) -> FloatArray:
        """Return the influence of each document, shape (len(positions),), larger is better.

        Raises:
            ConfigError: a model cannot be used on this machine.
            IntegrityError: a file is damaged, or a gradient is not finite.
        """
        asked = self._document_ids[positions].tolist()
        known = self._stored(asked)
        missing = sorted(set(asked) - set(known))
        batch = self._run.config.compute.batch_documents
        for first in range(0, len(missing), batch):
            known |= self._measured(missing[first : first + batch])
        return np.array([known[each] for each in asked], dtype=np.float64)

    def _stored(self, document_ids: Sequence[str]) -> dict[str, float]:
        found = self._warehouse.rows(
            "stg_wanted__influences",
            {"influence_id": self.influence_id},
            relations={"wanted_documents": pa.table({"document_id": sorted(set(document_ids))})},
        )
        return dict(
            zip(found["document_id"].to_pylist(), found["influence"].to_pylist(), strict=True)
        )

    def _measured(self, document_ids: Sequence[str]) -> dict[str, float]:
        """Measure documents, each by the model of its fold, and store what came out."""
        folds = self._folds_of(document_ids)
        found: dict[str, float] = {}
        for fold in sorted(set(folds.tolist())):
            own = [each for each, its in zip(document_ids, folds, strict=True) if its == fold]
            measure = self._measure_of(fold)
            values = document_influences(
                measure.model,
                _texts(self._warehouse, self._run, own),
                measure.direction,
                settings=self._settings,
                threads=self._run.config.compute.threads,
            )
            found |= dict(zip(own, values.tolist(), strict=True))
        rows = {
            "influence_id": [self.influence_id] * len(found),
            "document_id": list(found),
            "influence": list(found.values()),
        }
        with self._warehouse.transaction() as cursor:
            append(cursor, "influences", pa.table(rows))
        self.n_measured += len(found)
        return found

    def _folds_of(self, document_ids: Sequence[str]) -> IntArray:
        if self._n_folds == 1:
            return np.zeros(len(document_ids), dtype=np.int64)
        return document_folds(document_ids, self._n_folds)

    def _measure_of(self, fold: int) -> _Measure:
        if fold not in self._measures:
            model = open_model(self._run, self._ids.models.trained, fold)
            curvature = self._curvature(model, fold)
            direction = target_direction(
                model,
                curvature,
                target_sets(self._warehouse, self._run, encoder_id=None)
                if self._targets is None
                else self._targets,
                settings=self._settings,
                threads=self._run.config.compute.threads,
            )
            self._measures[fold] = _Measure(model, direction)
        return self._measures[fold]

    def _curvature(self, model: LanguageModel, fold: int) -> Any:  # noqa: ANN401 - one of three
        """Return the curvature of a model: the stored one, or one that is fitted now."""
        fit = self._fit(model, fold)
        if self._settings.curvature == "identity":
            return fit()
        name = digest_of([self.influence_id, fold])[:32]
        folder = self._warehouse.root / FOLDER / name
        if folder.is_dir():
            mark_used(folder)
            try:
                return load_curvature(folder, fitted_on=model.model_id)
            except IntegrityError:
                shutil.rmtree(folder)
        curvature = fit()
        save_curvature(curvature, folder)
        return load_curvature(folder, fitted_on=model.model_id)

    def _fit(self, model: LanguageModel, fold: int) -> Callable[[], Any]:
        def fit() -> Any:  # noqa: ANN401 - one of three
            sample = _sample(
                self._document_ids.tolist(), self._run.config.influence.sample_documents
            )
            return fit_curvature(
                model,
                _texts(self._warehouse, self._run, sample),
                settings=self._settings,
                seed=stage_seed(self._run.config.seed, "labels of the curvature", str(fold)),
                threads=self._run.config.compute.threads,
                progress=silent,
            )

        return fit


def _sample(document_ids: Sequence[str], count: int) -> list[str]:
    """Return the smallest ids in key order: they are digests."""
    return sorted(document_ids)[:count]


def _texts(warehouse: Warehouse, run: RunContext, document_ids: Sequence[str]) -> list[str]:
    """Return the texts of documents whose ids ascend."""
    batches = warehouse.texts_of(
        pa.array(document_ids, pa.string()), batch_documents=run.config.compute.batch_documents
    )
    return [text for batch in batches for text in batch["text"].to_pylist()]

"""Models retrained on random subsets of a snapshot, which datamodels are fitted to.

They are those of `databourse attribution` with the same proxy, share and examples: one bank,
whoever trained it, where each training is stored as it ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from databourse.errors import ConfigError
from databourse.influence.datamodels import Retrainings
from databourse.progress import ProgressReport
from databourse.refresh.attribution import (
    AttributionChoice,
    AttributionPlan,
    check_classes,
    retrain_subsets,
    retraining_plan,
    stored_bank,
)
from databourse.refresh.context import RunContext, SnapshotIds
from databourse.refresh.model_costs import NO_PART, append_cost, clocked
from databourse.refresh.past_runs import PastRun
from databourse.warehouse.store import Warehouse


@dataclass(frozen=True)
class RetrainedSubsets:
    """A bank, and how much of it is new.

    Attributes:
        bank_id: of the bank.
        n_trainings: that it holds for the config.
        n_trained: of these, now.
    """

    bank_id: str
    n_trainings: int
    n_trained: int


def check_retrainings(run: RunContext, documents: pa.Table) -> None:
    """Pass if a snapshot is one to retrain on subsets of, before anything is trained.

    Raises:
        ConfigError: it is too large, or lacks labels that the proxy needs.
    """
    chosen = run.config.influence.datamodels
    if documents.num_rows > chosen.most_documents:
        raise ConfigError(
            f"signal datamodel retrains on random subsets, of which a pool takes the more the "
            f"larger it is: at most {chosen.most_documents:,} documents, pool {run.pool!r} has "
            f"{documents.num_rows:,}; raise influence.datamodels.most_documents with its subsets, "
            "or use signal trak, which estimates the same"
        )
    if chosen.proxy == "linear":
        check_classes(run, documents)


def retrainings_progress_total(run: RunContext) -> int:
    """Return what the progress of retraining adds up to."""
    chosen = run.config.influence.datamodels
    return chosen.subsets * (1 if chosen.proxy == "linear" else chosen.seeds)


def retrain_for_datamodels(
    warehouse: Warehouse, run: RunContext, ids: SnapshotIds, *, advance: ProgressReport
) -> RetrainedSubsets:
    """Train what the bank of the config lacks.

    Raises:
        ConfigError: the run read no targets, or lacks what the proxy needs.
        InputError: a subset cannot be trained on.
    """
    plan = _plan(warehouse, run, ids)
    with clocked() as clock:
        n_trained = retrain_subsets(warehouse, run, plan, advance=advance)
    if n_trained:
        with warehouse.transaction() as cursor:
            append_cost(
                cursor,
                measured_id=plan.bank_id,
                part=NO_PART,
                run_id=run.run_id,
                n_documents=0,
                clock=clock,
                model_calls=0,
            )
    return RetrainedSubsets(plan.bank_id, plan.n_trainings, n_trained)


def stored_retrainings(warehouse: Warehouse, run: RunContext, ids: SnapshotIds) -> Retrainings:
    """Return the bank that `retrain_for_datamodels` completed: mean losses of each target.

    Raises:
        ConfigError: a training is missing or damaged.
    """
    bank = stored_bank(warehouse, _plan(warehouse, run, ids))
    names = dict.fromkeys(bank.set_names.tolist())
    means = bank.outputs.mean(axis=0)
    return Retrainings(
        masks=bank.masks,
        losses={name: means[:, bank.set_names == name].mean(axis=1) for name in names},
    )


def _plan(warehouse: Warehouse, run: RunContext, ids: SnapshotIds) -> AttributionPlan:
    chosen = run.config.influence.datamodels
    choice = AttributionChoice(
        proxy=chosen.proxy,
        subsets=chosen.subsets,
        share=chosen.share,
        seeds=chosen.seeds,
        targets_per_set=chosen.targets_per_set,
    )
    own = PastRun(run.run_id, ids, (), "")
    return retraining_plan(warehouse, run, own, choice=choice)

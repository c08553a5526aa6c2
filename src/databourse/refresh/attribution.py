"""Models retrained on random subsets of the last finished refresh: what is asked, and the bank.

A bank is what decides its numbers: documents, examples, proxy, share and root seed. Every training
is stored as it ends, so that a killed run goes on after it, and more subsets or seeds train only
what is new. A stored training whose digest is wrong is trained again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from databourse.attribution.bank import Bank, drawn_examples, tuning_half
from databourse.attribution.results import ProxyKind
from databourse.attribution.retraining import Retraining
from databourse.digests import digest_of
from databourse.errors import ConfigError
from databourse.influence.datamodels import random_subsets, retrain_bank
from databourse.influence.lds import BoolArray, FloatArray, IntArray
from databourse.influence.softmax_regression import SoftmaxRegression
from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext
from databourse.refresh.examples import target_sets
from databourse.refresh.past_runs import PastRun, last_run
from databourse.refresh.reference_model import pool_texts
from databourse.refresh.retraining_bank import RetrainingBank, stored_losses, train_missing
from databourse.refresh.retraining_proxies import causal_retraining, linear_retraining
from databourse.refresh.snapshot import labels_digest, snapshot_documents
from databourse.seeds import stage_rng, stage_seed
from databourse.targets import TargetSet
from databourse.warehouse.store import Warehouse

_REVISION = 1
"""Raised when the same inputs give other losses."""
_FEWEST_SUBSETS = 4
_FEWEST_DOCUMENTS = 4
_BATCH_ROWS = 8  # of a step: small models then train four times as fast as by the refresh's two


@dataclass(frozen=True, kw_only=True)
class AttributionChoice:
    """What is to be checked.

    Attributes:
        proxy: what is retrained.
        subsets: how many.
        share: of the documents in each, in (0, 1).
        seeds: models per subset; the linear proxy draws nothing and takes one.
        targets_per_set: most examples of each target, half of them to choose settings on.

    Raises:
        ConfigError: a number is outside its domain.
    """

    proxy: ProxyKind
    subsets: int = 50
    share: float = 0.5
    seeds: int = 2
    targets_per_set: int = 60

    def __post_init__(self) -> None:
        if self.proxy not in ("linear", "causal_lm"):
            raise ConfigError(f"proxy must be linear or causal_lm, got {self.proxy!r}")
        if self.subsets < _FEWEST_SUBSETS:
            raise ConfigError(f"subsets must be >= {_FEWEST_SUBSETS}, got {self.subsets!r}")
        if not 0 < self.share < 1:
            raise ConfigError(f"share must be in (0, 1), got {self.share!r}")
        if self.seeds < 1:
            raise ConfigError(f"seeds must be >= 1, got {self.seeds!r}")
        if self.targets_per_set < 2:
            raise ConfigError(f"targets_per_set must be >= 2, got {self.targets_per_set!r}")


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributionPlan:
    """What is retrained, on what, and for which examples.

    Attributes:
        past: the refresh.
        of_past: its run, under the config of now.
        choice: what was asked.
        documents: of its snapshot, in key order.
        texts: of the documents.
        sets: the examples that were drawn of each target.
        positions: their places in the target.
        left_out: examples that the proxy cannot be measured on, all targets together.
        retraining: the proxy.
        fitted: the linear proxy of the whole pool; None for the other.
        masks: subsets, shape (choice.subsets, n).
        seeds: of the trainings.
        bank_id: of the bank.
    """

    past: PastRun
    of_past: RunContext
    choice: AttributionChoice
    documents: pa.Table
    texts: Sequence[str]
    sets: tuple[TargetSet, ...]
    positions: Mapping[str, IntArray]
    left_out: int
    retraining: Retraining
    fitted: SoftmaxRegression | None
    masks: BoolArray
    seeds: tuple[int, ...]
    bank_id: str

    @property
    def bank(self) -> RetrainingBank:
        """Return where its trainings are kept."""
        n_examples = sum(len(each.texts) for each in self.sets)
        return RetrainingBank(self.bank_id, self.retraining, n_examples)

    @property
    def n_trainings(self) -> int:
        """Return how many models there are in the bank."""
        return len(self.masks) * len(self.seeds)


def attribution_plan(
    warehouse: Warehouse, run: RunContext, choice: AttributionChoice
) -> AttributionPlan:
    """Return what checking attributions of the last finished refresh of a pool takes.

    Raises:
        ConfigError: there is no such refresh, it read no targets, or it lacks what the proxy needs.
        IntegrityError: the warehouse lacks a part of it.
    """
    return retraining_plan(warehouse, run, last_run(warehouse, run.pool), choice=choice)


def retraining_plan(
    warehouse: Warehouse, run: RunContext, past: PastRun, *, choice: AttributionChoice
) -> AttributionPlan:
    """Return what retraining on subsets of a refresh takes; it may be one that is under way.

    Raises:
        ConfigError: it read no targets, or lacks what the proxy needs.
        IntegrityError: the warehouse lacks a part of it.
    """
    of_past = RunContext(past.run_id, run.pool, run.root, run.config)
    if past.ids.targets_id is None:
        raise ConfigError(
            f"the last finished refresh of pool {run.pool!r} read no targets, and models are "
            "retrained for examples; name targets in the config and refresh the pool"
        )
    documents = snapshot_documents(warehouse, run_id=past.run_id, snapshot_id=past.ids.snapshot_id)
    if documents.num_rows < _FEWEST_DOCUMENTS:
        raise ConfigError(
            f"pool {run.pool!r} has {documents.num_rows} documents: too few to draw subsets of"
        )
    if choice.proxy == "linear":
        check_classes(run, documents)
    targets = target_sets(warehouse, of_past, encoder_id=None)
    usable = {each.name: _usable(each, documents, choice.proxy) for each in targets}
    positions = {name: _drawn(run, name, places, choice) for name, places in usable.items()}
    sets = tuple(_part(each, positions[each.name]) for each in targets)
    texts = pool_texts(warehouse, of_past, documents["document_id"].to_pylist())
    fitted = None
    retraining: Retraining
    if choice.proxy == "linear":
        retraining, fitted = linear_retraining(warehouse, of_past, past, documents, sets)
    else:
        epochs = run.config.language_model.reference.epochs
        retraining = causal_retraining(
            of_past, texts, sets, share=choice.share, epochs=epochs, batch_rows=_BATCH_ROWS
        )
    masks = random_subsets(
        documents.num_rows,
        share=choice.share,
        n_subsets=choice.subsets,
        rng=stage_rng(run.config.seed, "attribution subsets"),
    )
    n_seeds = choice.seeds if retraining.draws else 1
    return AttributionPlan(
        past=past,
        of_past=of_past,
        choice=choice,
        documents=documents,
        texts=texts,
        sets=sets,
        positions=positions,
        left_out=sum(len(each.texts) - len(usable[each.name]) for each in targets),
        retraining=retraining,
        fitted=fitted,
        masks=masks,
        seeds=tuple(
            stage_seed(run.config.seed, "attribution training", str(n)) for n in range(n_seeds)
        ),
        bank_id=_bank_id(run, past, documents, sets=sets, retraining=retraining, choice=choice),
    )


def retrain_subsets(
    warehouse: Warehouse, run: RunContext, plan: AttributionPlan, *, advance: ProgressReport
) -> int:
    """Train what the bank lacks, several models at a time; return how many they were.

    Raises:
        InputError: a subset cannot be trained on, such as one without a label.
    """
    on_cpu = plan.choice.proxy == "causal_lm" and run.config.compute.device == "cpu"
    return train_missing(
        warehouse,
        plan.bank,
        [(mask, seed) for seed in plan.seeds for mask in plan.masks],
        at_a_time=run.config.compute.threads if on_cpu else 1,
        advance=advance,
    )


def stored_bank(warehouse: Warehouse, plan: AttributionPlan) -> Bank:
    """Return the bank of a plan that was trained.

    Raises:
        ConfigError: a training is missing or damaged.
    """

    def missing(_positions: IntArray, _seed: int) -> FloatArray:
        raise ConfigError(
            f"bank {plan.bank_id} lacks a training, or holds a damaged one; check the attributions "
            "again: it goes on where it stopped"
        )

    outputs = retrain_bank(
        missing, plan.masks, seeds=plan.seeds, store=stored_losses(warehouse, plan.bank)
    )
    names = [each.name for each in plan.sets for _ in each.texts]
    halves = [
        tuning_half(
            len(each.texts), rng=stage_rng(plan.of_past.config.seed, "attribution half", each.name)
        )
        for each in plan.sets
    ]
    return Bank(
        masks=plan.masks,
        outputs=outputs,
        output="loss",
        set_names=np.array(names, dtype=np.object_),
        is_tuning=np.concatenate(halves),
    )


def _bank_id(
    run: RunContext,
    past: PastRun,
    documents: pa.Table,
    *,
    sets: Sequence[TargetSet],
    retraining: Retraining,
    choice: AttributionChoice,
) -> str:
    linear = choice.proxy == "linear"
    return digest_of(
        {
            "snapshot": past.ids.snapshot_id,
            "labels": labels_digest(documents["label"].to_pylist()) if linear else "",
            "encoder": past.ids.encoder_id if linear else "",
            "examples": [
                [
                    each.name,
                    list(each.texts),
                    each.prompt_characters.tolist(),
                    each.labels.tolist() if linear else [],
                ]
                for each in sets
            ],
            "proxy": retraining.proxy_id,
            "share": choice.share,
            "seed": run.config.seed,
            "revision": _REVISION,
        }
    )[:32]


def check_classes(run: RunContext, documents: pa.Table) -> None:
    """Pass if documents have labels of at least two classes, which the linear proxy needs.

    Raises:
        ConfigError: they have not.
    """
    n_classes = len(set(documents["label"].to_pylist()) - {None})
    if n_classes < 2:
        raise ConfigError(
            f"proxy linear needs labels of at least two classes, pool {run.pool!r} has "
            f"{n_classes}; give its sources the column of their label, or take the proxy causal_lm"
        )


def _usable(target: TargetSet, documents: pa.Table, proxy: ProxyKind) -> IntArray:
    """Return the places of examples that the proxy can be measured on."""
    if proxy == "linear":
        known = set(documents["label"].to_pylist()) - {None}
        is_usable = [label in known for label in target.labels]
        lacking = "a label that some document of the pool has"
    else:
        cuts = target.prompt_characters.tolist()
        is_usable = [len(text) > cut for text, cut in zip(target.texts, cuts, strict=True)]
        lacking = "a completion to score"
    places = np.flatnonzero(is_usable)
    if len(places) < 2:
        raise ConfigError(
            f"proxy {proxy} needs at least 2 examples of target {target.name!r} that have "
            f"{lacking}, one to tune on and one to report, got {len(places)} of "
            f"{len(target.texts):,}"
        )
    return places


def _drawn(run: RunContext, name: str, places: IntArray, choice: AttributionChoice) -> IntArray:
    rng = stage_rng(run.config.seed, "attribution examples", name)
    return places[drawn_examples(len(places), most=choice.targets_per_set, rng=rng)]


def _part(target: TargetSet, places: IntArray) -> TargetSet:
    return TargetSet(
        name=target.name,
        texts=tuple(target.texts[place] for place in places.tolist()),
        labels=target.labels[places],
        prompt_characters=target.prompt_characters[places],
    )

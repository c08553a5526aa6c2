"""The documents of a finished refresh as samplers take them: everything that it found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from databourse.errors import IntegrityError
from databourse.influence.dsdm import dsdm_values
from databourse.influence.pool_gradients import trak_by_target
from databourse.progress import silent
from databourse.refresh.context import RunContext
from databourse.refresh.oracles import open_oracle, oracle_can_speak
from databourse.refresh.past_runs import PastRun
from databourse.refresh.settings import all_needs, configured_signals, trader_weights
from databourse.refresh.snapshot import snapshot_documents
from databourse.refresh.snapshot_inputs import snapshot_inputs
from databourse.refresh.standing_wealth import as_settled, standing_wealth
from databourse.samplers.dsdm import DSDM
from databourse.samplers.interface import Candidates
from databourse.samplers.ranked import MEAN_TOKEN_LOSS, P_YES
from databourse.samplers.within import GENERATIVE, INFORMATION, SEMANTIC
from databourse.selection.greedy import FloatArray, costs_within
from databourse.signals.el2n import El2nParameters
from databourse.signals.inputs import SignalInputs
from databourse.signals.registry import parse_signal
from databourse.signals.specification import Need
from databourse.signals.trak import TrakParameters
from databourse.warehouse.store import Warehouse

_ALWAYS: frozenset[Need] = frozenset({"embeddings", "topics"})
_IF_STORED: frozenset[Need] = frozenset({"text_losses", "generations", "answers", "gradients"})


def pool_candidates(warehouse: Warehouse, run: RunContext, past: PastRun) -> Candidates:
    """Return the documents of a finished refresh with all that samplers may ask for.

    Measures are plain: `mean_token_loss`, `generative_entropy`, `semantic_entropy`, `p_yes` and
    `dsdm` where a signal of the refresh had them made, `information_entropy`, and every signal of
    the refresh by its name, larger is more useful, unless a plain measure has that name. Influence
    on the targets is measured on demand where the refresh trained language models, as long as the
    warehouse is open; nothing else reads it then.

    Args:
        warehouse: of the refresh.
        run: whose config says which signals there are, and in what unit a budget is.
        past: the refresh.

    Raises:
        IntegrityError: the warehouse lacks a part of it.
    """
    ids = past.ids
    documents = snapshot_documents(warehouse, run_id=past.run_id, snapshot_id=ids.snapshot_id)
    of_past = RunContext(past.run_id, run.pool, run.root, run.config)
    needs = _ALWAYS | (all_needs(run.config) & _IF_STORED)
    if ids.targets_id is not None:
        needs |= {"targets"}
        needs |= {"influence_of"} if ids.models.trained else set()
    inputs = snapshot_inputs(warehouse, of_past, ids, documents, needs=needs, advance=silent)
    texts = [text for batch in inputs.texts() for text in batch] if inputs.texts else []
    signals = _signals(warehouse, past, documents)
    kind = run.config.budget.kind
    costs, _ = costs_within(documents["tokens"].to_numpy(), kind, run.config.budget.amount)
    return Candidates(
        document_ids=inputs.document_ids,
        costs=costs,
        measures={**signals, **_unturned(run, signals), **_measures(inputs, _batches(texts))},
        embeddings=inputs.embeddings,
        topics=inputs.topics,
        labels=inputs.labels,
        texts=_batches(texts),
        targets=inputs.targets,
        influence_of=inputs.influence_of,
        utilities_of=(
            open_oracle(warehouse, of_past, ids, documents, asking=run).utilities_of
            if oracle_can_speak(run.config, ids)
            else None
        ),
        signals=signals,
        weights=trader_weights(as_settled(run.config, standing_wealth(warehouse, run.pool))),
    )


def _batches(texts: Sequence[str]) -> Callable[[], Iterator[Sequence[str]]]:
    return lambda: iter([texts[first : first + 1_000] for first in range(0, len(texts), 1_000)])


def _signals(warehouse: Warehouse, past: PastRun, documents: pa.Table) -> dict[str, FloatArray]:
    """Return the stored values of every signal by its name, in order of document_id."""
    stored = warehouse.rows(
        "stg_signals__values",
        {"snapshot_id": past.ids.snapshot_id, "signal_ids": list(past.signal_ids)},
    ).sort_by("document_id")
    values: dict[str, FloatArray] = {}
    for trader in stored["trader"].unique().to_pylist():
        own = stored.filter(pa.compute.equal(stored["trader"], trader))
        if not own["document_id"].equals(documents["document_id"]):
            raise IntegrityError(
                f"{warehouse.root} holds values of signal {trader!r} of {own.num_rows:,} of "
                f"{documents.num_rows:,} documents; refresh the pool again"
            )
        values[trader] = own["signal_value"].to_numpy()
    return values


def _unturned(run: RunContext, signals: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return the plain error norm where its signal prefers low ones."""
    turned = [
        each.spec.name
        for each in configured_signals(run.config)
        if isinstance(each.parameters, El2nParameters) and each.parameters.prefer == "low"
    ]
    return {name: -signals[name] for name in turned if name in signals}


def _measures(
    inputs: SignalInputs, texts: Callable[[], Iterator[Sequence[str]]]
) -> dict[str, FloatArray]:
    found: dict[str, Any] = {}
    plain = SignalInputs(
        document_ids=inputs.document_ids,
        seed=inputs.seed,
        texts=texts,
        generations=inputs.generations,
    )
    found[INFORMATION] = _plain(INFORMATION, plain)
    if inputs.text_losses is not None:
        found[MEAN_TOKEN_LOSS] = inputs.text_losses.mean_losses
        found[GENERATIVE] = inputs.text_losses.mean_entropies
    if inputs.generations is not None:
        found[SEMANTIC] = _plain(SEMANTIC, plain, prefer="high")
    if inputs.gradients is not None and inputs.tokens is not None:
        by_target = trak_by_target(
            inputs.gradients, n_documents=inputs.n_documents, damping=TrakParameters().damping
        )
        found[DSDM] = dsdm_values(by_target, inputs.tokens, mix="z_scored", per="token")
    if inputs.answers is not None:
        found[P_YES] = inputs.answers.p_yes
    return {name: np.asarray(values, dtype=np.float64) for name, values in found.items()}


def _plain(name: str, inputs: SignalInputs, **parameters: object) -> FloatArray:
    """Return a measure that its signal computes, not turned."""
    spec, chosen = parse_signal({"name": name, **parameters})
    return spec.compute(chosen, inputs).values

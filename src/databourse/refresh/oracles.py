"""Oracles: dear measurements of what a document is worth, taken where a settlement asks.

    linear          influence on the targets of the softmax regression that is trained on the pool,
                    exactly; for labelled pools
    leave_one_out   the same regression trained again without the document: what the loss on the
                    targets rises by, per document of the sample
    subsets         what documents are worth among what a budget buys: random markets of the signals
                    buy, a proxy is trained on each pick, and its losses on the targets say
    language_model  influence on the targets by the models that have not seen the document, with
                    the curvature of `influence`
    trak            TRAK's estimate of it, where a signal of the refresh had gradients stored
    ask_llm         the probability that a model says yes, asked about the sample alone
    a file          what people, or another system, have written down

The first five measure on `settlement.targets`, examples that no signal reads, or, where there are
none, on the targets: signals that have read these then look better than they are, since they know
the oracle's examples and not only its task.

A utility is per document; larger is better; several targets are put together by the mean of their
standardised values. What is dear is stored as it comes (tables `utilities`, `retrainings`,
`influences` and `answers`), so that a killed settlement goes on and a repeated one asks about
nothing twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from databourse.config_settlement import JudgementsConfig, SettlementConfig
from databourse.digests import digest_of, document_id
from databourse.errors import ConfigError, IntegrityError, SourceError
from databourse.progress import ProgressReport, silent
from databourse.refresh.context import RunContext, SnapshotIds
from databourse.refresh.examples import (
    embed_examples,
    n_shared,
    read_examples,
    stored_examples,
    target_sets,
)
from databourse.refresh.past_runs import PastRun, board_id_of
from databourse.refresh.quality_questions import ask_about, stored_answers
from databourse.refresh.settings import all_needs, open_configured_source
from databourse.refresh.snapshot import labels_digest
from databourse.refresh.snapshot_inputs import snapshot_inputs
from databourse.selection.greedy import FloatArray, IntArray
from databourse.signals.inputs import SignalInputs
from databourse.signals.specification import Need
from databourse.targets import TargetSet
from databourse.warehouse.boards import load_board
from databourse.warehouse.store import Warehouse, append

if TYPE_CHECKING:
    from databourse.attribution.retraining import Retraining
    from databourse.config import RefreshConfig

_REVISION = 1
"""Raised when the same documents, targets and settings give other utilities."""
_BATCH = 50  # retrainings kept at a time
_OF_EMBEDDINGS = ("linear", "leave_one_out")
_OF_TARGETS = (*_OF_EMBEDDINGS, "subsets", "language_model", "trak")


@dataclass(frozen=True, eq=False)
class Oracle:
    """Who says what documents are worth.

    Attributes:
        name: as in the config; `judgements` for a file.
        oracle_id: digest of all that decides a utility.
        utilities_of: positions in the snapshot to utilities, NaN where it cannot judge.
        judged: the utility of every document, NaN where nobody has judged, of an oracle that cannot
            be asked about others; else None.
        remarks: what else it found, JSON types by name, complete once it has spoken.
    """

    name: str
    oracle_id: str
    utilities_of: Callable[[IntArray], FloatArray]
    judged: FloatArray | None = None
    remarks: Mapping[str, Any] = field(default_factory=dict)


def chosen_oracle(config: RefreshConfig, ids: SnapshotIds) -> str:
    """Return the name of the oracle that a config asks for, `auto` made definite.

    Raises:
        ConfigError: there is none for this pool.
    """
    oracle = config.settlement.oracle
    if isinstance(oracle, JudgementsConfig):
        return "judgements"
    if oracle != "auto":
        return oracle
    if config.settlement.targets or ids.targets_id is not None:
        if _is_labelled(config):
            return "linear"
        if ids.models.trained:
            return "language_model"
    raise ConfigError(
        "settlement.oracle: auto takes linear where targets and sources have labels, and "
        "language_model where the refresh read targets and trained language models; the last "
        "refresh had neither. Add targets (and a signal such as perplexity or trak), or name "
        "another oracle: ask_llm, or {path: FILE, document: COLUMN}"
    )


def _is_labelled(config: RefreshConfig) -> bool:
    """Return whether what the oracle measures on has labels, and documents have."""
    targets = config.settlement.targets or config.targets
    return all(target.label is not None for target in targets) and any(
        source.label is not None for source in config.sources
    )


def _retrains_linear(config: RefreshConfig) -> bool:
    proxy = config.settlement.subsets.proxy
    return proxy == "linear" or (proxy == "auto" and _is_labelled(config))


@dataclass(frozen=True, eq=False)
class _Ground:
    """What an oracle stands on: the refresh, and the run that asks."""

    warehouse: Warehouse
    run: RunContext
    asking: RunContext
    ids: SnapshotIds
    documents: pa.Table
    advance: ProgressReport

    @property
    def config(self) -> SettlementConfig:
        return self.asking.config.settlement

    def inputs(self, needs: frozenset[Need]) -> SignalInputs:
        """Return what is needed of the documents; embedded targets come with embeddings."""
        found = snapshot_inputs(
            self.warehouse, self.run, self.ids, self.documents, needs=needs, advance=silent
        )
        if "embeddings" not in needs:
            return found
        return dataclasses.replace(found, targets=self.targets(self.ids.encoder_id))

    def targets(self, encoder_id: str | None) -> tuple[TargetSet, ...]:
        """Return what the oracle measures on."""
        if self.config.targets:
            return target_sets(
                self.warehouse, self.asking, encoder_id=encoder_id, kind="settlement"
            )
        return target_sets(self.warehouse, self.run, encoder_id=encoder_id)

    def targets_id(self) -> str | None:
        """Return the digest of what the oracle measures on."""
        if not self.config.targets:
            return self.ids.targets_id
        found = stored_examples(self.warehouse, self.asking.run_id, "settlement")
        return digest_of(found.to_pylist())[:32]

    def id_of(self, name: str, **more: object) -> str:
        """Return the digest of what decides an oracle's utilities."""
        return digest_of(
            {
                "oracle": name,
                "revision": _REVISION,
                "snapshot": self.ids.snapshot_id,
                "encoder": self.ids.encoder_id,
                "targets": self.targets_id(),
                **more,
            }
        )[:32]


def read_settlement_targets(
    warehouse: Warehouse, run: RunContext, past: PastRun, *, advance: ProgressReport = silent
) -> None:
    """Read, and embed where the oracle wants it, the examples that are for settlement alone.

    Raises:
        ConfigError: an example is one of the targets too, or a document of the pool.
        SourceError: a file or one of its rows cannot be read.
    """
    if not run.config.settlement.targets:
        return
    read_examples(warehouse, run, kind="settlement", advance=advance)
    own = stored_examples(warehouse, run.run_id, "settlement")["document_id"]
    members = warehouse.rows("stg_snapshot__members", {"snapshot_id": past.ids.snapshot_id})
    targets = stored_examples(warehouse, past.run_id, "target")["document_id"]
    for others, what, cure in (
        (targets, "targets", "take them out of one of the two, such as by part: {of: 2, take: 0}"),
        (members["document_id"], "documents of the pool", "refresh the pool: it drops them"),
    ):
        if shared := n_shared(own, others):
            raise ConfigError(
                f"{shared:,} of {len(own):,} examples of settlement.targets are {what} too, so the "
                f"oracle would measure what signals have read; {cure}"
            )
    name = chosen_oracle(run.config, past.ids)
    if name in _OF_EMBEDDINGS or (name == "subsets" and _retrains_linear(run.config)):
        embed_examples(warehouse, run, kind="settlement", advance=advance)


def open_oracle(
    warehouse: Warehouse,
    run: RunContext,
    ids: SnapshotIds,
    documents: pa.Table,
    *,
    asking: RunContext,
    advance: ProgressReport = silent,
) -> Oracle:
    """Return the oracle that the config asks for, over the documents of a snapshot.

    Args:
        warehouse: that holds them, as long as the oracle is asked.
        run: of the refresh, with the config of now.
        ids: of what the refresh found out.
        documents: from `snapshot_documents`, all of them.
        asking: the run that read `settlement.targets`.
        advance: told of the documents that are asked about, or of the trainings of `subsets`, as
            they are done.

    Raises:
        ConfigError: the oracle cannot speak on this pool; says what is missing.
    """
    name = chosen_oracle(run.config, ids)
    ground = _Ground(warehouse, run, asking, ids, documents, advance)
    if name in _OF_TARGETS and not ground.config.targets and ids.targets_id is None:
        raise ConfigError(
            f"settlement.oracle: {name} measures what documents do for targets, and the last "
            "refresh read none; add settlement.targets to the config, or targets and refresh the "
            "pool"
        )
    opened = {
        "linear": _linear,
        "leave_one_out": _leave_one_out,
        "subsets": _subsets,
        "language_model": _language_model,
        "trak": _trak,
        "ask_llm": _ask_llm,
        "judgements": _judgements,
    }[name](ground)
    if name == "subsets":  # it reports trainings as they end
        return opened

    def reported(positions: IntArray) -> FloatArray:
        found = opened.utilities_of(positions)
        advance(positions.size)
        return found

    return dataclasses.replace(opened, utilities_of=reported)


def _labels(documents: pa.Table) -> str:
    return labels_digest(documents["label"].to_pylist())


def _linear(ground: _Ground) -> Oracle:
    from databourse.settlement.linear_oracle import linear_utilities

    l2 = ground.config.l2
    inputs = ground.inputs(frozenset({"embeddings"}))
    utilities: list[FloatArray] = []

    def utilities_of(positions: IntArray) -> FloatArray:
        if not utilities:  # one fit speaks on all of them
            utilities.append(linear_utilities(inputs, l2=l2))
        return utilities[0][positions]

    return Oracle(
        "linear",
        ground.id_of("linear", l2=l2, labels=_labels(ground.documents)),
        utilities_of,
    )


def _leave_one_out(ground: _Ground) -> Oracle:
    from databourse.settlement.linear_oracle import LeaveOneOut

    l2 = ground.config.l2
    inputs = ground.inputs(frozenset({"embeddings"}))
    oracle_id = ground.id_of("leave_one_out", l2=l2, labels=_labels(ground.documents))
    return Oracle(
        "leave_one_out",
        oracle_id,
        _stored(ground.warehouse, oracle_id, ground.documents, LeaveOneOut(inputs, l2=l2)),
    )


def _subsets(ground: _Ground) -> Oracle:
    from databourse.refresh.subset_oracle import (
        RetrainedMarkets,
        asked_once,
        causal_markets,
        linear_markets,
    )

    config = ground.run.config
    board_id = board_id_of(ground.warehouse, ground.run.run_id)
    board = load_board(ground.warehouse.root, board_id)
    if not board.document_ids.equals(ground.documents["document_id"]):
        raise IntegrityError(
            f"the board of run {ground.run.run_id} is not of its documents; refresh the pool again"
        )
    retraining: Retraining
    if _retrains_linear(config):
        retraining, sets = linear_markets(
            ground.inputs(frozenset({"embeddings"})), l2=ground.config.l2
        )
    else:
        retraining, sets = causal_markets(
            ground.warehouse, ground.run, ground.documents, ground.targets(None)
        )
    bank_id = ground.id_of(
        "bank of subsets",
        labels=_labels(ground.documents),
        proxy=retraining.proxy_id,
        examples=sets,
        seed=config.seed,
    )
    markets = RetrainedMarkets(ground.warehouse, ground.run, board, retraining, sets, bank_id)
    oracle_id = ground.id_of(
        "subsets",
        bank=bank_id,
        board=board_id,
        subsets=ground.config.subsets.model_dump(mode="json"),
        budget=config.budget.model_dump(mode="json"),
        length_bias=config.selection.length_bias,
    )
    return Oracle(
        "subsets",
        oracle_id,
        asked_once(markets.utilities, ground.advance),
        remarks=markets.remarks,
    )


def _language_model(ground: _Ground) -> Oracle:
    from databourse.refresh.influence_measuring import PoolInfluence

    if not ground.ids.models.trained:
        raise ConfigError(
            "settlement.oracle: language_model asks the models that a refresh trains, and the last "
            "one trained none; add a signal that reads them, such as perplexity, trak or quad, and "
            "refresh the pool"
        )
    measured = PoolInfluence(
        ground.warehouse,
        ground.run,
        dataclasses.replace(ground.ids, targets_id=ground.targets_id()),
        ground.documents["document_id"].to_pylist(),
        targets=ground.targets(None),
    )
    return Oracle("language_model", measured.influence_id, measured)


def _trak(ground: _Ground) -> Oracle:
    from databourse.influence.dsdm import dsdm_values
    from databourse.influence.pool_gradients import trak_by_target
    from databourse.signals.trak import TrakParameters

    ids = ground.ids
    if ground.config.targets:
        raise ConfigError(
            "settlement.oracle: trak reads the gradients of targets that a refresh stores, which "
            "are not those of settlement.targets; take language_model"
        )
    if not ids.models.gradients:
        raise ConfigError(
            "settlement.oracle: trak reads gradients that a refresh stores, and the last one "
            "stored none; add the signal trak and refresh the pool, or take language_model"
        )
    inputs = ground.inputs(frozenset({"gradients"}))
    damping = TrakParameters().damping
    utilities: list[FloatArray] = []

    def utilities_of(positions: IntArray) -> FloatArray:
        if not utilities:
            assert inputs.gradients is not None  # noqa: S101 - asked for
            by_target = trak_by_target(
                inputs.gradients, n_documents=inputs.n_documents, damping=damping
            )
            ones = np.ones(inputs.n_documents, dtype=np.int64)
            utilities.append(dsdm_values(by_target, ones, mix="z_scored", per="document"))
        return utilities[0][positions]

    gradients = list(ids.models.gradients)
    return Oracle("trak", ground.id_of("trak", gradients=gradients, damping=damping), utilities_of)


def _ask_llm(ground: _Ground) -> Oracle:
    warehouse, run, documents = ground.warehouse, ground.run, ground.documents
    if run.config.ask_llm is None:
        raise ConfigError(
            "settlement.oracle: ask_llm needs a model that answers, and the config names none; add "
            "ask_llm: {model: FOLDER_OR_HUB_ID}, or ask_llm: {endpoint: {base_url: URL, model: "
            "NAME}}"
        )
    every = documents["document_id"].combine_chunks()

    def utilities_of(positions: IntArray) -> FloatArray:
        wanted = every.take(pa.array(positions))
        asked = ask_about(warehouse, run, wanted.to_pylist(), advance=silent)
        answers = stored_answers(
            warehouse, documents, snapshot_id=ground.ids.snapshot_id, scorer_id=asked.scorer_id
        )
        return answers.p_yes[positions]

    identity = run.config.ask_llm.model_dump(mode="json")
    return Oracle("ask_llm", ground.id_of("ask_llm", ask_llm=identity), utilities_of)


def _judgements(ground: _Ground) -> Oracle:
    config = ground.config.oracle
    assert isinstance(config, JudgementsConfig)  # noqa: S101 - by its name
    judged = _written_utilities(ground.asking, config)
    every = ground.documents["document_id"].to_pylist()
    utilities = np.array([judged.get(each, np.nan) for each in every], dtype=np.float64)
    if not np.isfinite(utilities).any():
        raise ConfigError(
            f"none of the {len(judged):,} documents of settlement.oracle.path is in the last "
            f"refresh of {len(every):,}; its column must hold ids as manifests and databourse "
            "explain show them, or give the template of the text"
        )
    oracle_id = ground.id_of("judgements", judged=judged)
    return Oracle("judgements", oracle_id, utilities.__getitem__, utilities)


def _written_utilities(run: RunContext, config: JudgementsConfig) -> dict[str, float]:
    """Return the utility of each document that a file speaks of, by document_id.

    Raises:
        SourceError: a row cannot be read, has no number, or contradicts another.
    """
    from databourse.config_sources import TargetConfig
    from databourse.sources import SourceRow

    section = TargetConfig(
        name="judgements",
        path=config.path,
        format=config.format,
        text=config.text or f"{{{config.document}}}",
        label=config.utility,
    )
    found: dict[str, float] = {}
    for part in open_configured_source(run.config, section, Path(run.root)).parts():
        for row in part.rows(start_row=0):
            place = part.locator(row)
            if not isinstance(row, SourceRow):
                raise SourceError(f"{place} cannot be read ({row.reason}: {row.detail}); mend it")
            key = row.text.strip() if config.document else document_id(row.text)
            utility = _number(row.label)
            if utility is None:
                raise SourceError(
                    f"{place}: column {config.utility!r} must hold a finite number, got "
                    f"{row.label!r}"
                )
            if found.setdefault(key, utility) != utility:
                raise SourceError(
                    f"{place}: document {key} has the utility {utility!r} here and {found[key]!r} "
                    "in an earlier row; keep one"
                )
    return found


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else float("nan")
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _stored(
    warehouse: Warehouse,
    oracle_id: str,
    documents: pa.Table,
    measure: Callable[[IntArray], FloatArray],
) -> Callable[[IntArray], FloatArray]:
    """Return an oracle that asks `measure` about what it has not said before, and keeps it."""
    every: Sequence[str] = documents["document_id"].to_pylist()

    def utilities_of(positions: IntArray) -> FloatArray:
        asked = [every[position] for position in positions.tolist()]
        known = _known(warehouse, oracle_id, asked)
        missing = np.array(
            [
                place
                for place, key in zip(positions.tolist(), asked, strict=True)
                if key not in known
            ],
            dtype=np.int64,
        )
        for first in range(0, missing.size, _BATCH):
            part = missing[first : first + _BATCH]
            values = measure(part)
            new = {every[place]: value for place, value in zip(part.tolist(), values, strict=True)}
            rows = {
                "oracle_id": [oracle_id] * len(new),
                "document_id": list(new),
                "utility": pa.array(list(new.values()), pa.float64()),
            }
            with warehouse.transaction() as cursor:
                append(cursor, "utilities", pa.table(rows))
            known |= new
        return np.array([known[key] for key in asked], dtype=np.float64)

    return utilities_of


def _known(warehouse: Warehouse, oracle_id: str, asked: Sequence[str]) -> dict[str, float]:
    found = warehouse.rows(
        "stg_wanted__utilities",
        {"oracle_id": oracle_id},
        relations={"wanted_documents": pa.table({"document_id": pa.array(sorted(set(asked)))})},
    )
    return dict(zip(found["document_id"].to_pylist(), found["utility"].to_pylist(), strict=True))


def oracle_can_speak(config: RefreshConfig, ids: SnapshotIds) -> bool:
    """Return whether the config's oracle costs no more than a look at what is stored already.

    A comparison then settles the market anew on every seed's pool.
    """
    try:
        name = chosen_oracle(config, ids)
    except ConfigError:
        return False
    if name == "trak":
        is_stored = bool(ids.models.gradients) and "gradients" in all_needs(config)
        return is_stored and not config.settlement.targets
    if name == "language_model":
        return bool(ids.models.trained)
    has_targets = bool(config.settlement.targets) or ids.targets_id is not None
    if name == "subsets":
        return has_targets
    return name == "judgements" or (name == "linear" and has_targets)

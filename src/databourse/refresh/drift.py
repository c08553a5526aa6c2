"""How far a refresh has moved from the last published version of its pool, as a contract.

Both are read from the warehouse: the boards of both markets (sources, lengths and signals of every
candidate), the labels of candidates, and the ledger. Rules are those of `config.drift`; what a rule
finds is a finding about the pool as a whole, so its examples are sentences and not documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from databourse.config import RefreshConfig
from databourse.config_drift import DriftConfig, Reaction
from databourse.contracts.outcomes import Outcome
from databourse.contracts.results import ContractResult, RuleResult, Severity
from databourse.drift import Shift, numeric_shift, share_shift
from databourse.errors import DriftViolation, IntegrityError
from databourse.market.board import Board
from databourse.market.standardisation import IntArray
from databourse.refresh.context import RunContext
from databourse.warehouse.boards import load_board
from databourse.warehouse.store import Warehouse

CONTRACT = "drift"
_VERSION = "1.0.0"
_LABEL_TOPICS = "label"
_REMOVED = ("quarantined", "dropped")


@dataclass(frozen=True)
class PoolPicture:
    """What drift is judged by, of one run.

    Attributes:
        board: of its market.
        labels: candidates by label; "" for those without one.
        removed: rows that never were for sale, by stage and reason.
        arrived: rows that came in.
    """

    board: Board
    labels: Mapping[str, int]
    removed: Mapping[str, int]
    arrived: int


def pool_picture(warehouse: Warehouse, *, run_id: str, board_id: str) -> PoolPicture:
    """Return what drift is judged by, of a run whose market was cleared.

    Raises:
        IntegrityError: its board is missing or damaged.
    """
    labels = warehouse.rows("int_candidates_labelled", {"run_id": run_id}).to_pylist()
    removed: Counter[str] = Counter()
    for row in warehouse.rows("int_decisions_counted", {"run_id": run_id}).to_pylist():
        if row["outcome"] in _REMOVED:
            removed[f"{row['stage']}: {row['reason']}"] += row["decided_rows"]
    sources = warehouse.rows("stg_run__sources", {"run_id": run_id})
    return PoolPicture(
        load_board(warehouse.root, board_id),
        {row["label"]: row["candidates"] for row in labels},
        removed,
        sum(int(rows) for rows in sources["read_rows"].to_pylist()),
    )


def judge_drift(warehouse: Warehouse, run: RunContext, board_id: str) -> ContractResult:
    """Return what the drift contract says of a run whose market was cleared.

    Args:
        warehouse: that holds this run and the last published one.
        run: this run.
        board_id: of its market.
    """
    now = pool_picture(warehouse, run_id=run.run_id, board_id=board_id)
    found = warehouse.rows("stg_pool__published_runs", {"pool": run.pool}).to_pylist()
    found = [row for row in found if row["run_id"] != run.run_id]
    if not found:
        return first_version(run.config, now.board.n_documents)
    last = found[0]
    where = f"version {last['version']}"
    try:
        before = pool_picture(warehouse, run_id=last["run_id"], board_id=last["board_id"])
    except IntegrityError as error:
        return _unjudged(run.config, now.board.n_documents, str(error))
    return compare_pictures(run.config, before, now, where=where)


def enforce_drift(result: ContractResult) -> None:
    """Stop if a rule failed that is to stop a refresh; failed warnings stay in the result.

    Raises:
        DriftViolation: names the rule and what moved.
    """
    for rule in result.failed("critical"):
        raise DriftViolation(result.contract, rule.rule, rule.failing_rows, rule.example_ids)


def first_version(config: RefreshConfig, rows: int) -> ContractResult:
    """Return the result where nothing was published that could be compared with."""
    passed = Outcome(0, (), "no published version to compare with")
    return _result(config.drift, rows, dict.fromkeys(_judges(config.drift), passed), "nothing")


def compare_pictures(
    config: RefreshConfig, before: PoolPicture, now: PoolPicture, *, where: str
) -> ContractResult:
    """Return how far a pool has moved.

    Args:
        config: of the run; its drift, and what topics are.
        before: what it is compared with.
        now: what is judged.
        where: what to call what it is compared with, such as "version 3".
    """
    judged = {name: judge(config, before, now) for name, judge in _judges(config.drift).items()}
    return _result(config.drift, now.board.n_documents, judged, where)


_Judge = Callable[[RefreshConfig, PoolPicture, PoolPicture], Outcome]


def _judges(drift: DriftConfig) -> dict[str, _Judge]:
    """Return the rules that are looked at, in the order of the config."""
    judges: dict[str, _Judge] = {
        "signals": _signals,
        "tokens": _tokens,
        "sources": _sources,
        "labels": _labels,
        "topics": _topics,
        "removals": _removals,
        "candidates": _candidates,
    }
    return {name: each for name, each in judges.items() if _reaction(drift, name) != "off"}


def _signals(config: RefreshConfig, before: PoolPicture, now: PoolPicture) -> Outcome:
    both = [name for name in now.board.signals if name in before.board.signals]
    shifts = {
        f"signal {name}": numeric_shift(before.board.signals[name], now.board.signals[name])
        for name in both
    }
    return _of_shifts(config.drift, shifts)


def _tokens(config: RefreshConfig, before: PoolPicture, now: PoolPicture) -> Outcome:
    lengths = [each.board.tokens.astype(np.float64) for each in (before, now)]
    return _of_shifts(config.drift, {"tokens": numeric_shift(*lengths)})


def _sources(config: RefreshConfig, before: PoolPicture, now: PoolPicture) -> Outcome:
    counts = [_counts(each.board.sources, each.board.source_index) for each in (before, now)]
    return _of_shifts(config.drift, {"sources": share_shift(*counts)})


def _labels(config: RefreshConfig, before: PoolPicture, now: PoolPicture) -> Outcome:
    return _of_shifts(config.drift, {"labels": share_shift(before.labels, now.labels)})


def _topics(config: RefreshConfig, before: PoolPicture, now: PoolPicture) -> Outcome:
    if config.topics.by != _LABEL_TOPICS:  # clusters are drawn anew, so their numbers mean nothing
        return Outcome(0, (), "clusters of two versions are not the same topics")
    counts = [_counts(each.board.topics, each.board.topic_index) for each in (before, now)]
    return _of_shifts(config.drift, {"topics": share_shift(*counts)})


def _removals(config: RefreshConfig, before: PoolPicture, now: PoolPicture) -> Outcome:
    findings, largest = [], ("", 0.0, 0.0)
    for name in sorted({*before.removed, *now.removed}):
        shares = [each.removed.get(name, 0) / max(each.arrived, 1) for each in (before, now)]
        if abs(shares[1] - shares[0]) > abs(largest[2] - largest[1]):
            largest = (name, shares[0], shares[1])
        if abs(shares[1] - shares[0]) > config.drift.most_removal_change:
            findings.append(f"{name} removed {shares[1]:.1%} of the rows, before {shares[0]:.1%}")
    if findings:
        return Outcome.of_relation(findings)
    most = f"most: {largest[0]} {largest[1]:.1%} to {largest[2]:.1%}" if largest[0] else "no change"
    return Outcome(0, (), most)


def _candidates(config: RefreshConfig, before: PoolPicture, now: PoolPicture) -> Outcome:
    counts = before.board.n_documents, now.board.n_documents
    change = counts[1] / counts[0] - 1
    told = f"{counts[1]:,} candidates, before {counts[0]:,} ({change:+.1%})"
    if abs(change) > config.drift.most_candidates_change:
        return Outcome.of_relation([told])
    return Outcome(0, (), told)


def _of_shifts(drift: DriftConfig, shifts: Mapping[str, Shift]) -> Outcome:
    """Return which of some distributions moved too far; the farthest, where none did."""
    ordered = sorted(shifts.items(), key=lambda item: (-item[1].index, item[0]))
    told = [
        f"{name}: PSI {shift.index:.3f} (by chance {shift.by_chance:.3f}); "
        f"{shift.largest[0] or 'no label'} {shift.largest[1]:.1%} to {shift.largest[2]:.1%}"
        for name, shift in ordered
    ]
    findings = [
        text
        for text, (_, shift) in zip(told, ordered, strict=True)
        if shift.is_beyond(drift.most_stability_index)
    ]
    return Outcome.of_relation(findings) if findings else Outcome(0, (), "; ".join(told[:1]))


def _counts(names: tuple[str, ...], index: IntArray) -> dict[str, int]:
    rows = np.bincount(index, minlength=len(names)).tolist()
    return dict(zip(names, rows, strict=True))


def _reaction(drift: DriftConfig, name: str) -> Reaction:
    found: Reaction = getattr(drift, name)
    return found


def _unjudged(config: RefreshConfig, rows: int, problem: str) -> ContractResult:
    judged = dict.fromkeys(_judges(config.drift), Outcome.unjudged(problem))
    return _result(config.drift, rows, judged, "nothing")


def _result(
    drift: DriftConfig, rows: int, judged: Mapping[str, Outcome], where: str
) -> ContractResult:
    return ContractResult(
        CONTRACT,
        _VERSION,
        rows,
        tuple(_rule(drift, name, outcome, where) for name, outcome in judged.items()),
    )


def _rule(drift: DriftConfig, name: str, outcome: Outcome, where: str) -> RuleResult:
    severity: Severity = "critical" if _reaction(drift, name) == "stop" else "warning"
    limit = {
        "removals": f"no removed share may change by more than {drift.most_removal_change:g}",
        "candidates": f"their number may change by {drift.most_candidates_change:.0%} at most",
    }.get(name, f"PSI may be {drift.most_stability_index:g} at most, or what chance does")
    return RuleResult(
        rule=name,
        severity=severity,
        success=outcome.is_judged and not outcome.failing_rows,
        failing_rows=outcome.failing_rows,
        example_ids=outcome.example_ids,
        observed=outcome.observed,
        description=(
            f"Against {where}: {limit}. If it fails, look at what came in; if that is right, raise "
            f"the limit under drift, or set drift.{name} to warn or off for one run."
        ),
    )

"""A settlement: an oracle speaks on a sample of the last refresh's market, and traders are paid.

The chain of settlements decides the sample: what settles next is drawn anew, by a seed of the root
seed and the settlement before, so that a killed settlement chooses the same documents again and a
finished one is followed by others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from databourse.config_settlement import SettlementConfig
from databourse.digests import digest_of
from databourse.errors import InputError, IntegrityError
from databourse.market.board import Board
from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext
from databourse.refresh.oracles import Oracle, open_oracle, read_settlement_targets
from databourse.refresh.past_runs import PastRun, board_id_of, last_run
from databourse.refresh.settings import configured_signals
from databourse.refresh.snapshot import snapshot_documents
from databourse.refresh.standing_wealth import publish_wealth, shared_out, standing_wealth
from databourse.seeds import stage_rng
from databourse.settlement.fitted import FittedWeights, fitted_weights
from databourse.settlement.market import PaidContracts, SettlementRules, pay_contracts
from databourse.settlement.payoffs import PowerOfRank
from databourse.settlement.report import SettlementReport, settle
from databourse.settlement.scoring import best_order_flow
from databourse.settlement.wealth import WealthTerms
from databourse.warehouse.boards import load_board
from databourse.warehouse.store import Warehouse, append

_TABLES = ("wealth", "settled_contracts")


@dataclass(frozen=True)
class Settled:
    """What a settlement came to; what `--json` prints.

    Attributes:
        settlement_id: digest of contracts, utilities, rules and the wealth before.
        pool: whose market was settled.
        refresh_run_id: the refresh.
        oracle: who spoke.
        oracle_id: digest of all that decides a utility.
        weights: wealth or regression: what the next refresh uses.
        in_use: whether the config's market takes its weights from settlements.
        documents: of the market.
        contracts: settled.
        unjudged: documents that the oracle was asked about in vain.
        topics: of the market, and of these with a settled contract.
        informed: traders whose signal has read the examples that the oracle measured on.
        traders: one record each, the richest first.
        market: scores of the market before and after, in nats, held out; fee, orders and regret.
    """

    settlement_id: str
    pool: str
    refresh_run_id: str
    oracle: str
    oracle_id: str
    weights: str
    in_use: bool
    documents: int
    contracts: int
    unjudged: int
    topics: tuple[int, int]
    informed: tuple[str, ...]
    traders: list[dict[str, Any]]
    market: dict[str, Any]


def settlement_rules(config: SettlementConfig) -> SettlementRules:
    """Return which contracts a config settles, and what they pay."""
    return SettlementRules(
        n_contracts=config.contracts,
        allocation=config.allocation,
        batch=config.batch,
        alpha=config.alpha,
        ranked=config.ranked,
        form=PowerOfRank(config.payoff_power),
    )


def wealth_terms(config: SettlementConfig) -> WealthTerms:
    """Return how traders earn and lose under a config."""
    return WealthTerms(**config.wealth.model_dump())


def settlement_progress_total(config: SettlementConfig) -> int:
    """Return what the progress of a settlement adds up to: trainings, or contracts."""
    return config.subsets.markets if config.oracle == "subsets" else config.contracts


def settle_contracts(warehouse: Warehouse, run: RunContext, *, advance: ProgressReport) -> Settled:
    """Have the oracle speak on a sample of the last refresh's market, and pay the traders.

    Nothing counts before `register_settlement`.

    Raises:
        ConfigError: nothing was refreshed yet, or the oracle cannot speak on this pool.
        InputError: too few documents could be judged, or, where weights are fitted, no signal rises
            with utility.
        IntegrityError: the warehouse lacks a part of the refresh.
    """
    past = last_run(warehouse, run.pool)
    board = load_board(warehouse.root, board_id_of(warehouse, past.run_id))
    of_past = RunContext(past.run_id, run.pool, run.root, run.config)
    documents = snapshot_documents(warehouse, run_id=past.run_id, snapshot_id=past.ids.snapshot_id)
    if not documents["document_id"].equals(board.document_ids):
        raise IntegrityError(
            f"the board of run {past.run_id} is not of its documents; refresh the pool again"
        )
    config = run.config.settlement
    rules, terms = settlement_rules(config), wealth_terms(config)
    before = standing_wealth(warehouse, run.pool)
    chain = before.settlement_id if before is not None else "first"
    rng = stage_rng(run.config.seed, "settlement", chain)
    read_settlement_targets(warehouse, run, past)
    oracle = open_oracle(warehouse, of_past, past.ids, documents, asking=run, advance=advance)
    values = np.stack(list(board.signals.values()), axis=1)
    paid = pay_contracts(
        values,
        topic_index=board.topic_index,
        utilities_of=oracle.utilities_of if oracle.judged is None else oracle.judged,
        rng=rng,
        rules=rules,
    )
    owned = shared_out({} if before is None else before.weights, board.traders)
    wealth = np.array([owned[trader] for trader in board.traders])
    report = settle(
        paid.contracts, wealth / wealth.sum(), traders=board.traders, rng=rng, terms=terms
    )
    fitted = _fitted(paid, board, rules, rng=rng, needed=config.weights == "regression")
    settled = _settled(_Session(run, past, board, oracle, chain, paid, report, fitted))
    _write(warehouse, past, board, paid, settled)
    return settled


def register_settlement(
    warehouse: Warehouse, run: RunContext, settled: Settled, *, now: datetime
) -> None:
    """Make a settlement the one that the next refresh trades with."""
    row = {
        "settlement_id": settled.settlement_id,
        "pool": settled.pool,
        "run_id": run.run_id,
        "refresh_run_id": settled.refresh_run_id,
        "settled_at": now.replace(tzinfo=None),
        "oracle": settled.oracle,
        "oracle_id": settled.oracle_id,
        "weights": settled.weights,
        "liquidity": settled.market["liquidity"],
        "documents": settled.documents,
        "contracts": settled.contracts,
        "unjudged": settled.unjudged,
        "record": json.dumps({"traders": settled.traders, "market": settled.market}),
    }
    with warehouse.transaction() as cursor:
        cursor.execute(
            "delete from settlements where settlement_id = $settlement_id",
            {"settlement_id": settled.settlement_id},
        )
        append(cursor, "settlements", pa.Table.from_pylist([row]))
    publish_wealth(warehouse, run.pool)


def _fitted(
    paid: PaidContracts,
    board: Board,
    rules: SettlementRules,
    *,
    rng: np.random.Generator,
    needed: bool,
) -> FittedWeights | None:
    """Return the fit to ranks; None where nothing rises with utility and nobody needs it."""
    sample = paid.sample
    try:
        return fitted_weights(
            paid.scores,
            sample.utilities,
            topic_index=board.topic_index[sample.positions],
            rng=rng,
            weights=sample.weights,
            ranked=rules.ranked,
        )
    except InputError:
        if needed:
            raise
        return None


@dataclass(frozen=True, eq=False)
class _Session:
    """What a settlement stands on, and what it found."""

    run: RunContext
    past: PastRun
    board: Board
    oracle: Oracle
    chain: str
    paid: PaidContracts
    report: SettlementReport
    fitted: FittedWeights | None


def _settled(session: _Session) -> Settled:
    run, past, board, oracle = session.run, session.past, session.board, session.oracle
    paid, report, fitted = session.paid, session.report, session.fitted
    config = run.config.settlement
    sample = paid.sample
    identity = {
        "chain": session.chain,
        "documents": board.document_ids.take(pa.array(sample.positions)).to_pylist(),
        "utilities": sample.utilities.tolist(),
        "oracle": oracle.oracle_id,
        "config": config.model_dump(mode="json"),
        "traders": list(board.traders),
        "before": report.wealth_before.tolist(),
        "run": past.run_id,
    }
    traders: list[dict[str, Any]] = [
        {
            "trader": trader,
            "wealth_before": float(report.wealth_before[place]),
            "wealth": float(report.wealth[place]),
            "orders": float(report.orders[place]),
            "lone_log_score": float(report.lone_log_score[place]),
            "marginal_log_score": float(report.marginal_log_score[place]),
            "fitted_weight": None if fitted is None else float(fitted.weights[place]),
            "fitted_spread": None if fitted is None else float(fitted.spread[place]),
        }
        for place, trader in enumerate(board.traders)
    ]
    return Settled(
        settlement_id=digest_of(identity)[:32],
        pool=run.pool,
        refresh_run_id=past.run_id,
        oracle=oracle.name,
        oracle_id=oracle.oracle_id,
        weights=config.weights,
        in_use=run.config.market.weights == "settled",
        documents=board.n_documents,
        contracts=int(sample.positions.size),
        unjudged=sample.unjudged,
        topics=(len(board.topics), int((sample.settled_of_topic > 0).sum())),
        informed=_informed(run, oracle),
        traders=sorted(traders, key=lambda each: (-each["wealth"], each["trader"])),
        market={
            "allocation": config.allocation,
            "remarks": dict(oracle.remarks),
            "has_earned": report.has_earned,
            "liquidity": _liquidity(paid, report, fitted, config.weights),
            "fee": report.fee,
            "log_score_before": report.log_score_before,
            "log_score_after": report.log_score_after,
            "best_log_score": report.best_log_score,
            "quadratic_score_before": report.quadratic_score_before,
            "quadratic_score_after": report.quadratic_score_after,
            "folds": report.n_folds,
            "regret": report.regret,
            "regret_bound": report.regret_bound,
            "rounds": report.rounds,
            "covered_share": sample.covered_share,
            "explained_by_regression": None if fitted is None else fitted.explained,
        },
    )


def _liquidity(
    paid: PaidContracts, report: SettlementReport, fitted: FittedWeights | None, weights: str
) -> float | None:
    """Return LMSR b at which the weights' orders are as large as the contracts bore; None: none."""
    flow = report.order_flow
    if weights == "regression":
        assert fitted is not None  # noqa: S101 - it was needed
        flow = best_order_flow(paid.contracts, fitted.weights)
    return 1 / flow if flow > 0 else None


def _informed(run: RunContext, oracle: Oracle) -> tuple[str, ...]:
    """Return the traders who have read what the oracle measures on."""
    if oracle.name in ("ask_llm", "judgements") or run.config.settlement.targets:
        return ()
    reads = {"targets", "influence_of", "gradients"}
    return tuple(each.spec.name for each in configured_signals(run.config) if each.needs & reads)


def _write(
    warehouse: Warehouse, past: PastRun, board: Board, paid: PaidContracts, settled: Settled
) -> None:
    sample = paid.sample
    prices = _log_prices(warehouse, past)
    ids = board.document_ids.take(pa.array(sample.positions)).to_pylist()
    contracts = {
        "settlement_id": [settled.settlement_id] * len(ids),
        "document_id": ids,
        "topic": [board.topics[topic] for topic in board.topic_index[sample.positions].tolist()],
        "utility": sample.utilities,
        "weight": sample.weights,
        "payoff": paid.payoffs(),
        "log_price": pa.array([prices.get(each) for each in ids], pa.float64()),
    }
    columns = (
        "trader", "wealth_before", "wealth", "orders", "lone_log_score", "marginal_log_score",
        "fitted_weight", "fitted_spread",
    )  # fmt: skip
    wealth: dict[str, list[Any]] = {
        "settlement_id": [settled.settlement_id] * len(settled.traders),
        **{name: [each[name] for each in settled.traders] for name in columns},
    }
    fits = {name: pa.array(wealth[name], pa.float64()) for name in columns[-2:]}
    with warehouse.transaction() as cursor:
        for table in _TABLES:
            cursor.execute(
                f"delete from {table} where settlement_id = $settlement_id",  # noqa: S608 - a closed list of names
                {"settlement_id": settled.settlement_id},
            )
        append(cursor, "settled_contracts", pa.table(contracts))
        append(cursor, "wealth", pa.table({**wealth, **fits}))


def _log_prices(warehouse: Warehouse, past: PastRun) -> Mapping[str, float]:
    table = warehouse.rows("stg_run__prices", {"run_id": past.run_id})
    return dict(zip(table["document_id"].to_pylist(), table["log_price"].to_pylist(), strict=True))

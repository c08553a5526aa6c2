"""One session of the market under a config: a board is cleared, and the budget buys.

The refresh and the what-if of `databourse price` both trade here, so that they cannot disagree.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from databourse.config import BudgetConfig, RefreshConfig
from databourse.errors import InputError, IntegrityError
from databourse.market.board import Board
from databourse.market.clearing_sql import ClearedBoard, clear_board
from databourse.market.lmsr import FloatArray
from databourse.market.standardisation import IntArray
from databourse.queries import query_rows
from databourse.refresh.settings import (
    document_prior,
    market_liquidity,
    market_topic_mass,
    market_traders,
    selection_limits,
    trader_weights,
)
from databourse.seeds import stage_rng
from databourse.selection.buying import Purchase, buy
from databourse.selection.greedy import BoolArray, BudgetKind, costs_within, rank_documents
from databourse.selection.limits import GroupLimits
from databourse.selection.sampling import Drawn, draw_within_budget
from databourse.selection.sweep import SweepRow, budget_grid, sweep_budgets

Vectors = Callable[[IntArray], NDArray[np.float32]]
"""Positions of documents on a board to their unit vectors, shape (n, dimension)."""


@dataclass(frozen=True, eq=False)
class Session:
    """What the market said of every document of a board, and what the budget did.

    `ranking` holds positions, dearest per token first; `costs` (n,) and `limit` are in the unit of
    the budget; `weight` (n,) is that of a document in training, 1 unless it was sampled, and
    `inclusion_probability` (n,) is there for samples alone.
    """

    board: Board
    cleared: ClearedBoard
    ranking: IntArray
    costs: IntArray
    budget_kind: BudgetKind
    limit: int
    limits: tuple[GroupLimits, ...]
    purchase: Purchase
    weight: FloatArray
    inclusion_probability: FloatArray | None


def hold_session(
    cursor: duckdb.DuckDBPyConnection, board: Board, config: RefreshConfig, *, vectors: Vectors
) -> Session:
    """Clear the market of a board and spend the budget, as the config says.

    Args:
        cursor: any DuckDB connection; see `clear_board` for the tables that it keeps.
        board: the documents, with one signal for each of the config's.
        config: of which market, selection, budget, signals and seed are read.
        vectors: gives unit vectors on demand; asked only if diversity is wanted.

    Raises:
        InputError: no document fits the budget, or floors and caps cannot be met.
    """
    cleared = clear_board(
        cursor,
        board,
        weights=trader_weights(config),
        liquidity=market_liquidity(config, board.topics),
        topic_mass=market_topic_mass(config),
        length_bias=config.selection.length_bias,
        prior=document_prior(config, board),
        traders=market_traders(config),
    )
    return spend(cleared, board, config, vectors=vectors)


def spend(
    cleared: ClearedBoard, board: Board, config: RefreshConfig, *, vectors: Vectors
) -> Session:
    """Spend the budget on a cleared board, as the config says.

    Raises:
        InputError: no document fits the budget, or floors and caps cannot be met.
    """
    costs, limit = costs_within(board.tokens, config.budget.kind, config.budget.amount)
    _check_something_fits(config, costs, limit)
    ranking = rank_documents(cleared.log_price_per_token, board.tokens)
    limits = selection_limits(config, board, costs=costs, budget=limit)
    weight, inclusion_probability = np.ones(board.n_documents), None
    if config.selection.method == "sample":
        drawn = draw_within_budget(
            log_size=cleared.log_price_per_token,
            costs=costs,
            budget=limit,
            rng=stage_rng(config.seed, "sampling"),
        )
        purchase = _sampled(drawn, ranking, costs=costs, budget=limit)
        weight = np.where(drawn.is_drawn, drawn.weight, weight)
        inclusion_probability = drawn.inclusion_probability
    else:
        purchase = buy(
            log_price=cleared.log_price,
            log_price_per_token=cleared.log_price_per_token,
            costs=costs,
            budget=limit,
            ranking=ranking,
            limits=limits,
            rule=config.selection.rule,
            guard="best_single" if config.selection.best_single else "none",
            diversity=config.selection.diversity,
            vectors=vectors,
        )
    return Session(
        board=board,
        cleared=cleared,
        ranking=ranking,
        costs=costs,
        budget_kind=config.budget.kind,
        limit=limit,
        limits=limits,
        purchase=purchase,
        weight=weight,
        inclusion_probability=inclusion_probability,
    )


def sweep(session: Session, config: RefreshConfig, *, vectors: Vectors) -> list[SweepRow]:
    """Return what the same rule buys with less and with more, the session's own budget included.

    Budgets that cannot be spent under the config's floors and caps are left out. With diversity the
    sweep ends at the session's budget: the cost of comparing documents grows with its square.
    """
    kind = "documents" if config.budget.kind == "documents" else "tokens"
    budgets = budget_grid(session.limit, total=int(session.costs.sum()))
    if config.selection.diversity:
        budgets = tuple(each for each in budgets if each <= session.limit)
    bought: dict[int, Purchase] = {session.limit: session.purchase}
    for budget in budgets:
        if budget not in bought:
            tried = config.model_copy(update={"budget": BudgetConfig(**{kind: budget})})
            with contextlib.suppress(InputError):
                bought[budget] = spend(
                    session.cleared, session.board, tried, vectors=vectors
                ).purchase

    def buy_again(budget: int) -> tuple[BoolArray, float | None]:
        return bought[budget].is_bought, bought[budget].marginal_log_price_per_token

    rows = sweep_budgets(
        sorted(bought),
        buy=buy_again,
        log_price=session.cleared.log_price,
        log_price_per_token=session.cleared.log_price_per_token,
        costs=session.costs,
        ranking=session.ranking,
        topic_index=session.board.topic_index,
        n_topics=len(session.board.topics),
    )
    if config.selection.method == "sample":  # no price is one that a document must beat
        return [dataclasses.replace(row, marginal_log_price_per_token=None) for row in rows]
    return rows


def stored_vectors(cursor: duckdb.DuckDBPyConnection, board: Board, encoder_id: str) -> Vectors:
    """Return what gives the stored vectors of a board's documents.

    The result raises IntegrityError where the warehouse lacks one.
    """

    def vectors(positions: IntArray) -> NDArray[np.float32]:
        order = np.argsort(positions)
        wanted = board.document_ids.take(pa.array(positions[order]))
        cursor.register("wanted_documents", pa.table({"document_id": wanted}))
        table = query_rows(cursor, "stg_wanted__embeddings", {"encoder_id": encoder_id})
        cursor.unregister("wanted_documents")
        if table.num_rows != positions.size:
            raise IntegrityError(
                f"the warehouse holds vectors of {table.num_rows:,} of {positions.size:,} wanted "
                "documents; refresh the pool again, and they are computed"
            )
        flat = table["vector"].combine_chunks().flatten().to_numpy()
        result = np.empty((positions.size, flat.size // positions.size), dtype=np.float32)
        result[order] = flat.reshape(positions.size, -1)
        return result

    return vectors


def _sampled(drawn: Drawn, ranking: IntArray, *, costs: IntArray, budget: int) -> Purchase:
    """Return a sample in the words of a purchase; it has no price that a document must beat."""
    codes = np.where(drawn.is_drawn, 0, np.where(costs > budget, 2, 1))
    return Purchase(
        is_bought=drawn.is_drawn,
        reason_codes=codes.astype(np.int8),
        reason_names=("drawn", "not_drawn", "longer_than_budget"),
        order=ranking[drawn.is_drawn[ranking]],
        marginal_log_price_per_token=None,
    )


def _check_something_fits(config: RefreshConfig, costs: IntArray, limit: int) -> None:
    if int(costs.min()) > limit:
        unit = "documents" if config.budget.kind == "documents" else "tokens"
        raise InputError(
            f"no document fits the budget of {limit:,} {unit}: the shortest of "
            f"{len(costs):,} candidates costs {int(costs.min()):,}; "
            f"raise budget.{config.budget.kind}"
        )

"""One candidate, measured once in a process of its own; called by `compare_clearing`.

Prints one JSON object; with --answers, also saves log prices and the documents bought.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.market.candidates import CANDIDATES, FLOORS
from benchmarks.measuring import Cost, cost_of, resident_bytes
from databourse.market.board import Board, board_of

_BUDGET_PART = 0.1  # of all tokens


def read_board(path: Path) -> Board:
    """Return the board of a file, its columns in memory."""
    return board_of(pq.read_table(path, read_dictionary=["source", "topic"]))


def measure(
    name: str, board: Board, warm_up: Board
) -> tuple[dict[str, Cost], dict[str, np.ndarray]]:
    """Return what the steps of a candidate took, and its answers.

    Args:
        name: of the candidate, or of a floor.
        board: the market to clear.
        warm_up: a small one, cleared first, so that no import and no start-up is measured.
    """
    if name in FLOORS:
        return {"read": _best_of_three(FLOORS[name](board))}, {}
    candidate = CANDIDATES[name]()
    budget = int(board.tokens.sum() * _BUDGET_PART)
    candidate.select(warm_up, candidate.clear(warm_up), budget=1000)
    prices, clearing = cost_of(lambda: candidate.clear(board))
    bought, selecting = cost_of(lambda: candidate.select(board, prices, budget=budget))
    both = Cost(
        clearing.wall_seconds + selecting.wall_seconds,
        clearing.cpu_seconds + selecting.cpu_seconds,
        max(clearing.peak_bytes, selecting.peak_bytes),
    )
    answers = {"log_price": prices.log_price, "bought": bought}
    return {"clear": clearing, "clear and select": both}, answers


def _best_of_three(read: Callable[[], None]) -> Cost:
    return min((cost_of(read)[1] for _ in range(3)), key=lambda cost: cost.wall_seconds)


def main() -> None:
    """Measure the candidate that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=[*CANDIDATES, *FLOORS])
    parser.add_argument("board", type=Path)
    parser.add_argument("warm_up", type=Path)
    parser.add_argument("--answers", type=Path)
    chosen = parser.parse_args()
    board, warm_up = read_board(chosen.board), read_board(chosen.warm_up)
    before = resident_bytes()
    costs, answers = measure(chosen.name, board, warm_up)
    if chosen.answers:
        np.savez(chosen.answers, allow_pickle=False, **answers)
    costs_by_step = {step: asdict(cost) for step, cost in costs.items()}
    print(json.dumps({"costs": costs_by_step, "bytes_before": before}))


if __name__ == "__main__":
    main()

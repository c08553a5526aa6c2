"""Clear the market and spend the budget."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, SnapshotIds, StageReport
from databourse.refresh.pricing import clear_and_buy
from databourse.warehouse.boards import board_path
from tasks.stages import stage_task, timed_stage


@stage_task("clear_market")
def clear_market(run: RunContext, ids: SnapshotIds, signal_ids: tuple[str, ...]) -> StageReport:
    """Price every candidate and buy by price per token; one row of `prices` per document."""

    def work(_: ProgressReport) -> StageReport:
        market = clear_and_buy(
            run.open_warehouse(), run.config, run_id=run.run_id, ids=ids, signal_ids=signal_ids
        )
        board = board_path(run.warehouse_path, market.board_id)
        return StageReport(
            "clear market",
            market.n_documents,
            market.n_bought,
            "bought",
            values={"market": market.to_json(), "board": str(board)},
        )

    return timed_stage("clear market", work)

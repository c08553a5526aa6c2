"""Train and measure the picks of one sampler."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.comparison import compare_sampler as compare
from databourse.refresh.comparison import held_comparison
from databourse.refresh.context import RunContext, StageReport
from tasks.stages import stage_task, timed_stage


@stage_task("compare_sampler-{sampler}")
def compare_sampler(run: RunContext, sampler: str) -> StageReport:
    """Work through the cells that are not done; rows of `comparisons`, a cell at a time."""
    comparison = held_comparison(run.run_id)
    cells = [each for each in comparison.cells if each.sampler == sampler]

    def work(advance: ProgressReport) -> StageReport:
        new = compare(run.open_warehouse(), comparison, sampler, advance=advance)
        return StageReport(f"compare {sampler}", len(cells), len(cells), f"{new:,} new")

    return timed_stage(f"compare {sampler}", work, total=len(cells))

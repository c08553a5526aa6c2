"""Read the examples of targets, or the texts that must not be in the pool."""

from __future__ import annotations

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.examples import ExampleKind, targets_id
from databourse.refresh.examples import read_examples as read
from tasks.stages import stage_task, timed_stage

_STAGES: dict[ExampleKind, str] = {
    "target": "read targets",
    "protected": "read protected texts",
    "test": "read test sets",
    "settlement": "read settlement targets",
}


@stage_task("read_examples-{kind}")
def read_examples(run: RunContext, kind: ExampleKind) -> StageReport:
    """Read what is new; one row of `arrivals` per row, but of no source."""

    def work(advance: ProgressReport) -> StageReport:
        warehouse = run.open_warehouse()
        rows = read(warehouse, run, kind=kind, advance=advance)
        values = {"targets_id": targets_id(warehouse, run.run_id)} if kind == "target" else {}
        return StageReport(_STAGES[kind], rows, rows, values=values)

    return timed_stage(_STAGES[kind], work)

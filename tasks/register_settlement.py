"""Make a settlement the one that the next refresh trades with."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.settlement import Settled
from databourse.refresh.settlement import register_settlement as register
from tasks.stages import stage_task, timed_stage


@stage_task("register_settlement")
def register_settlement(run: RunContext, settled: str) -> StageReport:
    """Write one row of `settlements`; `settled` is the record of the settlement, as JSON."""

    def work(_: ProgressReport) -> StageReport:
        found = json.loads(settled)
        found |= {key: tuple(found[key]) for key in ("topics", "informed")}
        record = Settled(**found)
        register(run.open_warehouse(), run, record, now=datetime.now(UTC))
        return StageReport(
            "register settlement", len(record.traders), len(record.traders), record.settlement_id
        )

    return timed_stage("register settlement", work)

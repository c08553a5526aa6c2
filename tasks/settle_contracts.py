"""Have an oracle settle a sample of contracts, and pay the traders."""

from __future__ import annotations

import json
from dataclasses import asdict

from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext, StageReport
from databourse.refresh.settlement import settle_contracts as settle
from databourse.refresh.settlement import settlement_progress_total
from tasks.stages import stage_task, timed_stage


@stage_task("settle_contracts")
def settle_contracts(run: RunContext) -> StageReport:
    """Ask the oracle about a sample; rows of `settled_contracts` and `wealth`, not in use yet."""

    def work(advance: ProgressReport) -> StageReport:
        settled = settle(run.open_warehouse(), run, advance=advance)
        return StageReport(
            "settle contracts",
            settled.documents,
            settled.contracts,
            f"by {settled.oracle}",
            values={
                "settlement_id": settled.settlement_id,
                "settled": json.dumps(asdict(settled)),
            },
        )

    return timed_stage(
        "settle contracts", work, total=settlement_progress_total(run.config.settlement)
    )

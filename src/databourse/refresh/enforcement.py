"""Contracts over what the stages of a run wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from databourse.contracts import ContractResult, check_contract, enforce
from databourse.refresh.context import StageReport
from databourse.warehouse.store import Warehouse

CONTRACT_STAGE = "contract "
"""Begins the stage name of every contract's report."""


def enforce_contract(
    warehouse: Warehouse, contract: str, parameters: Mapping[str, Any]
) -> ContractResult:
    """Return what a contract says of the rows that its parameters name.

    Raises:
        ContractViolation: a critical rule fails; names the rule and the first rows.
    """
    cursor = warehouse.cursor()
    try:
        result = check_contract(cursor, contract, parameters)
    finally:
        cursor.close()
    enforce(result)
    return result


def contract_results(stages: Sequence[StageReport]) -> list[dict[str, Any]]:
    """Return the results of every contract that was checked so far, as JSON types."""
    return [
        json.loads(stage.values["result"])
        for stage in stages
        if stage.stage.startswith(CONTRACT_STAGE)
    ]

"""Contracts over what the stages of a run wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from databourse.contracts import ContractResult, check_contract, enforce, violating_rows
from databourse.refresh.context import StageReport
from databourse.warehouse.store import Warehouse

CONTRACT_STAGE = "contract "
"""Begins the stage name of every contract's report."""


Tell = Callable[[ContractResult, list[dict[str, str]]], None]
"""Hears of a contract with failed rules, and of rows that break them, before anything stops."""


def enforce_contract(
    warehouse: Warehouse, contract: str, parameters: Mapping[str, Any], *, tell: Tell
) -> ContractResult:
    """Return what a contract says of the rows that its parameters name.

    Raises:
        ContractViolation: a critical rule fails; names the rule and the first rows.
    """
    cursor = warehouse.cursor()
    try:
        result = check_contract(cursor, contract, parameters)
        if not all(rule.success for rule in result.rules):
            tell(result, violating_rows(cursor, result, parameters))
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

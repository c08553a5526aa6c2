"""A relation judged against its contract: columns and types, values, then the rules in SQL.

DuckDB judges what is about columns, types and several rows or tables; Great Expectations judges
values, on the columns projected to pandas. Pandas knows no difference between null and NaN: there,
NaN is missing, so rules about floating-point columns come with a rule that they are finite.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from databourse.contracts.definition import Contract, load_contract
from databourse.contracts.expectations import judge_frame
from databourse.contracts.outcomes import Outcome
from databourse.contracts.relation import Relation
from databourse.contracts.results import ContractResult, RuleResult, Severity
from databourse.contracts.suite import (
    ROW_COUNT,
    SET_WISE,
    UNIQUE,
    Expectation,
    SqlRule,
    compile_suite,
    sql_rules,
)
from databourse.errors import InputError, UnknownNameError
from databourse.queries import query

CHUNK_ROWS = 500_000
_UNREADABLE = (duckdb.Error, InputError)
_QUERY_NAME = re.compile(r"assert_[a-z0-9_]+")


def check_contract(
    cursor: duckdb.DuckDBPyConnection,
    contract: str | Contract,
    parameters: Mapping[str, Any] | None = None,
    *,
    relation: str | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> ContractResult:
    """Return what a contract says about the rows that a cursor sees; nothing is written.

    A rule that cannot be judged (no such column, table or parameter, broken SQL) has failed, and
    is critical whatever its severity.

    Args:
        cursor: sees the rows, its own uncommitted ones included; must have no open result.
        contract: its name in data_contracts/, or a contract.
        parameters: values of the `$parameters` of the relation and of the rules; others are unused.
        relation: a SELECT of the rows to judge, instead of the contract's own.
        chunk_rows: most rows handed to Great Expectations at once, >= 1; it changes no result.

    Raises:
        UnknownNameError, ConfigError: the contract does not exist or cannot be compiled.
        InputError: chunk_rows is not >= 1.
        MissingExtraError: great-expectations is not installed.
    """
    if chunk_rows < 1:
        raise InputError(f"chunk_rows must be >= 1, got {chunk_rows!r}")
    held = load_contract(contract) if isinstance(contract, str) else contract
    expectations = compile_suite(held)["expectations"]
    rules = sql_rules(held)
    rows = Relation(cursor, relation or held.relation, parameters or {})
    try:
        types, n_rows = rows.types(), rows.row_count()
    except _UNREADABLE as error:
        types, n_rows, problem = {}, 0, Outcome.unjudged(error)
        columns = dict.fromkeys(("columns", "column_types"), problem)
        values = {each["meta"]["rule"]: problem for each in expectations}
    else:
        columns = {
            "columns": _column_names(held, types),
            "column_types": _column_types(held, types),
        }
        values = _values(held, rows, types, expectations, n_rows=n_rows, chunk_rows=chunk_rows)
    results = [
        *(
            _result(name, "critical", _COLUMN_RULES[name], columns[name], n_rows)
            for name in columns
        ),
        *(
            _result(
                each["meta"]["rule"],
                each["severity"],
                each["meta"]["description"],
                values[each["meta"]["rule"]],
                n_rows,
            )
            for each in expectations
        ),
        *(
            _result(each.rule, each.severity, each.description, _by_query(rows, each), n_rows)
            for each in rules
        ),
    ]
    return ContractResult(held.name, held.version, n_rows, tuple(results))


def violating_rows(
    cursor: duckdb.DuckDBPyConnection,
    result: ContractResult,
    parameters: Mapping[str, Any],
    *,
    most_rows: int = 10,
) -> list[dict[str, str]]:
    """Return rows that a result names as examples, their values as text cut to a line.

    Args:
        cursor: as it was judged with.
        result: of a contract in data_contracts/.
        parameters: as it was judged with.
        most_rows: to return at most, >= 1; the smallest keys first.
    """
    held = load_contract(result.contract)
    ids = [each for rule in result.rules if not rule.success for each in rule.example_ids]
    try:
        rows = Relation(cursor, held.relation, parameters)
        return rows.rows_named(ids, held.key, most_rows=most_rows)
    except _UNREADABLE:  # the result says what is wrong with the relation itself
        return []


_COLUMN_RULES = {
    "columns": (
        "The relation must have the columns of the contract, no more and no fewer. Fix what writes "
        "it, or describe the column in the contract and raise its version."
    ),
    "column_types": (
        "Every column must have its physicalType. Fix what writes it, or change the type in the "
        "contract and raise its major version."
    ),
}


def _result(
    rule: str, severity: Severity, description: str, outcome: Outcome, n_rows: int
) -> RuleResult:
    return RuleResult(
        rule=rule,
        severity=severity if outcome.is_judged else "critical",
        success=outcome.is_judged and outcome.failing_rows == 0,
        failing_rows=outcome.failing_rows if outcome.is_judged else max(n_rows, 1),
        example_ids=outcome.example_ids,
        observed=outcome.observed,
        description=description,
    )


def _column_names(contract: Contract, types: Mapping[str, str]) -> Outcome:
    known = {column.name for column in contract.columns}
    missing = [
        f"{column.name} is missing"
        for column in contract.columns
        if column.name not in types and not column.is_optional
    ]
    extra = [
        f"{name} is not in the contract"
        for name in types
        if name not in known and _family_type(contract, name) is None
    ]
    return Outcome.of_relation(sorted(missing) + sorted(extra))


def _column_types(contract: Contract, types: Mapping[str, str]) -> Outcome:
    wanted = {name: _family_type(contract, name) for name in types}
    wanted |= {column.name: column.physical_type for column in contract.columns}
    return Outcome.of_relation(
        [
            f"{name} is {kind} instead of {wanted[name]}"
            for name, kind in sorted(types.items())
            if wanted[name] is not None and kind != wanted[name]
        ]
    )


def _family_type(contract: Contract, name: str) -> str | None:
    for family in contract.families:
        if re.fullmatch(family.pattern, name):
            return family.physical_type
    return None


def _values(
    contract: Contract,
    rows: Relation,
    types: Mapping[str, str],
    expectations: Sequence[Expectation],
    *,
    n_rows: int,
    chunk_rows: int,
) -> dict[str, Outcome]:
    """Return the outcome of each expectation, by rule."""
    outcomes: dict[str, Outcome] = {}
    judged: list[Expectation] = []
    for each in expectations:
        problem = _column_problem(contract, types, each)
        if problem is None:
            judged.append(each)
        else:
            outcomes[each["meta"]["rule"]] = problem
    key = [name for name in contract.key if name in types]
    if n_rows <= chunk_rows:
        return outcomes | _by_frames(contract, rows, judged, key, chunk_rows=None)
    row_wise = [each for each in judged if each["type"] not in SET_WISE]
    outcomes |= _by_frames(contract, rows, row_wise, key, chunk_rows=chunk_rows)
    for each in judged:
        if each["type"] in SET_WISE:
            outcomes[each["meta"]["rule"]] = _by_set(rows, each, key, n_rows)
    return outcomes


def _column_problem(
    contract: Contract, types: Mapping[str, str], expectation: Expectation
) -> Outcome | None:
    """Return why an expectation about absent columns fails, or that it has nothing to judge."""
    optional = {column.name for column in contract.columns if column.is_optional}
    absent = [name for name in _columns_of(expectation) if name not in types]
    if absent and set(absent) <= optional:
        return Outcome.passed()
    return Outcome.unjudged(f"there is no column {absent[0]}") if absent else None


def _columns_of(expectation: Expectation) -> list[str]:
    kwargs = expectation["kwargs"]
    single = [kwargs[name] for name in ("column", "column_A", "column_B") if name in kwargs]
    return [*single, *kwargs.get("column_list", ())]


def _by_frames(
    contract: Contract,
    rows: Relation,
    expectations: Sequence[Expectation],
    key: Sequence[str],
    *,
    chunk_rows: int | None,
) -> dict[str, Outcome]:
    nested = {column.name for column in contract.columns if column.is_nested}
    needed = [*key, *(name for each in expectations for name in _columns_of(each))]
    columns = {name: name in nested for name in needed}
    outcomes: dict[str, Outcome] = {}
    if not columns:
        return outcomes
    try:
        for frame in rows.frames(columns, key, chunk_rows=chunk_rows):
            for rule, outcome in judge_frame(contract.name, expectations, frame, key).items():
                outcomes[rule] = outcomes[rule].plus(outcome) if rule in outcomes else outcome
    except _UNREADABLE as error:
        return {each["meta"]["rule"]: Outcome.unjudged(error) for each in expectations}
    return outcomes


def _by_set(rows: Relation, expectation: Expectation, key: Sequence[str], n_rows: int) -> Outcome:
    kwargs = expectation["kwargs"]
    if expectation["type"] == ROW_COUNT:
        lowest, highest = kwargs.get("min_value", 0), kwargs.get("max_value", n_rows)
        return Outcome.of_relation([] if lowest <= n_rows <= highest else [f"{n_rows} rows"])
    columns = [kwargs["column"]] if expectation["type"] == UNIQUE else kwargs["column_list"]
    try:
        found = rows.repeats(columns, key)
    except _UNREADABLE as error:
        return Outcome.unjudged(error)
    return Outcome(found.failing_rows, found.example_ids, found.observed)


def _by_query(rows: Relation, rule: SqlRule) -> Outcome:
    try:
        text = query(rule.query) if _QUERY_NAME.fullmatch(rule.query) else rule.query
        found = rows.violations(text)
    except (*_UNREADABLE, UnknownNameError) as error:
        return Outcome.unjudged(error)
    return Outcome(found.failing_rows, found.example_ids, found.observed)

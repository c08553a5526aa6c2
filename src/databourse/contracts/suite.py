"""Contracts compiled: value rules to a Great Expectations suite, the others to SQL.

| in the contract                            | becomes                                             |
|--------------------------------------------|-----------------------------------------------------|
| required, primaryKey                       | expect_column_values_to_not_be_null                 |
| unique, primaryKey of one column           | expect_column_values_to_be_unique                   |
| primaryKey of several columns              | expect_compound_columns_to_be_unique                |
| minimum, maximum and exclusive ones        | expect_column_values_to_be_between                  |
| minLength, maxLength                       | expect_column_value_lengths_to_be_between           |
| pattern                                    | expect_column_values_to_match_regex                 |
| enum                                       | expect_column_values_to_be_in_set                   |
| library rowCount                           | expect_table_row_count_to_be_between                |
| library nullValues, missingValues,         | the same as required, enum or pattern, unique;      |
| invalidValues, duplicateValues; mustBe: 0  | only "none at all" can be asked for                 |
| custom, engine greatExpectations           | its implementation, verbatim; row by row rules only |
| sql; mustBe: 0                             | a query of violating rows, see `SqlRule`            |

Whatever cannot be enforced is refused: a rule that is written down and not kept would be a lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from databourse.contracts.definition import Column, Contract
from databourse.contracts.results import Severity
from databourse.errors import ConfigError

if TYPE_CHECKING:
    from open_data_contract_standard.model import DataQuality

NOT_NULL = "expect_column_values_to_not_be_null"
UNIQUE = "expect_column_values_to_be_unique"
COMPOUND_UNIQUE = "expect_compound_columns_to_be_unique"
ROW_COUNT = "expect_table_row_count_to_be_between"
SET_WISE = frozenset({UNIQUE, COMPOUND_UNIQUE, ROW_COUNT})
"""Expectations about all rows at once; the others judge row by row, so chunk by chunk."""

_BETWEEN = "expect_column_values_to_be_between"
_LENGTHS = "expect_column_value_lengths_to_be_between"
_REGEX = "expect_column_values_to_match_regex"
_IN_SET = "expect_column_values_to_be_in_set"
_CUSTOM = frozenset(
    {
        NOT_NULL,
        UNIQUE,
        COMPOUND_UNIQUE,
        _BETWEEN,
        _LENGTHS,
        _REGEX,
        _IN_SET,
        "expect_column_value_lengths_to_equal",
        "expect_column_values_to_be_null",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_not_match_regex",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_equal",
        "expect_column_pair_values_to_be_in_set",
        "expect_multicolumn_sum_to_equal",
    }
)
_ENGINES = frozenset({"greatExpectations", "great-expectations", "great_expectations"})
_OPTIONS = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "pattern",
    }
)


class Expectation(TypedDict):
    """One expectation as Great Expectations writes it; `meta` has the rule and its description."""

    type: str
    kwargs: dict[str, Any]
    severity: Severity
    meta: dict[str, str]


class Suite(TypedDict):
    """The arguments of a Great Expectations `ExpectationSuite`."""

    name: str
    expectations: list[Expectation]
    meta: dict[str, Any]


@dataclass(frozen=True)
class SqlRule:
    """A rule judged in DuckDB: every row that its query returns is a violation.

    `query` is a SELECT, or the name of one in sql/checks/ (`assert_...`). It reads the rows under
    judgement as the relation `contract_rows`, and may read any table of the warehouse. Values are
    `$parameters`. Its first column is the violating row's id, the others show what is wrong.
    """

    rule: str
    severity: Severity
    description: str
    query: str


def compile_suite(contract: Contract) -> Suite:
    """Return the Great Expectations suite of a contract's value rules, in the contract's order.

    Raises:
        ConfigError: the contract asks for something that cannot be enforced.
    """
    expectations = [
        *(each for column in contract.columns for each in _column_expectations(contract, column)),
        *_key_expectations(contract),
        *(
            _quality_expectation(contract, None, quality)
            for quality in contract.quality
            if quality.type != "sql"
        ),
    ]
    names = [each["meta"]["rule"] for each in expectations]
    _refuse_repeats(contract, [*names, *(rule.rule for rule in sql_rules(contract))])
    return Suite(name=contract.name, expectations=expectations, meta={"version": contract.version})


def sql_rules(contract: Contract) -> tuple[SqlRule, ...]:
    """Return the rules of a contract that DuckDB judges, in the contract's order.

    Raises:
        ConfigError: a rule has no query, or asks for something else than no violating row.
    """
    all_quality = [
        *(quality for column in contract.columns for quality in column.quality),
        *contract.quality,
    ]
    return tuple(_sql_rule(contract, each) for each in all_quality if each.type == "sql")


def _sql_rule(contract: Contract, quality: DataQuality) -> SqlRule:
    name, severity, description = _heading(contract, quality)
    if not quality.query or not _asks_for_none(quality):
        raise ConfigError(
            f"contract {contract.name}: rule {name!r} needs a query of violating rows and mustBe: 0"
        )
    return SqlRule(name, severity, description, quality.query.strip())


def _column_expectations(contract: Contract, column: Column) -> Iterator[Expectation]:
    def rule(name: str, kind: str, claim: str, **kwargs: Any) -> Expectation:  # noqa: ANN401
        description = f"{column.name} {claim}. {column.description}".strip()
        meta = {"rule": f"{column.name}.{name}", "description": description}
        return Expectation(
            type=kind, kwargs={"column": column.name, **kwargs}, severity="critical", meta=meta
        )

    options = column.options
    _refuse_options(contract, column)
    if column.is_required:
        yield rule("required", NOT_NULL, "must not be null")
    if column.is_unique and contract.key != (column.name,):
        yield rule("unique", UNIQUE, "must be unique")
    if bounds := _bounds(contract, column):
        yield rule("range", _BETWEEN, f"must be {_in_words(options)}", **bounds)
    lengths = {"min_value": options.get("minLength"), "max_value": options.get("maxLength")}
    if lengths := {key: value for key, value in lengths.items() if value is not None}:
        yield rule("length", _LENGTHS, f"must have {_in_words(options)}", **lengths)
    if pattern := options.get("pattern"):
        yield rule("pattern", _REGEX, f"must match {pattern}", regex=_python_regex(pattern))
    if column.allowed_values:
        values = list(column.allowed_values)
        yield rule("enum", _IN_SET, f"must be one of {values}", value_set=values)
    for quality in column.quality:
        if quality.type != "sql":
            yield _quality_expectation(contract, column, quality)


def _key_expectations(contract: Contract) -> Iterator[Expectation]:
    columns = list(contract.key)
    is_single = len(columns) == 1
    yield Expectation(
        type=UNIQUE if is_single else COMPOUND_UNIQUE,
        kwargs={"column": columns[0]} if is_single else {"column_list": columns},
        severity="critical",
        meta={
            "rule": "primary_key",
            "description": f"{', '.join(columns)} must tell rows apart: one row each.",
        },
    )


def _quality_expectation(
    contract: Contract, column: Column | None, quality: DataQuality
) -> Expectation:
    name, severity, description = _heading(contract, quality)
    if quality.type == "custom":
        kind, kwargs = _custom_expectation(contract, column, quality)
    elif quality.type in (None, "library") and quality.metric:
        kind, kwargs = _library_expectation(contract, column, quality)
    else:
        raise ConfigError(
            f"contract {contract.name}: rule {name!r} has type {quality.type!r} and metric "
            f"{quality.metric!r}, which cannot be enforced; write it as sql, library or custom"
        )
    meta = {"rule": name, "description": description}
    return Expectation(type=kind, kwargs=kwargs, severity=severity, meta=meta)


def _custom_expectation(
    contract: Contract, column: Column | None, quality: DataQuality
) -> tuple[str, dict[str, Any]]:
    implementation = quality.implementation
    if quality.engine not in _ENGINES or not isinstance(implementation, dict):
        raise ConfigError(
            f"contract {contract.name}: rule {quality.name!r} needs engine greatExpectations and "
            f"an implementation of type and kwargs, got {quality.engine!r}, {implementation!r}"
        )
    kind = implementation.get("type")
    kwargs = dict(implementation.get("kwargs") or {})
    if kind not in _CUSTOM or "mostly" in kwargs or set(implementation) - {"type", "kwargs"}:
        raise ConfigError(
            f"contract {contract.name}: rule {quality.name!r}: {kind!r} does not judge row by row, "
            f"or holds mostly or another key; write it as sql; valid: {', '.join(sorted(_CUSTOM))}"
        )
    if column is not None and kind.startswith("expect_column_value"):
        kwargs.setdefault("column", column.name)
    return kind, kwargs


def _library_expectation(
    contract: Contract, column: Column | None, quality: DataQuality
) -> tuple[str, dict[str, Any]]:
    arguments = quality.arguments or {}
    if quality.metric == "rowCount" and column is None and not arguments:
        return ROW_COUNT, _count_bounds(contract, quality)
    if _asks_for_none(quality) and quality.unit in (None, "rows"):
        if column is not None:
            named = {"column": column.name}
            if quality.metric in ("nullValues", "missingValues") and not arguments:
                return NOT_NULL, named
            if quality.metric == "duplicateValues" and not arguments:
                return UNIQUE, named
            if quality.metric == "invalidValues" and set(arguments) == {"validValues"}:
                return _IN_SET, named | {"value_set": list(arguments["validValues"])}
            if quality.metric == "invalidValues" and set(arguments) == {"pattern"}:
                return _REGEX, named | {"regex": _python_regex(arguments["pattern"])}
        elif quality.metric == "duplicateValues" and len(arguments.get("properties", ())) > 1:
            return COMPOUND_UNIQUE, {"column_list": list(arguments["properties"])}
    raise ConfigError(
        f"contract {contract.name}: rule {quality.name!r} asks for {quality.metric} in a way that "
        "cannot be enforced; ask for none (mustBe: 0, unit rows), or write it as sql"
    )


def _count_bounds(contract: Contract, quality: DataQuality) -> dict[str, Any]:
    lowest, highest = quality.mustBeBetween or (None, None)
    if quality.mustBe is not None:
        lowest = highest = quality.mustBe
    if quality.mustBeGreaterThan is not None:
        lowest = quality.mustBeGreaterThan + 1
    if quality.mustBeGreaterOrEqualTo is not None:
        lowest = quality.mustBeGreaterOrEqualTo
    if quality.mustBeLessThan is not None:
        highest = quality.mustBeLessThan - 1
    if quality.mustBeLessOrEqualTo is not None:
        highest = quality.mustBeLessOrEqualTo
    bounds = {"min_value": lowest, "max_value": highest}
    if bounds == {"min_value": None, "max_value": None}:
        raise ConfigError(f"contract {contract.name}: rule {quality.name!r} bounds no row count")
    return {key: int(value) for key, value in bounds.items() if value is not None}


def _heading(contract: Contract, quality: DataQuality) -> tuple[str, Severity, str]:
    if not quality.name or not quality.description:
        raise ConfigError(
            f"contract {contract.name}: a quality rule needs a name and a description of what to "
            f"do when it fails, got {quality.name!r}, {quality.description!r}"
        )
    description = " ".join(quality.description.split())
    match quality.severity:
        case "critical" | "warning" as severity:
            return quality.name, severity, description
        case other:
            raise ConfigError(
                f"contract {contract.name}: rule {quality.name!r} must have severity critical or "
                f"warning, got {other!r}"
            )


def _asks_for_none(quality: DataQuality) -> bool:
    others = (
        quality.mustNotBe,
        quality.mustBeGreaterThan,
        quality.mustBeGreaterOrEqualTo,
        quality.mustBeLessThan,
        quality.mustBeLessOrEqualTo,
        quality.mustBeBetween,
        quality.mustNotBeBetween,
    )
    is_zero = type(quality.mustBe) in (int, float) and quality.mustBe == 0  # not the bool false
    return is_zero and all(other is None for other in others)


def _bounds(contract: Contract, column: Column) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    sides = (
        ("minimum", "exclusiveMinimum", "min_value", "strict_min"),
        ("maximum", "exclusiveMaximum", "max_value", "strict_max"),
    )
    for inclusive, exclusive, value, strict in sides:
        if inclusive in column.options and exclusive in column.options:
            raise ConfigError(
                f"contract {contract.name}: {column.name} has both {inclusive} and {exclusive}"
            )
        if inclusive in column.options:
            bounds[value] = column.options[inclusive]
        elif exclusive in column.options:
            bounds |= {value: column.options[exclusive], strict: True}
    return bounds


def _in_words(options: Any) -> str:  # noqa: ANN401 - a mapping of the contract
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "more than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
        "minLength": "at least",
        "maxLength": "at most",
    }
    claims = [f"{word} {options[key]}" for key, word in words.items() if key in options]
    unit = " characters" if {"minLength", "maxLength"} & set(options) else ""
    return " and ".join(claims) + unit


def _python_regex(pattern: str) -> str:
    # a contract's $ (ECMA-262) is the end of the value; Python's also lets a last newline through
    return re.sub(r"(?<!\\)\$$", r"\\Z", pattern)


def _refuse_options(contract: Contract, column: Column) -> None:
    unknown = sorted(set(column.options) - _OPTIONS)
    if unknown or (column.is_nested and column.options):
        raise ConfigError(
            f"contract {contract.name}: {column.name} has the options {sorted(column.options)}, of "
            f"which only {', '.join(sorted(_OPTIONS))} of scalar columns are enforced; write the "
            "rest as sql rules"
        )


def _refuse_repeats(contract: Contract, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"contract {contract.name} has two rules named {name!r}")

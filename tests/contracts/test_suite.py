"""Each word of a contract becomes the expectation that it says, or is refused."""

import pandas as pd
import pytest
import yaml

from databourse.contracts import check_contract, compile_suite, read_contract
from databourse.contracts.expectations import judge_frame
from databourse.contracts.suite import SqlRule, sql_rules
from databourse.errors import ConfigError

RULE = {"name": "a_rule", "severity": "warning", "description": "Do this\nwhen it fails."}


@pytest.fixture
def contract(tmp_path):
    """Return a function that makes a contract of one column x beside the key, and rules."""

    def make(column=None, quality=(), key=("id",)):
        properties = [
            {"name": name, "logicalType": "string", "physicalType": "VARCHAR", "primaryKey": True,
             "primaryKeyPosition": index + 1}
            for index, name in enumerate(key)
        ]  # fmt: skip
        x = {"name": "x", "logicalType": "integer", "physicalType": "BIGINT"} | (column or {})
        content = {
            "apiVersion": "v3.1.0", "kind": "DataContract", "id": "t", "name": "things",
            "version": "1.0.0", "status": "active",
            "schema": [{
                "name": "things",
                "customProperties": [{"property": "relation", "value": "select * from things"}],
                "properties": [*properties, x],
                "quality": list(quality),
            }],
        }  # fmt: skip
        path = tmp_path / "things.odcs.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return read_contract(path)

    return make


def about_x(contract):
    """Return (rule, type, kwargs, severity) of the expectations that are not about the key."""
    return [
        (each["meta"]["rule"], each["type"], each["kwargs"], each["severity"])
        for each in compile_suite(contract)["expectations"]
        if each["meta"]["rule"] not in {"id.required", "primary_key"}
    ]


BETWEEN = "expect_column_values_to_be_between"
COLUMNS = [
    ({"required": True}, "x.required", "expect_column_values_to_not_be_null", {}),
    ({"unique": True}, "x.unique", "expect_column_values_to_be_unique", {}),
    ({"logicalTypeOptions": {"minimum": 1}}, "x.range", BETWEEN, {"min_value": 1}),
    ({"logicalTypeOptions": {"maximum": 0}}, "x.range", BETWEEN, {"max_value": 0}),
    ({"logicalTypeOptions": {"minimum": 0, "maximum": 2.5}}, "x.range", BETWEEN,
     {"min_value": 0, "max_value": 2.5}),
    ({"logicalTypeOptions": {"exclusiveMinimum": 0, "maximum": 1}}, "x.range", BETWEEN,
     {"min_value": 0, "strict_min": True, "max_value": 1}),
    ({"logicalTypeOptions": {"exclusiveMaximum": 9}}, "x.range", BETWEEN,
     {"max_value": 9, "strict_max": True}),
    ({"logicalTypeOptions": {"minLength": 0, "maxLength": 3}}, "x.length",
     "expect_column_value_lengths_to_be_between", {"min_value": 0, "max_value": 3}),
    ({"logicalTypeOptions": {"pattern": "^[a-f]+$"}}, "x.pattern",
     "expect_column_values_to_match_regex", {"regex": r"^[a-f]+\Z"}),
    ({"logicalTypeOptions": {"pattern": r"^\$"}}, "x.pattern",
     "expect_column_values_to_match_regex", {"regex": r"^\$"}),
    ({"enum": [{"value": 1}, {"value": 2}]}, "x.enum",
     "expect_column_values_to_be_in_set", {"value_set": [1, 2]}),
]  # fmt: skip


@pytest.mark.parametrize(("column", "rule", "kind", "kwargs"), COLUMNS)
def test_a_property_becomes_one_critical_expectation(contract, column, rule, kind, kwargs):
    made = contract(column | {"logicalType": "string"})

    assert about_x(made) == [(rule, kind, {"column": "x", **kwargs}, "critical")]


def test_a_bare_column_asks_for_nothing(contract):
    assert about_x(contract()) == []


def test_a_key_of_one_column_is_unique_and_one_of_two_is_unique_together(contract):
    single = compile_suite(contract())["expectations"]
    double = compile_suite(contract(key=("id", "part")))["expectations"]

    assert [(each["type"], each["kwargs"]) for each in single] == [
        ("expect_column_values_to_not_be_null", {"column": "id"}),
        ("expect_column_values_to_be_unique", {"column": "id"}),
    ]
    assert [(each["type"], each["kwargs"]) for each in double] == [
        ("expect_column_values_to_not_be_null", {"column": "id"}),
        ("expect_column_values_to_not_be_null", {"column": "part"}),
        ("expect_compound_columns_to_be_unique", {"column_list": ["id", "part"]}),
    ]


ROW_COUNT = "expect_table_row_count_to_be_between"
LIBRARY = [
    ({"mustBe": 3}, {"min_value": 3, "max_value": 3}),
    ({"mustBeGreaterThan": 0}, {"min_value": 1}),
    ({"mustBeGreaterOrEqualTo": 2}, {"min_value": 2}),
    ({"mustBeLessThan": 5}, {"max_value": 4}),
    ({"mustBeLessOrEqualTo": 5}, {"max_value": 5}),
    ({"mustBeBetween": [2, 4]}, {"min_value": 2, "max_value": 4}),
]


@pytest.mark.parametrize(("operator", "bounds"), LIBRARY)
def test_a_row_count_becomes_bounds_that_hold_the_same_numbers(contract, operator, bounds):
    made = contract(quality=[RULE | {"type": "library", "metric": "rowCount"} | operator])

    assert about_x(made) == [("a_rule", ROW_COUNT, bounds, "warning")]


METRICS = [
    ("nullValues", {}, "expect_column_values_to_not_be_null", {}),
    ("missingValues", {}, "expect_column_values_to_not_be_null", {}),
    ("duplicateValues", {}, "expect_column_values_to_be_unique", {}),
    ("invalidValues", {"validValues": ["a"]}, "expect_column_values_to_be_in_set",
     {"value_set": ["a"]}),
    ("invalidValues", {"pattern": "^a$"}, "expect_column_values_to_match_regex",
     {"regex": r"^a\Z"}),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "arguments", "kind", "kwargs"), METRICS)
def test_a_metric_of_a_column_keeps_its_severity(contract, metric, arguments, kind, kwargs):
    quality = RULE | {"metric": metric, "mustBe": 0}
    made = contract({"quality": [quality | ({"arguments": arguments} if arguments else {})]})

    assert about_x(made) == [("a_rule", kind, {"column": "x", **kwargs}, "warning")]


def test_duplicates_over_several_columns_become_compound_uniqueness(contract):
    quality = {"metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": ["id", "x"]}}

    assert about_x(contract(quality=[RULE | quality])) == [
        ("a_rule", "expect_compound_columns_to_be_unique", {"column_list": ["id", "x"]}, "warning")
    ]


def test_a_custom_expectation_is_taken_word_for_word(contract):
    implementation = {
        "type": "expect_column_pair_values_a_to_be_greater_than_b",
        "kwargs": {"column_A": "x", "column_B": "id", "or_equal": True},
    }
    quality = RULE | {
        "type": "custom", "engine": "greatExpectations", "implementation": implementation,
    }  # fmt: skip

    made = compile_suite(contract(quality=[quality]))["expectations"][-1]

    assert made["type"] == implementation["type"]
    assert made["kwargs"] == implementation["kwargs"]
    assert made["meta"] == {"rule": "a_rule", "description": "Do this when it fails."}


def test_a_custom_expectation_of_a_column_is_about_that_column(contract):
    quality = RULE | {
        "type": "custom", "engine": "great-expectations",
        "implementation": {"type": "expect_column_values_to_not_be_in_set",
                           "kwargs": {"value_set": [13]}},
    }  # fmt: skip

    assert about_x(contract({"quality": [quality]})) == [
        ("a_rule", "expect_column_values_to_not_be_in_set",
         {"column": "x", "value_set": [13]}, "warning")
    ]  # fmt: skip


def test_sql_rules_are_left_to_duckdb(contract):
    made = contract(quality=[RULE | {"type": "sql", "query": " select 1 \n", "mustBe": 0}])

    assert about_x(made) == []
    assert sql_rules(made) == (SqlRule("a_rule", "warning", "Do this when it fails.", "select 1"),)


def custom(**implementation):
    engine = implementation.pop("engine", "greatExpectations")
    return {"type": "custom", "engine": engine, "implementation": implementation}


REFUSED = [
    ({"type": "text"}, "has type 'text'.*cannot be enforced"),
    ({"type": "library"}, "cannot be enforced"),
    ({"metric": "nullValues", "mustBe": 1}, "asks for nullValues in a way"),
    ({"metric": "nullValues", "mustBe": False}, "asks for nullValues in a way"),
    ({"metric": "nullValues", "mustBe": 0, "unit": "percent"}, "asks for nullValues in a way"),
    ({"metric": "rowCount", "mustBeGreaterThan": 0}, "asks for rowCount in a way"),
    ({"type": "sql", "query": "select 1", "mustBeLessThan": 5}, "needs a query .* mustBe: 0"),
    ({"type": "sql", "query": "select 1", "mustBe": 0, "mustBeLessThan": 5}, "needs a query"),
    ({"type": "sql", "mustBe": 0}, "needs a query"),
    (custom(engine="soda", type="x"), "needs engine greatExpectations"),
    (custom(type="expect_column_mean_to_be_between"), "does not judge row by row"),
    (custom(type="expect_column_values_to_be_unique", kwargs={"mostly": 0.9}), "mostly"),
    (custom(type="expect_column_values_to_be_unique", severity="info"), "another key"),
    ({"metric": "nullValues", "mustBe": 0, "severity": "info"}, "severity critical or warning"),
    ({"metric": "nullValues", "mustBe": 0, "severity": None}, "severity critical or warning"),
    ({"metric": "nullValues", "mustBe": 0, "description": ""}, "a name and a description"),
    ({"metric": "nullValues", "mustBe": 0, "name": None}, "a name and a description"),
    ({"metric": "nullValues", "mustBe": 0, "name": "id.required"}, "two rules named 'id.required'"),
]


@pytest.mark.parametrize(("quality", "message"), REFUSED)
def test_a_rule_that_cannot_be_kept_is_refused(contract, quality, message):
    with pytest.raises(ConfigError, match=message):
        compile_suite(contract({"quality": [RULE | quality]}))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"logicalTypeOptions": {"multipleOf": 2}}, r"options \['multipleOf'\], of which only"),
        ({"logicalType": "array", "logicalTypeOptions": {"minimum": 2}}, "of scalar columns"),
        ({"logicalTypeOptions": {"minimum": 1, "exclusiveMinimum": 1}}, "has both minimum and"),
    ],
)
def test_an_option_that_cannot_be_kept_is_refused(contract, column, message):
    with pytest.raises(ConfigError, match=message):
        compile_suite(contract(column))


def test_a_row_count_without_bound_is_refused(contract):
    with pytest.raises(ConfigError, match="bounds no row count"):
        compile_suite(contract(quality=[RULE | {"metric": "rowCount", "mustNotBe": 3}]))


def things(warehouse, values):
    warehouse.execute("create table things (id varchar, x bigint)")
    warehouse.execute(f"insert into things values {values}")  # noqa: S608 - rows of a test
    return warehouse.cursor()


BROKEN = {
    "syntax": "selec id from contract_rows",
    "two statements": "select id from contract_rows; drop table things",
    "no such column": "select nothing from contract_rows",
    "no such table": "select id from nowhere",
    "no such check": "assert_nothing_at_all",
    "an error in the midst": "select id from contract_rows where error('no') is not null",
    "a write": "delete from things",
    "an escape that only reads": "select 1) as a; select * from (select 1",
    "an escape": "select 1) as a; drop table things; select * from (select 1",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_rule_that_cannot_run_has_failed_and_is_critical(warehouse, contract, what):
    cursor = things(warehouse, "('a', 1), ('b', 2)")
    made = contract(quality=[RULE | {"type": "sql", "query": BROKEN[what], "mustBe": 0}])

    rule = check_contract(cursor, made).rules[-1]

    assert (rule.rule, rule.severity, rule.success) == ("a_rule", "critical", False)
    assert rule.failing_rows == 2
    assert rule.observed.startswith("could not be judged: ")
    assert rule.example_ids == (rule.observed,)
    assert warehouse.execute("select count(*) from things").fetchall() == [(2,)]


def test_an_expectation_that_the_library_refuses_has_failed_and_is_critical(warehouse, contract):
    cursor = things(warehouse, "('a', 1)")
    quality = RULE | custom(type="expect_column_values_to_be_between", kwargs={"max_valu": 2})

    result = check_contract(cursor, contract({"quality": [quality]}))

    rule = next(each for each in result.rules if each.rule == "a_rule")
    assert (rule.severity, rule.success) == ("critical", False)
    assert "max_valu" in rule.observed
    assert [each.rule for each in result.rules if not each.success] == ["a_rule"]


def test_an_expectation_that_the_library_would_drop_in_silence_is_not_judged():
    unknown = {
        "type": "expect_nonsense", "kwargs": {"column": "x"}, "severity": "critical",
        "meta": {"rule": "a_rule", "description": ""},
    }  # fmt: skip

    outcome = judge_frame("things", [unknown], pd.DataFrame({"x": [1]}), ["x"])["a_rule"]

    assert not outcome.is_judged
    assert "knows no expect_nonsense" in outcome.observed


def test_every_kind_of_expectation_finds_the_row_that_breaks_it(warehouse, contract):
    cursor = things(warehouse, "('a', 1), ('b', 2), ('c', 13), ('d', null)")
    between = custom(type="expect_column_values_to_be_between", kwargs={"max_value": 12})
    lengths = custom(type="expect_column_value_lengths_to_equal", kwargs={"column": "id"})
    lengths["implementation"]["kwargs"]["value"] = 1
    made = contract(
        {"enum": [{"value": 1}, {"value": 13}],
         "quality": [RULE | between, RULE | lengths | {"name": "lengths"}]},
        quality=[RULE | {"name": "few", "metric": "rowCount", "mustBeLessThan": 4}],
    )  # fmt: skip

    result = check_contract(cursor, made)
    found = {each.rule: (each.example_ids, each.observed) for each in result.rules}

    assert found["x.enum"] == (("b",), "x=2")
    assert found["a_rule"] == (("c",), "x=13")
    assert found["lengths"] == ((), "")
    assert found["few"] == (("4 rows",), "4 rows")
    assert [each.rule for each in result.failed("warning")] == ["a_rule", "few"]

"""Results stop on critical rules, keep warnings, and read the same every time."""

import json

import pytest

from databourse.contracts import ContractResult, RuleResult, enforce
from databourse.errors import ContractViolation


def rule(name, *, severity="critical", failing_rows=0, ids=()):
    return RuleResult(name, severity, failing_rows == 0, failing_rows, tuple(ids), "x=1", "Do it.")


def result(*rules):
    return ContractResult("prices", "1.2.0", 3, rules)


def test_a_failed_critical_rule_stops_and_the_first_is_named():
    judged = result(
        rule("kept"),
        rule("odd", severity="warning", failing_rows=1),
        rule("finite", failing_rows=1200, ids=["a", "b"]),
        rule("rows", failing_rows=1),
    )

    with pytest.raises(ContractViolation) as caught:
        enforce(judged)

    assert not judged.success
    assert caught.value.args == ("prices", "finite", 1200, ("a", "b"))
    assert "rule 'finite' fails on 1,200 rows, for example a, b." in str(caught.value)


def test_a_failed_warning_is_kept_and_stops_nothing():
    judged = result(rule("kept"), rule("odd", severity="warning", failing_rows=2))

    enforce(judged)

    assert judged.success
    assert [each.rule for each in judged.failed("warning")] == ["odd"]
    assert judged.to_dict()["rules"][1]["success"] is False


def test_the_text_is_canonical_json_of_everything():
    judged = result(rule("finite", failing_rows=1, ids=["a"]))

    assert json.loads(judged.to_json()) == judged.to_dict()
    assert judged.to_json() == (
        '{"contract":"prices","rows":3,"rules":[{"description":"Do it.","example_ids":["a"],'
        '"failing_rows":1,"observed":"x=1","rule":"finite","severity":"critical",'
        '"success":false}],"success":false,"version":"1.2.0"}'
    )


def test_a_contract_without_rules_holds():
    assert result().success

import datetime as dt
import decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.errors import ConfigError
from databourse.sources.template import RowRejectedError, parse_template


def test_text_and_columns_are_rendered_in_order():
    template = parse_template("{title}. {body} ({title})")

    assert template.columns() == ("title", "body")
    assert template.render({"title": "A", "body": "B", "other": 1}) == "A. B (A)"


def test_doubled_braces_are_braces():
    assert parse_template("{{{a}}} {{b}}").render({"a": "x"}) == "{x} {b}"


def test_a_value_that_looks_like_a_template_is_not_rendered_again():
    assert parse_template("{a}").render({"a": "{b} {a}", "b": "no"}) == "{b} {a}"


@pytest.mark.parametrize(
    ("source", "position"),
    [("{text", 0), ("a {b} {", 6), ("text}", 4), ("{}", 0), ("{a} { }", 4), ("{a{b}}", 0)],
)
def test_wrong_syntax_names_the_template_and_the_position(source, position):
    with pytest.raises(ConfigError) as caught:
        parse_template(source, where="sources.0.text")

    assert f"sources.0.text {source!r}" in str(caught.value)
    assert f"at position {position} " in str(caught.value)


def test_a_template_without_columns_is_refused():
    with pytest.raises(ConfigError, match="uses no column"):
        parse_template("{{text}}")


@pytest.mark.parametrize("name", ["a.__class__", "a[0]", "a!r", "a:>10", "0", " a "])
def test_formats_attributes_and_indexes_are_only_names_of_columns(name):
    template = parse_template("{" + name + "}")

    assert template.columns() == (name,)
    assert template.render({name: "literal"}) == "literal"
    with pytest.raises(RowRejectedError) as caught:
        template.render({"a": "secret"})
    assert caught.value.reason == "missing_column"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  as it is ", "  as it is "),
        (3, "3"),
        (-0.1, "-0.1"),
        (2.0, "2.0"),
        (True, "true"),
        (False, "false"),
        (decimal.Decimal("1.50"), "1.50"),
        (dt.date(2024, 2, 29), "2024-02-29"),
        (dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC), "2024-02-29T12:30:00+00:00"),
    ],
)
def test_values_are_rendered_by_the_documented_rule(value, text):
    assert parse_template("{a}").render({"a": value}) == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "missing_value"),
        (float("nan"), "not_text"),
        (float("inf"), "not_text"),
        ([1], "not_text"),
        ({"a": 1}, "not_text"),
        (b"bytes", "not_text"),
    ],
)
def test_values_without_text_are_refused(value, reason):
    with pytest.raises(RowRejectedError) as caught:
        parse_template("{a}").render({"a": value})

    assert caught.value.reason == reason
    assert "'a'" in caught.value.detail


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(), st.sampled_from(["a", "b", "c d"]), st.text()), min_size=1))
def test_escaped_text_around_columns_comes_back_as_it_was(pieces):
    def escaped(text):
        return text.replace("{", "{{").replace("}", "}}")

    source = "".join(
        escaped(before) + "{" + name + "}" + escaped(after) for before, name, after in pieces
    )
    values = {"a": "1", "b": "2", "c d": "3"}

    expected = "".join(before + values[name] + after for before, name, after in pieces)
    assert parse_template(source).render(values) == expected

"""Named queries: lines that stand for every trader are written once for each."""

import duckdb
import pytest

from databourse.errors import InputError, UnknownNameError
from databourse.queries import query, query_files


def test_lines_for_each_trader_are_repeated_with_their_number():
    text = query("int_topics_ranged", n_traders=2)
    lines = [line.strip() for line in text.splitlines()]

    assert "min(signal_0) as low_0, -- per trader" in lines
    assert "min(signal_1) as low_1, -- per trader" in lines
    assert lines.index("min(signal_1) as low_1, -- per trader") < lines.index(
        "max(signal_0) as high_0, -- per trader"
    )
    assert "_k" not in text


def test_without_a_number_of_traders_the_text_is_that_of_the_file():
    assert query("int_topics_ranged") == query_files()["int_topics_ranged"].read_text()


@pytest.mark.parametrize("name", [name for name in query_files() if "_k" in query(name)])
def test_every_query_with_columns_per_trader_parses_for_one_and_for_many(name):
    for n_traders in (1, 11):
        statements = duckdb.extract_statements(query(name, n_traders=n_traders))
        assert len(statements) == 1


@pytest.mark.parametrize("name", list(query_files()))
def test_what_is_named_for_trader_k_stands_on_a_line_for_each_trader(name):
    for line in query(name).splitlines():
        code = line.split("--")[0]
        is_named = any(word.strip("(),.;").endswith("_k") for word in code.split())
        assert not is_named or line.endswith("-- per trader"), line


def test_a_market_without_traders_and_an_unknown_query_are_refused():
    with pytest.raises(InputError, match="at least 1 trader, got 0"):
        query("int_topics_ranged", n_traders=0)
    with pytest.raises(UnknownNameError, match="did you mean 'int_topics_ranged'"):
        query("int_topics_range")

"""What `databourse price` prints of a published pool; nothing is refreshed here."""

import json

import pytest
from typer.testing import CliRunner

from databourse.errors import ConfigError, DatabourseError


@pytest.fixture
def price(pool):
    """Return a function that runs the command on the pool; it gives what was printed."""
    from flows.cli import app

    def run(*arguments):
        result = CliRunner().invoke(app, ["price", str(pool.path), *map(str, arguments)])
        if isinstance(result.exception, DatabourseError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def line_of(text, name):
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return line.removeprefix(name).strip()


def test_the_limit_is_in_the_unit_of_the_budget_that_is_tried(pool, price):
    pool.publish()
    assert line_of(price(), "tokens").endswith("(budget: 300 tokens)")
    assert line_of(price("--budget-documents", 7), "tokens").endswith("(budget: 7 documents)")
    assert line_of(price("--budget-share", 1), "tokens").endswith(
        f"(budget: {pool.board.tokens.sum():,} tokens)"
    )
    pool.publish(budget={"documents": 5})
    assert line_of(price("--budget-tokens", 90), "tokens").endswith("(budget: 90 tokens)")


def test_the_headlines_add_up(pool, price):
    pool.publish()
    shown = price("--budget-tokens", 250, "--length-bias", 2)
    answer = json.loads(price("--budget-tokens", 250, "--length-bias", 2, "--json"))
    before, after, kept = (answer[name] for name in ("before", "after", "kept"))

    assert line_of(shown, "documents") == f"{before['documents']} -> {after['documents']} of 40"
    assert line_of(shown, "tokens").startswith(f"{before['tokens']} -> {after['tokens']} (")
    entering = after["tokens"] - kept["tokens"]
    leaving = before["tokens"] - kept["tokens"]
    assert line_of(shown, "enter") == f"{len(answer['entered'])} documents, {entering} tokens"
    assert line_of(shown, "leave") == f"{len(answer['left'])} documents, {leaving} tokens"
    assert line_of(shown, "stay").startswith(f"{kept['documents']} documents (")
    assert f"{answer['overlap']:.1%}" in line_of(shown, "stay")
    assert entering > 0
    assert leaving > 0
    assert "budget.tokens: 300 -> 250" in shown
    assert "selection.length_bias: 1.0 -> 2.0" in shown


def test_unchanged_settings_are_called_that(pool, price):
    pool.publish()
    shown = price()

    assert line_of(shown, "instead of") == "nothing: these are the published settings"
    assert "Enter, the dearest first: none" in shown
    assert "Leave, the cheapest first: none" in shown
    assert "needs a refresh" not in shown


def test_a_sample_has_no_marginal_price(pool, price):
    pool.publish()

    assert line_of(price("--method", "sample"), "marginal price").endswith(
        "-> none (log, per token)"
    )


def test_limits_by_name_take_any_name(pool, price):
    pool.publish()
    answer = json.loads(price("--topic-cap", "😀=0.05", "--topic-floor", "air=0.3", "--json"))
    spent = {each["name"]: each["tokens_after"] for each in answer["topics"]}

    assert spent["😀"] <= 15
    assert spent["air"] >= 90
    assert answer["changed"]["selection.topic_cap.😀"] == [None, 0.05]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--liquidity", "1e-9"],
        ["--liquidity", "1e-9", "--budget-share", "1"],
        ["--liquidity", "1e-9", "--method", "sample", "--length-bias", "-10"],
        ["--liquidity", "1e9", "--length-bias", "10"],
        ["--effective-share", "0.999999"],
    ],
)
def test_the_farthest_liquidities_are_priced_and_printed(pool, price, arguments):
    pool.publish()

    json.loads(price(*arguments, "--sweep", "--json"), parse_constant=pytest.fail)
    assert "marginal price" in price(*arguments, "--sweep")


def test_a_liquidity_beyond_them_is_refused(pool, price):
    pool.publish()

    with pytest.raises(ConfigError, match=r"market\.liquidity\.shares.*greater than or equal"):
        price("--liquidity", "1e-310")

"""`databourse price`: what it foresees is what a refresh under the same settings buys."""

import json

import pytest
from typer.testing import CliRunner

from databourse.config import load_config
from databourse.errors import ConfigError, DatabourseError, IntegrityError, ManifestError
from databourse.manifests import open_manifest
from databourse.refresh.standing_wealth import as_settled
from databourse.what_if.session import what_if
from databourse.what_if.settings import (
    Changes,
    changed_config,
    market_overrides,
    trader_overrides,
)


@pytest.fixture(scope="module")
def published(prefect_server, write_pool, tmp_path_factory):
    """Return the path of a config whose pool is published as version 1."""
    from flows.refresh_pool import refresh_pool

    path = write_pool(tmp_path_factory.mktemp("priced"))
    assert refresh_pool(str(path), []).version == 1
    return path


@pytest.fixture
def price():
    """Return a function that runs the command in this process; it gives what was printed."""
    from flows.cli import app

    def run(*arguments):
        result = CliRunner().invoke(app, ["price", *map(str, arguments)])
        if isinstance(result.exception, DatabourseError):
            raise result.exception
        return result

    return run


def answer_of(price, *arguments):
    result = price(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def bought_ids(path):
    return open_manifest(str(path)).to_arrow(["document_id"])["document_id"].to_pylist()


def test_the_published_settings_change_nothing(price, published):
    answer = answer_of(price, published)

    assert answer["changed"] == {}
    assert answer["needs_a_refresh"] == []
    assert answer["entered"] == answer["left"] == []
    assert answer["before"] == answer["after"] == answer["kept"]
    assert answer["overlap"] == 1.0
    assert answer["utility_before"] == answer["utility_after"]
    assert (
        answer["marginal_log_price_per_token_before"]
        == answer["marginal_log_price_per_token_after"]
    )


TRIED = {
    "floors, caps and novelty": (
        Changes(
            budget=("tokens", 700),
            diversity=0.5,
            limits={"topic_floor": 0.6, "topic_cap": 1.5, "source_floor": 1.0},
        ),
        [],
    ),
    "a sample with a prior": (
        Changes(budget=("share", 0.2), method="sample", topic_mass="balanced"),
        ["market.prior=tokens"],
    ),
    "risk-averse traders": (
        Changes(
            budget=("documents", 25),
            liquidity=("shares", 0.6),
            weights={"rarity": 3.0},
            without=("length",),
        ),
        ["market.traders={risk_aversion: 2.0, confidence: 0.8}"],
    ),
    "the stop rule with a guard": (
        Changes(length_bias=0.3, rule="stop"),
        ["selection.best_single=true", "market.liquidity.effective_share=0.1"],
    ),
}


@pytest.mark.parametrize("name", TRIED)
def test_what_is_foreseen_is_what_the_refresh_buys(refresh, published, name):
    changes, more = TRIED[name]
    tried = changed_config(published, more, changes)
    settings = [
        *more,
        *market_overrides(changes),
        *trader_overrides(changes, as_settled(load_config(published), None)),
    ]
    foreseen = what_if(tried, published.parent, version=1)
    board, purchase = foreseen.session.board, foreseen.session.purchase
    outcome = refresh(published, *settings)
    manifest = open_manifest(outcome.path)

    assert manifest.verify().ok
    is_bought = purchase.is_bought.nonzero()[0]
    assert bought_ids(outcome.path) == board.document_ids.take(is_bought).to_pylist()
    assert outcome.documents == foreseen.comparison.after.documents
    assert outcome.tokens == foreseen.comparison.after.tokens
    rows = manifest.to_arrow()
    assert rows["log_price"].to_pylist() == foreseen.session.cleared.log_price[is_bought].tolist()
    if tried.selection.method == "sample":
        probability = rows["inclusion_probability"].to_numpy()
        assert ((probability > 0) & (probability <= 1)).all()
        assert rows["weight"].to_numpy().tolist() == (1 / probability).tolist()
        assert len(set(probability)) > 5
    else:
        assert set(rows["weight"].to_pylist()) == {1.0}
        assert "inclusion_probability" not in rows.column_names


def test_floors_and_caps_stand_in_the_manifest_and_hold(refresh, published):
    outcome = refresh(
        published, "budget.tokens=800", "selection.topic_floor=0.8", "selection.topic_cap=1.4"
    )
    info = open_manifest(outcome.path).info

    assert info.selection.topic_floor == 0.8
    for part in info.topics:
        assert part.floor == min(160, part.candidate_tokens)  # 0.8 * 800 / 4 topics
        assert part.cap == 280
        assert part.floor <= part.selected_tokens <= part.cap


def test_limits_that_cannot_be_met_stop_the_run_and_say_why(refresh, published):
    before = open_manifest(str(published.parent / "manifests" / "tiny")).info.version
    with pytest.raises(DatabourseError, match=r"source floors add up to 1,000.*caps|cap"):
        refresh(
            published,
            "budget.tokens=1000",
            "selection.topic_cap={topic-000: 0.1, topic-001: 0.1, topic-002: 0.1, topic-003: 0.1}",
            "selection.source_floor=1.0",
        )

    assert open_manifest(str(published.parent / "manifests" / "tiny")).info.version == before


def test_a_smaller_budget_lists_what_leaves_and_where(price, published):
    answer = answer_of(price, published, "--version", 1, "--budget-tokens", 300)

    assert answer["changed"] == {"budget.tokens": [900, 300]}
    assert answer["after"]["tokens"] <= 300
    assert answer["left"]
    assert set(answer["left"]) <= set(bought_ids(published.parent / "manifests/tiny/v000001"))
    assert not set(answer["entered"]) & set(bought_ids(published.parent / "manifests/tiny/v000001"))
    for kind in ("topics", "sources"):
        assert sum(each["tokens_after"] for each in answer[kind]) == answer["after"]["tokens"]
        assert sum(each["tokens_before"] for each in answer[kind]) == answer["before"]["tokens"]
    shifts = [abs(each["tokens_after"] - each["tokens_before"]) for each in answer["topics"]]
    assert shifts == sorted(shifts, reverse=True)


def test_the_text_names_what_changed_and_shows_documents(price, published):
    shown = price(published, "--version", 1, "--without", "length", "--sweep").stdout

    assert "signals: diversity, length, neighbour_agreement" in shown
    assert "Leave, the cheapest first (" in shown
    assert "this budget" in shown
    assert "log price per token" in shown


def test_a_sweep_buys_more_value_with_more_budget(price, published):
    rows = answer_of(price, published, "--version", 1, "--sweep")["sweep"]
    budgets = [row["budget"] for row in rows]
    utilities = [row["utility"] for row in rows]

    assert 900 in budgets
    assert budgets == sorted(budgets)
    assert all(row["spent"] <= row["budget"] for row in rows)
    assert utilities[-1] == pytest.approx(1.0)
    assert utilities == sorted(utilities)


def test_settings_that_need_a_refresh_are_named(price, published):
    answer = answer_of(price, published, "--version", 1, "--set", "topics.count=3",
                       "--set", "signals=[{name: rarity, k: 3}, diversity]")  # fmt: skip

    assert answer["needs_a_refresh"] == ["topics", "signals.rarity"]


def test_a_signal_that_was_not_scored_is_refused_with_what_to_do(price, published):
    with pytest.raises(ConfigError, match=r"'surprisal' was not scored.*--without surprisal"):
        price(published, "--version", 1, "--set", "signals=[rarity, surprisal]")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget-tokens", "5", "--budget-share", "0.1"], "give one budget"),
        (["--weight", "rarity"], "takes NAME=NUMBER"),
        (["--weight", "rarity=much"], "takes a number"),
        (["--topic-floor", "a=0.1", "--topic-floor", "a=0.2"], "twice"),
    ],
)
def test_wrong_options_are_usage_errors(price, published, arguments, message):
    result = price(published, *arguments)

    assert result.exit_code == 2
    assert message in " ".join(result.output.split()).replace("│", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--without", "rarety"], "did you mean 'rarity'"),
        (["--topic-floor", "sports=0.1"], "unknown topic 'sports'"),
        (["--budget-tokens", "1"], "no document fits the budget of 1 tokens"),
        (["--diversity", "-1"], "greater than or equal to 0"),
        (["--method", "sample", "--diversity", "0.1"], "diversity is for method greedy"),
    ],
)
def test_settings_that_cannot_be_are_one_clear_line(price, published, arguments, message):
    with pytest.raises(DatabourseError) as caught:
        price(published, "--version", 1, *arguments)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_signals_cannot_be_left_out(price, published):
    names = ["uncertainty", "rarity", "diversity", "neighbour_agreement", "length"]
    with pytest.raises(ConfigError, match="no signal is left"):
        price(published, *[part for name in names for part in ("--without", name)])


def test_without_a_published_manifest_there_is_nothing_to_price(price, write_pool, tmp_path):
    with pytest.raises(ManifestError, match="does not exist or is empty"):
        price(write_pool(tmp_path))


def test_a_damaged_board_is_named(price, refresh, write_pool, tmp_path):
    path = write_pool(tmp_path)
    refresh(path)
    (board,) = (path.parent / "warehouse" / "boards").iterdir()
    board.write_bytes(board.read_bytes()[:-1])

    with pytest.raises(IntegrityError, match=rf"{board.name}.*truncated or edited"):
        price(path)

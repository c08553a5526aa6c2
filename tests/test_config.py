"""Config: what is accepted, how layers override, and the one line that each mistake gives."""

import pytest
import yaml

from databourse.config import config_digest, config_yaml, load_config
from databourse.errors import ConfigError, UnknownNameError

GOOD = {
    "pool": "ag_news",
    "seed": 17,
    "sources": [{"name": "ag", "path": "data/*.csv.gz", "text": "{text}", "label": "label"}],
    "signals": ["uncertainty", "rarity"],
    "budget": {"tokens": 60000},
}


@pytest.fixture
def write(tmp_path):
    def write(**changes):
        path = tmp_path / "pool.yaml"
        path.write_text(yaml.safe_dump({**GOOD, **changes}))
        return path

    return write


def error_of(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_small_config_gets_every_default(write):
    config = load_config(write())

    assert (config.market.weights, config.market.liquidity) == ("settled", "auto")
    assert config.deduplicate.near.threshold == 0.8
    assert config.budget.kind == "tokens"
    assert config.budget.amount == 60000


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"sead": 3}, "unknown key 'sead'; did you mean 'seed'?"),
        ({"budget": {"token": 5}}, "unknown key 'budget.token'; did you mean 'tokens'?"),
        (
            {"market": {"liquidity": {"shars": 1}}},
            "unknown key 'market.liquidity.shars'; did you mean 'shares'?",
        ),
        (
            {"deduplicate": {"near": {"treshold": 0.5}}},
            "unknown key 'deduplicate.near.treshold'; did you mean 'threshold'?",
        ),
        ({"topics": {"by": "lables"}}, "topics.by: input should be 'kmeans' or 'label'"),
        ({"budget": {"tokens": "many"}}, "budget.tokens: input should be a valid integer"),
        ({"budget": {"tokens": 5, "share": 0.1}}, "got tokens and share"),
        ({"budget": {}}, "got none"),
        ({"selection": {"length_bias": float("nan")}}, "selection.length_bias: input should be"),
        ({"pool": "../up"}, "pool: string should match pattern"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0, got -1"),
        ({"signals": ["uncertianty"]}, "did you mean 'uncertainty'?"),
        ({"sources": []}, "sources: tuple should have at least 1 item"),
    ],
)
def test_a_mistake_gives_one_line_that_names_the_key(write, change, expected):
    assert expected in error_of(write(**change))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"name": "a", "path": "x.jsonl"}, "needs either text or prompt and completion"),
        ({"name": "a", "path": "x", "prompt": "{p}"}, "add 'completion'"),
        ({"name": "a", "text": "{t}"}, "has no path"),
        ({"name": "a", "path": "x", "text": "{t}", "txt": 1}, "did you mean 'text'?"),
        ({"name": "a", "kind": "docstrings", "text": "{t}"}, "takes no 'text'"),
    ],
)
def test_a_source_says_what_it_lacks(write, source, expected):
    assert expected in error_of(write(sources=[source]))


def test_two_sources_of_one_name_are_refused(write):
    source = GOOD["sources"][0]
    assert "'ag' is used twice" in error_of(write(sources=[source, source]))


def test_a_missing_key_is_named(tmp_path):
    path = tmp_path / "pool.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in GOOD.items() if key != "seed"}))
    assert "key 'seed' is missing" in error_of(path)


def test_a_missing_file_and_broken_yaml_are_told_apart(tmp_path):
    assert "there is no config file" in error_of(tmp_path / "none.yaml")
    path = tmp_path / "broken.yaml"
    path.write_text("pool: [a")
    assert "not valid YAML" in error_of(path)
    path.write_text("pool: a\npool: b\n")
    assert "'pool' appears twice" in error_of(path)
    path.write_text("- a")
    assert "must hold keys and values" in error_of(path)


def test_later_layers_win(write, monkeypatch):
    path = write()
    monkeypatch.setenv("DATABOURSE_BUDGET__TOKENS", "7")
    monkeypatch.setenv("DATABOURSE_SEED", "3")

    assert load_config(path).budget.tokens == 7
    assert load_config(path, ["budget.tokens=9"]).budget.tokens == 9
    assert load_config(path, ["budget.tokens=9"]).seed == 3


def test_the_environment_does_not_leak_into_a_built_config(write, monkeypatch):
    config = load_config(write())
    monkeypatch.setenv("DATABOURSE_SEED", "3")
    assert type(config)(**config.model_dump()).seed == 17


def test_an_override_without_a_value_is_refused(write):
    assert "--set takes key=value" in error_of(write(), "budget.tokens")


def test_the_written_out_config_reads_back_as_itself(write, tmp_path):
    config = load_config(write())
    again = tmp_path / "again.yaml"
    again.write_text(config_yaml(config))
    assert load_config(again) == config


def test_resources_and_places_are_not_part_of_the_digest(write):
    digest = config_digest(load_config(write()))

    assert config_digest(load_config(write(), ["compute.threads=7", "warehouse=w2"])) == digest
    assert config_digest(load_config(write(), ["seed=18"])) != digest


@pytest.mark.parametrize(
    "override", ["engine=ray", "engine={ray: {workers: 3}}", "manifest.mirror=s3://bucket/m"]
)
def test_where_work_runs_and_copies_go_is_no_part_of_the_digest(write, override):
    digest = config_digest(load_config(write()))

    assert config_digest(load_config(write(), [override])) == digest
    assert config_digest(load_config(write(), ["manifest.include_text=false"])) != digest


@pytest.mark.parametrize(
    ("engine", "named"),
    [
        ("dask", "engine: "),
        ("{ray: {worker: 3}}", "unknown key 'engine.ray.worker'; did you mean 'workers'"),
        ("{ray: {workers: 0}}", "engine.ray.workers: "),
        ("{ray: {address: 'ray://head:10001'}}", "engine.ray.address: "),
    ],
)
def test_a_wrong_engine_is_refused_by_name(write, engine, named):
    with pytest.raises(ConfigError) as caught:
        load_config(write(), [f"engine={engine}"])

    assert named in str(caught.value)


def test_unknown_names_survive_pickling():
    import pickle

    error = UnknownNameError("signal", "raritty", ["rarity", "length"], where="signals")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes
    assert str(error) == "unknown signal 'raritty' in signals; did you mean 'rarity'?"


SOURCES = [{"name": name, "path": "rows.jsonl", "text": "{text}"} for name in ("web", "news")]


@pytest.mark.parametrize(
    ("market", "expected"),
    [
        ({"liquidity": {}}, "needs exactly one of effective_share, shares"),
        (
            {"liquidity": {"shares": 1, "effective_share": 0.3}},
            "needs exactly one of effective_share, shares",
        ),
        (
            {"liquidity": {"shares": 0.9e-9}},
            "market.liquidity.shares: input should be greater than or equal to 0.000000001, got",
        ),
        ({"liquidity": {"shares": 1.1e9}}, "less than or equal to 1000000000"),
        ({"liquidity": {"shares": float("inf")}}, "finite number"),
        ({"liquidity": {"effective_share": 1}}, "should be less than 1"),
        (
            {"liquidity": {"effective_share": 0.3, "by_topic": {"a": 0.2, "b": 1.0}}},
            "market.liquidity.by_topic.b must be an effective share below 1, got 1.0",
        ),
        (
            {"liquidity": {"shares": 2, "by_topic": {"a": 0}}},
            "market.liquidity.by_topic.a: input should be greater than or equal to 0.000000001",
        ),
        ({"liquidity": {"shares": 2, "by_topic": {"a": 2e9}}}, "less than or equal to 1000000000"),
        (
            {"liquidity": {"shares": 2, "by_topic": {"a": float("nan")}}},
            "market.liquidity.by_topic",
        ),
        ({"liquidity": {"shares": 2, "by_topic": {"a": float("inf")}}}, "finite number"),
        ({"topic_mass": {"power": 1.5}}, "less than or equal to 1"),
        ({"topic_mass": "heavy"}, "market.topic_mass"),
        ({"prior": "length"}, "market.prior"),
        ({"prior": {"sources": {}}}, "market.prior.sources"),
        ({"prior": {"sources": {"web": 0}}}, "greater than 0"),
        (
            {"prior": {"sources": {"web": 2, "newz": 1}}},
            "market.prior.sources names the unknown source 'newz'; did you mean 'news'?",
        ),
        ({"weights": {"rarity": 1}}, "expected rarity, uncertainty; got rarity"),
        ({"weights": {"rarity": 0, "uncertainty": 0}}, "market.weights are all 0"),
        ({"weights": {"rarity": -1, "uncertainty": 1}}, "greater than or equal to 0"),
        (
            {"traders": {"risk_aversion": 1}},
            "market.traders with risk_aversion need market.liquidity.shares",
        ),
        (
            {"traders": {"risk_aversion": 0}, "liquidity": {"shares": 1}},
            "market.traders.risk_aversion: input should be greater than 0",
        ),
        (
            {"traders": {"risk_aversion": 1, "confidence": 0}, "liquidity": {"shares": 1}},
            "market.traders.confidence: input should be greater than 0",
        ),
        (
            {"traders": {"risk_aversion": 1, "order": ["rarity"]}, "liquidity": {"shares": 1}},
            (
                "market.traders.order must name every signal once: expected rarity, uncertainty; "
                "got rarity"
            ),
        ),
        (
            {
                "traders": {"risk_aversion": 1, "order": ["rarity", "rarity"]},
                "liquidity": {"shares": 1},
            },
            "got rarity, rarity",
        ),
    ],
)
def test_a_market_that_cannot_be_is_refused_with_its_key(write, market, expected):
    assert expected in error_of(write(sources=SOURCES, market=market))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"method": "lottery"}, "selection.method"),
        ({"rule": "jump"}, "selection.rule"),
        ({"length_bias": 10.5}, "selection.length_bias: input should be less than or equal to 10"),
        ({"length_bias": -10.5}, "greater than or equal to -10"),
        ({"diversity": -0.1}, "selection.diversity: input should be greater than or equal to 0"),
        ({"topic_floor": 1.01}, "less than or equal to 1"),
        ({"topic_floor": -0.01}, "greater than or equal to 0"),
        ({"topic_cap": 0.99}, "greater than or equal to 1"),
        ({"topic_floor": {"a": 0}}, "greater than 0"),
        ({"source_cap": {"web": 1.5}}, "less than or equal to 1"),
        (
            {"source_floor": {"newz": 0.1}},
            "selection.source_floor names the unknown source 'newz'; did you mean 'news'?",
        ),
        (
            {"source_cap": {"web": 0.1, "wab": 0.1}},
            "selection.source_cap names the unknown source 'wab'; did you mean 'web'?",
        ),
        ({"method": "sample", "topic_floor": 0.1}, "selection.topic_floor is for method greedy"),
        ({"method": "sample", "topic_cap": 2}, "selection.topic_cap is for method greedy"),
        ({"method": "sample", "source_floor": 0.1}, "selection.source_floor is for method greedy"),
        ({"method": "sample", "source_cap": 2}, "selection.source_cap is for method greedy"),
        ({"method": "sample", "diversity": 0.1}, "selection.diversity is for method greedy"),
        ({"method": "sample", "best_single": True}, "selection.best_single is for method greedy"),
        ({"method": "sample", "rule": "stop"}, "selection.rule is for method greedy"),
        (
            {"best_single": True, "diversity": 1},
            "remove it or selection.diversity",
        ),
        ({"best_single": True, "topic_cap": 2}, "remove it or selection.topic_cap"),
        ({"best_single": True, "source_floor": {"web": 0.5}}, "or selection.source_floor"),
    ],
)
def test_a_selection_that_cannot_be_is_refused_with_its_key(write, selection, expected):
    assert expected in error_of(write(sources=SOURCES, selection=selection))


@pytest.mark.parametrize(
    "sections",
    [
        {"market": {"liquidity": {"shares": 1e-9, "by_topic": {"a": 1e9}}}},
        {"selection": {"length_bias": -10}},
        {"market": {"liquidity": {"effective_share": 0.9, "by_topic": {"a": 0.999}}}},
        {"market": {"prior": {"sources": {"web": 1e-6}}}},
        {
            "market": {
                "liquidity": {"shares": 1},
                "traders": {"risk_aversion": 1, "order": ["rarity", "uncertainty"]},
            }
        },
        {"market": {"weights": {"rarity": 0, "uncertainty": 1}}},
        {"selection": {"topic_floor": 1, "topic_cap": 1, "diversity": 2, "rule": "stop"}},
        {"selection": {"source_floor": {"web": 1}, "source_cap": {"news": 0.01}}},
        {"selection": {"method": "sample", "topic_floor": 0, "diversity": 0, "length_bias": 0}},
        {"selection": {"best_single": True, "rule": "stop", "topic_floor": 0}},
    ],
)
def test_markets_and_selections_at_the_edge_of_their_domain_are_taken(write, tmp_path, sections):
    config = load_config(write(sources=SOURCES, **sections))
    again = tmp_path / "again.yaml"
    again.write_text(config_yaml(config))

    assert load_config(again) == config
    assert config_digest(config) != config_digest(load_config(write(sources=SOURCES)))


def test_without_market_and_selection_every_new_setting_is_off(write):
    config = load_config(write())
    market, selection = config.market, config.selection

    assert (market.prior, market.traders) == ("uniform", "fixed_orders")
    assert (selection.method, selection.rule, selection.best_single) == ("greedy", "skip", False)
    assert (selection.diversity, selection.topic_floor, selection.source_floor) == (0, 0, 0)
    assert selection.topic_cap is selection.source_cap is None


def test_yes_and_no_are_words_and_only_true_and_false_are_truth_values(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "pool: p\nseed: 1\nbudget: {tokens: 5}\nsignals: [length]\n"
        "sources: [{name: s, path: f, text: '{text}'}]\n"
        "ask_llm: {model: m, prompt: {yes: [y, yes], no: [n, No]}}\n"
        "manifest: {include_text: false}\n"
    )
    config = load_config(path, ["ask_llm.prompt.no=[off]", "selection.best_single=true"])
    assert config.ask_llm.prompt.yes == ("y", "yes")
    assert config.ask_llm.prompt.no == ("off",)
    assert config.manifest.include_text is False
    assert config.selection.best_single is True

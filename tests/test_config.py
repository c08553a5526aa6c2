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

    assert config.market.liquidity.effective_share == 0.3
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


def test_unknown_names_survive_pickling():
    import pickle

    error = UnknownNameError("signal", "raritty", ["rarity", "length"], where="signals")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes
    assert str(error) == "unknown signal 'raritty' in signals; did you mean 'rarity'?"

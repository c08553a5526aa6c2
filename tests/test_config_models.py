"""The config of language models: defaults that agree with the code they configure, and refusals."""

import dataclasses

import pytest
import yaml

from databourse.ask_llm.endpoint_settings import EndpointSettings
from databourse.config import load_config
from databourse.config_models import (
    EndpointConfig,
    GenerationsConfig,
    PromptConfig,
    ReferenceModelConfig,
)
from databourse.errors import ConfigError
from databourse.language_models.generation import GenerationSettings
from databourse.language_models.training import TrainingSettings
from databourse.refresh.reference_model import training_settings

GOOD = {
    "pool": "sums",
    "seed": 17,
    "sources": [
        {"name": "sums", "path": "*.jsonl", "prompt": "{question}", "completion": "{answer}"}
    ],
    "signals": ["perplexity"],
    "budget": {"tokens": 60000},
}
PLAIN = [{"name": "news", "path": "*.jsonl", "text": "{text}"}]


@pytest.fixture
def load(tmp_path):
    def load(**changes):
        path = tmp_path / "pool.yaml"
        path.write_text(yaml.safe_dump({**GOOD, **changes}))
        return load_config(path)

    return load


def refusal(load, **changes):
    with pytest.raises(ConfigError) as caught:
        load(**changes)
    text = str(caught.value)
    assert "\n" not in text
    return text


def defaults_of(settings):
    return {field.name: field.default for field in dataclasses.fields(settings)}


def test_the_defaults_of_training_are_those_of_the_trainer():
    assert training_settings(ReferenceModelConfig()) == TrainingSettings()


@pytest.mark.parametrize(
    ("section", "settings"),
    [(GenerationsConfig, GenerationSettings), (EndpointConfig, EndpointSettings)],
)
def test_a_section_has_the_defaults_of_the_settings_that_it_becomes(section, settings):
    shared = set(section.model_fields) & set(defaults_of(settings))
    written = {name: section.model_fields[name].default for name in shared}
    optional = {
        name: value for name, value in written.items() if repr(value) != "PydanticUndefined"
    }
    assert len(optional) >= 4
    assert optional == {name: defaults_of(settings)[name] for name in optional}


def test_every_setting_of_an_endpoint_can_be_configured():
    assert set(EndpointConfig.model_fields) == set(defaults_of(EndpointSettings))


def test_every_setting_of_a_prompt_can_be_configured():
    from databourse.ask_llm.prompt import PromptSettings

    assert set(PromptConfig.model_fields) == set(defaults_of(PromptSettings))


@pytest.mark.parametrize("signal", ["ask_llm", "ask_llm_distilled"])
def test_ask_llm_without_a_model_is_refused_with_the_line_to_add(load, signal):
    text = refusal(load, signals=[signal])
    assert f"signal '{signal}' needs a model that answers" in text
    assert "add ask_llm: {model: " in text
    assert "ask_llm: {endpoint: {base_url: http://localhost:8000/v1, model: NAME}}" in text


def test_ask_llm_has_one_scorer(load):
    endpoint = {"base_url": "http://localhost:8000/v1", "model": "m"}
    assert "exactly one of model, endpoint; got none" in refusal(load, ask_llm={"prompt": {}})
    both = {"model": "folder", "endpoint": endpoint}
    assert "exactly one of model, endpoint; got both" in refusal(load, ask_llm=both)
    assert load(ask_llm={"endpoint": endpoint}).ask_llm.endpoint.concurrency == 8


@pytest.mark.parametrize("signal", ["ifd", "completion_loss"])
def test_a_signal_about_completions_needs_a_source_with_pairs(load, signal):
    text = refusal(load, signals=[signal], sources=PLAIN)
    assert f"signal '{signal}' needs prompts and completions" in text
    assert 'prompt: "{question}" and completion: "{answer}"' in text
    assert load(signals=[signal]).signals == (signal,)
    assert load(signals=["perplexity"], sources=PLAIN).signals == ("perplexity",)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"nam": "reference"}, "unknown key 'language_model.nam'; did you mean 'name'?"),
        (
            {"reference": {"width": 131}},
            "language_model.reference.width must be a multiple of heads, got 131 and 2",
        ),
        (
            {"window_tokens": 64, "overlap_tokens": 65},
            "language_model.overlap_tokens must be at most window_tokens, got 65 and 64",
        ),
        (
            {"window_tokens": 512},
            "language_model.window_tokens must be at most reference.context_tokens, got 512 and",
        ),
        ({"reference": {"folds": 1}}, "language_model.reference.folds: input should be greater"),
        (
            {"generations": {"meaning": {"by": "entailment"}}},
            "key 'language_model.generations.meaning.entailment.model' is missing; add it",
        ),
    ],
)
def test_a_mistake_about_the_language_model_gives_one_line(load, section, expected):
    assert expected in refusal(load, language_model=section)


def test_a_model_of_ones_own_may_read_longer_windows_than_the_reference(load):
    config = load(language_model={"name": "org/model", "window_tokens": 2048})
    assert config.language_model.window_tokens == 2048

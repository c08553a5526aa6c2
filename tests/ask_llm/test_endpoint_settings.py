import dataclasses
import pickle

import pytest

from databourse.ask_llm import CAUSAL_PROMPT, PAPER_PROMPT
from databourse.ask_llm.endpoint_settings import EndpointSettings
from databourse.errors import ConfigError

SETTINGS = EndpointSettings(base_url="http://localhost:8000/v1", model="m")


@pytest.mark.parametrize("key", ["sk-Abc123secret", "abcSECRET", "secret value", "s\u00e9cret"])
def test_a_key_in_place_of_a_variable_is_refused_without_being_repeated(key):
    with pytest.raises(ConfigError, match="not the key") as caught:
        dataclasses.replace(SETTINGS, api_key_variable=key)
    assert key not in str(caught.value)
    assert key not in repr(caught.value)


def test_a_key_is_read_when_it_is_needed_and_never_shown(monkeypatch):
    settings = dataclasses.replace(SETTINGS, api_key_variable="TINY_KEY")
    monkeypatch.setenv("TINY_KEY", "sk-very-secret\n")
    key = settings.read_key()
    assert key.get_secret_value() == "sk-very-secret"
    for shown in (repr(key), str(key), repr(settings), str(pickle.dumps(settings))):
        assert "very-secret" not in shown
    assert SETTINGS.read_key() is None


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_variable_without_a_key_is_named(monkeypatch, value):
    monkeypatch.delenv("TINY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("TINY_KEY", value)
    with pytest.raises(ConfigError, match="TINY_KEY is not set or empty"):
        dataclasses.replace(SETTINGS, api_key_variable="TINY_KEY").read_key()


def test_a_key_that_no_header_can_carry_is_refused_without_being_repeated(monkeypatch):
    monkeypatch.setenv("TINY_KEY", "very\nsecret")
    with pytest.raises(ConfigError, match="visible ASCII") as caught:
        dataclasses.replace(SETTINGS, api_key_variable="TINY_KEY").read_key()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000/v1",
        "ftp://localhost/v1",
        "http://user:hidden@localhost/v1",
        "http://hidden@localhost/v1",
        "http://localhost/v1?key=hidden",
        "http://localhost/v1#hidden",
        "http://localhost:port/v1",
        "http://[hidden/v1",
    ],
)
def test_an_address_that_holds_credentials_or_is_none_is_refused(url):
    with pytest.raises(ConfigError, match="base_url must be") as caught:
        dataclasses.replace(SETTINGS, base_url=url)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api", "responses"),
        ("model", ""),
        ("top_logprobs", 0),
        ("concurrency", 0),
        ("max_attempts", 0),
        ("max_failures_in_a_row", 0),
        ("bytes_per_token", 0.9),
        ("requests_per_second", 0.0),
        ("tokens_per_minute", -1),
        ("timeout_seconds", float("inf")),
        ("backoff_seconds", 0.0),
        ("max_wait_seconds", float("nan")),
    ],
)
def test_a_limit_outside_its_domain_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=f"^{name} must be"):
        dataclasses.replace(SETTINGS, **{name: value})


def test_only_what_decides_scores_is_part_of_the_id():
    same = {
        "api_key_variable": "TINY_KEY",
        "concurrency": 3,
        "requests_per_second": 3.0,
        "tokens_per_minute": 3,
        "timeout_seconds": 3.0,
        "max_attempts": 3,
        "backoff_seconds": 3.0,
        "max_wait_seconds": 3.0,
        "max_failures_in_a_row": 3,
    }
    other = {
        "base_url": "http://elsewhere/v1",
        "model": "n",
        "api": "completions",
        "top_logprobs": 5,
        "bytes_per_token": 3.0,
    }
    assert {*same, *other} == {field.name for field in dataclasses.fields(EndpointSettings)}
    own = SETTINGS.scorer_id(PAPER_PROMPT)
    assert dataclasses.replace(SETTINGS, **same).scorer_id(PAPER_PROMPT) == own
    ids = {
        dataclasses.replace(SETTINGS, **{name: value}).scorer_id(PAPER_PROMPT)
        for name, value in other.items()
    }
    assert len(ids | {own, SETTINGS.scorer_id(CAUSAL_PROMPT)}) == len(other) + 2

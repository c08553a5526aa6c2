"""From the words of the config to who answers about quality, and how it is asked."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from databourse.ask_llm.endpoint_settings import EndpointSettings
from databourse.ask_llm.prompt import PromptSettings
from databourse.ask_llm.scorer import check_scorer, default_prompt
from databourse.config_models import AskLlmConfig
from databourse.digests import canonical_json


@dataclass(frozen=True)
class Answering:
    """Who answers: exactly one of `model`, `endpoint`; and the prompt, its defaults filled in."""

    model: str | None
    endpoint: EndpointSettings | None
    prompt: PromptSettings

    def described(self) -> dict[str, JsonValue]:
        """Return who answers and every word and limit of the prompt, as JSON types."""
        who: dict[str, JsonValue] = (
            {"model": self.model}
            if self.endpoint is None
            else {"endpoint": self.endpoint.base_url, "model": self.endpoint.model}
        )
        prompt: dict[str, JsonValue] = json.loads(canonical_json(dataclasses.asdict(self.prompt)))
        return {**who, **prompt}


def answering(config: AskLlmConfig, *, root: Path) -> Answering:
    """Return what a config means; what its prompt leaves out depends on the kind of model.

    Raises:
        ConfigError: the model cannot be had, or a setting is outside its domain.
        TransientError: the hub failed.
    """
    endpoint = _endpoint(config)
    usual = default_prompt(model=config.model, endpoint=endpoint, root=root)
    return Answering(config.model, endpoint, _changed(usual, config))


def check_answering(config: AskLlmConfig, *, root: Path) -> str:
    """Return in one line who would answer, after checking what can be without loading or asking.

    Raises:
        ConfigError: it cannot be used.
        MissingExtraError: a package is missing.
    """
    return check_scorer(
        model=config.model,
        endpoint=_endpoint(config),
        prompt=_changed(PromptSettings(), config),
        precision=config.precision,
        root=root,
    )


def _endpoint(config: AskLlmConfig) -> EndpointSettings | None:
    return None if config.endpoint is None else EndpointSettings(**config.endpoint.model_dump())


def _changed(prompt: PromptSettings, config: AskLlmConfig) -> PromptSettings:
    return dataclasses.replace(prompt, **config.prompt.model_dump(exclude_none=True))

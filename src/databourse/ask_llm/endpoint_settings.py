"""Where an OpenAI-compatible endpoint is, how hard it may be asked, and how patient we are."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from databourse.ask_llm.prompt import PromptSettings
from databourse.digests import digest_of
from databourse.errors import ConfigError

_REVISION = 1  # of requests and of the reading of replies: raise it when scores change
_VARIABLE_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")  # keys are rarely all upper case
_SENDABLE = re.compile(r"[!-~]+", re.ASCII)  # what a header may carry, without spaces


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """An endpoint and the limits that it is asked within.

    Attributes:
        base_url: up to the version, such as http://localhost:8000/v1; no credentials in it.
        model: its name there.
        api: 'chat' asks /chat/completions, 'completions' asks /completions.
        api_key_variable: name of the environment variable that holds the key; None sends none.
        top_logprobs: how many alternatives are asked for; OpenAI gives 20 (chat) or 5.
        bytes_per_token: how long a token is taken to be where the endpoint does not say.
        concurrency: requests under way at a time.
        requests_per_second: at most, spaced evenly, retries included; None is no limit.
        tokens_per_minute: at most, spaced evenly, prompt and answer; None is no limit.
        timeout_seconds: of one request, from its first byte to the last of the reply.
        max_attempts: requests for one document, the first one included.
        backoff_seconds: wait before the second attempt; doubled for each further one, and drawn
            between half and all of that, so that clients do not return together.
        max_wait_seconds: no wait is longer; an endpoint that asks for more fails the document.
        max_failures_in_a_row: so many documents that fail without one success end the run.
    """

    base_url: str
    model: str
    api: Literal["chat", "completions"] = "chat"
    api_key_variable: str | None = None
    top_logprobs: int = 20
    bytes_per_token: float = 4.0
    concurrency: int = 8
    requests_per_second: float | None = None
    tokens_per_minute: int | None = None
    timeout_seconds: float = 60.0
    max_attempts: int = 6
    backoff_seconds: float = 1.0
    max_wait_seconds: float = 120.0
    max_failures_in_a_row: int = 20

    def __post_init__(self) -> None:
        _check_url(self.base_url)
        if self.api not in ("chat", "completions"):
            raise ConfigError(f"api must be 'chat' or 'completions', got {self.api!r}")
        if not self.model:
            raise ConfigError("model must be the name of a model of the endpoint, got none")
        name = self.api_key_variable
        if name is not None and not _VARIABLE_NAME.fullmatch(name):
            # the value is not repeated: it may well be the key itself
            raise ConfigError(
                "api_key_variable must be the name of an environment variable, such as "
                "OPENAI_API_KEY, not the key; what came is no such name"
            )
        for field in (
            "top_logprobs",
            "concurrency",
            "max_attempts",
            "max_failures_in_a_row",
        ):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be >= 1, got {getattr(self, field)!r}")
        if not 1 <= self.bytes_per_token < 1 << 20:
            raise ConfigError(f"bytes_per_token must be >= 1, got {self.bytes_per_token!r}")
        for field in (
            "requests_per_second",
            "tokens_per_minute",
            "timeout_seconds",
            "backoff_seconds",
            "max_wait_seconds",
        ):
            value = getattr(self, field)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{field} must be > 0 and finite, got {value!r}")

    def read_key(self) -> SecretStr | None:
        """Return the key from the environment, wrapped so that nothing prints it.

        Raises:
            ConfigError: the variable is not set, or cannot be sent.
        """
        if self.api_key_variable is None:
            return None
        key = os.environ.get(self.api_key_variable, "").strip()
        if not key:
            raise ConfigError(
                f"the environment variable {self.api_key_variable} is not set or empty; "
                f"the endpoint {self.base_url} needs its key there"
            )
        if not _SENDABLE.fullmatch(key):
            raise ConfigError(
                f"the environment variable {self.api_key_variable} must hold a key of visible "
                "ASCII characters without spaces"
            )
        return SecretStr(key)

    def check_prompt(self, prompt: PromptSettings) -> None:
        """Pass if an endpoint can be asked in this way.

        Raises:
            ConfigError: the prompt is to be wrapped in a chat template: that is the endpoint's.
        """
        if prompt.wrap != "plain":
            raise ConfigError(
                f"wrap {prompt.wrap!r} is for a model of our own; an endpoint wraps what comes "
                "through api 'chat' by itself: set wrap to 'plain'"
            )

    def scorer_id(self, prompt: PromptSettings) -> str:
        """Return the identity of what decides the scores, as far as it can be known from here.

        What runs behind an endpoint may change without its name: that is not seen.
        """
        asked = {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if name in ("base_url", "model", "api", "top_logprobs", "bytes_per_token")
        }
        digest = digest_of({**asked, "revision": _REVISION})[:12]
        return f"{self.model}@endpoint-{digest}/{prompt.digest}"


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        usable = usable and url.isprintable() and " " not in url
        (parts.hostname or "").encode("idna")  # what cannot be a name is found out here, not there
        bare = not (parts.username or parts.password or parts.query or parts.fragment)
        _ = parts.port
    except ValueError:
        usable = bare = False
    if not (usable and bare):
        # not repeated either: a URL with credentials is one of the forms refused
        raise ConfigError(
            "base_url must be like http://localhost:8000/v1, without user, password or query; "
            "a key goes into the environment variable that api_key_variable names"
        )

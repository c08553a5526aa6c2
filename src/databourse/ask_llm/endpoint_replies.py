"""Requests to an OpenAI-compatible endpoint, and what their replies say about yes and no.

An endpoint lists only the k most probable tokens. Notation: p_1 >= ... >= p_k the listed ones,
R = 1 - sum p_i the mass of all others, S = the listed mass of the spellings of an answer, u = the
number of its spellings that are not listed (each word with and without a space before it). A token
that is not listed has at most p_k, and all of them together have R, so

    S <= P(answer) <= S + min(R, u * p_k)

These bounds are all that is known, and they are what is returned: an answer that is not listed has
S = 0, not an invented small number. They hold if each spelling is one token of the endpoint.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from databourse.ask_llm.endpoint_settings import EndpointSettings
from databourse.ask_llm.prompt import PromptSettings
from databourse.ask_llm.results import Interval

_SPACE_MARKS = ("\u2581", "\u0120")  # how SentencePiece and byte-level tokenizers write a space
_SUM_TOLERANCE = 0.01  # endpoints round; a larger excess over one is no distribution

_MOST_TOKENS = 1 << 24  # no model reads as much; a larger count would only stall the pace

PATHS = {"chat": "/chat/completions", "completions": "/completions"}


class MalformedReplyError(ValueError):
    """A reply that is not of the form that was asked for."""


@dataclass(frozen=True)
class TokenUsage:
    """What an endpoint says that a request took, in tokens."""

    prompt_tokens: int
    completion_tokens: int


def request_body(prompt: str, settings: EndpointSettings) -> bytes:
    """Return the JSON of a request for one token and its alternatives.

    Temperature and top_p are 1, so that the listed probabilities are those of the model whether an
    endpoint takes them before or after it applies both; which token is drawn does not matter.

    Raises:
        UnicodeEncodeError: the prompt is not valid Unicode.
    """
    asked: dict[str, object] = {
        "model": settings.model,
        "max_tokens": 1,
        "temperature": 1,
        "top_p": 1,
    }
    if settings.api == "chat":
        asked["messages"] = [{"role": "user", "content": prompt}]
        asked["logprobs"] = True
        asked["top_logprobs"] = settings.top_logprobs
    else:
        asked["prompt"] = prompt
        asked["logprobs"] = settings.top_logprobs
    return json.dumps(asked, ensure_ascii=False).encode("utf-8")


def parse_json(content: bytes) -> Mapping[str, Any]:
    """Return the object of a reply.

    Raises:
        MalformedReplyError: it is no JSON object.
    """
    try:
        reply = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, or not UTF-8
        raise MalformedReplyError("a reply that is not JSON") from error
    if not isinstance(reply, dict):
        raise MalformedReplyError("a reply that is not a JSON object")
    return reply


def token_usage(reply: Mapping[str, Any]) -> TokenUsage | None:
    """Return what a reply says that it took; None if it does not say."""
    usage = reply.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    if type(prompt) is not int or type(completion) is not int:
        return None
    if not (0 <= prompt <= _MOST_TOKENS and 0 <= completion <= _MOST_TOKENS):
        return None
    return TokenUsage(prompt, completion)


def listed_tokens(reply: Mapping[str, Any], settings: EndpointSettings) -> list[tuple[str, float]]:
    """Return the alternatives at the first answer position: token and natural log-probability.

    Raises:
        MalformedReplyError: there are none, or they are no distribution.
    """
    try:
        logarithms = reply["choices"][0]["logprobs"]
        if settings.api == "chat":
            first = logarithms["content"][0]["top_logprobs"]
            listed = [(each["token"], each["logprob"]) for each in first]
        else:
            listed = list(logarithms["top_logprobs"][0].items())
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise MalformedReplyError("a reply without the log-probabilities asked for") from error
    if not listed:
        raise MalformedReplyError("a reply with an empty list of log-probabilities")
    for token, logarithm in listed:
        if not isinstance(token, str) or not _is_log_probability(logarithm):
            raise MalformedReplyError("a reply with a log-probability that is none")
    if math.fsum(math.exp(logarithm) for _, logarithm in listed) > 1 + _SUM_TOLERANCE:
        raise MalformedReplyError("a reply whose probabilities add up to more than one")
    return listed


def answer_bounds(listed: Sequence[tuple[str, float]], words: Sequence[str]) -> Interval:
    """Return the bounds of ln P(answer), see the module.

    Args:
        listed: tokens and ln p, at least one, from `listed_tokens`.
        words: spellings of the answer, without outer spaces.
    """
    spellings = {spelling for word in words for spelling in (word, f" {word}")}
    tokens = [(_with_plain_space(token), logarithm) for token, logarithm in listed]
    seen = [logarithm for token, logarithm in tokens if token in spellings]
    n_unseen = len(spellings - {token for token, _ in tokens})
    rest = max(0.0, 1.0 - math.fsum(math.exp(logarithm) for _, logarithm in listed))
    least = math.exp(min(logarithm for _, logarithm in listed))
    low = min(0.0, _log_sum(seen))
    extra = min(rest, n_unseen * least)
    high = min(0.0, _log_sum([low, math.log(extra)])) if extra > 0 else low
    return Interval(low, high)


def score_bounds(
    listed: Sequence[tuple[str, float]], prompt: PromptSettings
) -> tuple[Interval, Interval]:
    """Return the bounds of ln P(yes) and of ln P(no)."""
    return answer_bounds(listed, prompt.yes), answer_bounds(listed, prompt.no)


def _is_log_probability(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # this way round so that NaN is refused; JSON has integers that no float can hold
    return value <= _SUM_TOLERANCE and (isinstance(value, float) or value > -(1 << 53))


def _with_plain_space(token: str) -> str:
    return f" {token[1:]}" if token.startswith(_SPACE_MARKS) else token


def _log_sum(logarithms: Sequence[float]) -> float:
    """Return ln sum exp; the shift by the largest keeps tiny probabilities from vanishing."""
    largest = max(logarithms, default=-math.inf)
    if largest == -math.inf:
        return largest
    return largest + math.log(math.fsum(math.exp(each - largest) for each in logarithms))

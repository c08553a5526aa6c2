"""Ask-LLM through any OpenAI-compatible endpoint that gives log-probabilities.

Documents are asked about concurrently, within the limits of `EndpointSettings`, and given out as
they are answered. Each one gets one `QualityScore` or one `ScoreFailure`, with what it cost. The
event loop runs in a thread of its own, so a caller may take its time between two results, or have
a loop itself; documents are read in the caller's thread.

Tried again: time-outs, broken connections, malformed replies, and the statuses 408, 425, 429 and
5xx. Where a reply says Retry-After, all documents wait. A refused key or an unknown address (401,
404) ends the run: no document can be answered. Redirects are not followed: the key stays here.

Special tokens that a document spells out are sent as they stand: whether they are read as its text
is up to the endpoint. The line that httpx logs for each request is dropped for those made here.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import logging
import math
import queue
import threading
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
from pydantic import SecretStr

from databourse.ask_llm.endpoint_replies import (
    PATHS,
    MalformedReplyError,
    listed_tokens,
    parse_json,
    request_body,
    score_bounds,
    token_usage,
)
from databourse.ask_llm.endpoint_settings import EndpointSettings
from databourse.ask_llm.pending import pending_documents
from databourse.ask_llm.prompt import (
    PromptSettings,
    TokenSpans,
    build_prompt,
    cut_document,
    spans_by_bytes,
    without_delimiters,
)
from databourse.ask_llm.results import Cost, Interval, QualityScore, ScoreFailure
from databourse.errors import ConfigError, DatabourseError, MissingExtraError, TransientError
from databourse.progress import ProgressReport, silent

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
Outcome = QualityScore | ScoreFailure

_MAX_REPLY_BYTES = 1 << 22
_AGAIN_STATUSES = {408, 425, 429}
_MESSAGE_CHARACTERS = 200


@dataclass(frozen=True)
class _Prepared:
    """A request about a document; no body if the document cannot be sent."""

    body: bytes | None
    truncated: bool


@dataclass(frozen=True)
class _Answer:
    """A reply that could be read."""

    log_p_yes: Interval
    log_p_no: Interval


@dataclass(frozen=True)
class _Trouble:
    """A request that gave no answer.

    Attributes:
        reason: one line.
        may_pass: whether to ask again.
        wait_seconds: what the endpoint asks for, if it does.
    """

    reason: str
    may_pass: bool
    wait_seconds: float | None = None


def score_through_endpoint(
    documents: Iterable[tuple[str, str]],
    *,
    prompt: PromptSettings,
    endpoint: EndpointSettings,
    rng: np.random.Generator,
    token_spans: TokenSpans | None = None,
    already_scored: AbstractSet[str] = frozenset(),
    progress: ProgressReport = silent,
) -> Iterator[Outcome]:
    """Return an iterator of outcomes, as documents are answered: one for each document.

    What was yielded is done; commit it, and pass its ids as `already_scored` to go on later.
    Requests under way when the caller stops are dropped: their documents have no outcome, and
    what an endpoint may charge for them is in no cost.

    Args:
        documents: document_id and text, read a few ahead of what was answered.
        prompt: how it is asked.
        endpoint: what is asked, and within which limits.
        rng: draws the jitter of waits; changes no score.
        token_spans: the endpoint's tokenizer, to cut long documents; None estimates by
            `endpoint.bytes_per_token`.
        already_scored: ids to leave out.
        progress: told of each document.

    Raises:
        ConfigError: the key is missing or refused, the address is unknown there, or the prompt is
            to be wrapped in a chat template.
        InputError: an id comes twice.
        TransientError: `endpoint.max_failures_in_a_row` documents failed without one success.
        MissingExtraError: httpx is not installed.
    """
    endpoint.check_prompt(prompt)
    key = endpoint.read_key()
    clients = _open_clients(endpoint, key)
    spans = token_spans or spans_by_bytes(endpoint.bytes_per_token)
    asker = _Asker(
        clients, endpoint, prompt=prompt, token_spans=spans, key=key, jitter=rng.spawn(1)[0]
    )
    return _outcomes(documents, asker, endpoint, already_scored, progress)


def _outcomes(
    documents: Iterable[tuple[str, str]],
    asker: _Asker,
    endpoint: EndpointSettings,
    already_scored: AbstractSet[str],
    progress: ProgressReport,
) -> Iterator[Outcome]:
    finished: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
    under_way: set[Future[Outcome]] = set()
    failures = _FailuresInARow(endpoint)

    def next_outcome() -> Outcome:
        future = finished.get()
        under_way.discard(future)
        outcome = future.result()
        progress(1)
        return outcome

    with _LoopThread() as loop:
        try:
            for document_id, text in pending_documents(documents, already_scored):
                future = loop.submit(asker.ask_about(document_id, asker.prepare(text)))
                under_way.add(future)
                future.add_done_callback(finished.put)
                while len(under_way) >= 2 * endpoint.concurrency or not finished.empty():
                    outcome = next_outcome()
                    yield outcome
                    failures.check(outcome)
            while under_way:
                outcome = next_outcome()
                yield outcome
                failures.check(outcome)
        except DatabourseError:
            for outcome in _already_answered(finished):
                progress(1)
                yield outcome
            raise
        finally:
            loop.submit(asker.close()).result()


def _already_answered(finished: queue.SimpleQueue[Future[Outcome]]) -> Iterator[Outcome]:
    """Yield what was paid for before the run ended; other errors of the same kind add nothing."""
    while not finished.empty():
        future = finished.get()
        try:
            outcome = future.result()
        except (ConfigError, CancelledError):
            continue
        yield outcome


class _FailuresInARow:
    """Ends a run that only fails."""

    def __init__(self, endpoint: EndpointSettings) -> None:
        self._endpoint = endpoint
        self._count = 0

    def check(self, outcome: Outcome) -> None:
        """Pass unless too many failures came without a success between them."""
        if isinstance(outcome, QualityScore):
            self._count = 0
            return
        self._count += outcome.cost.requests > 0  # a text that cannot be sent is not its fault
        if self._count >= self._endpoint.max_failures_in_a_row:
            raise TransientError(
                f"{self._endpoint.base_url} failed {self._count:,} times in a row, the last time "
                f"on document {outcome.document_id}: {outcome.reason}; "
                "what was scored is kept, run again when it is back"
            )


class _Asker:
    """Asks about one document at a time, many times at once; lives in one event loop."""

    def __init__(
        self,
        clients: Sequence[httpx.AsyncClient],
        endpoint: EndpointSettings,
        *,
        prompt: PromptSettings,
        token_spans: TokenSpans,
        key: SecretStr | None,
        jitter: np.random.Generator,
    ) -> None:
        self._clients, self._endpoint, self._prompt = clients, endpoint, prompt
        self._free = list(clients)
        self._token_spans, self._key, self._jitter = token_spans, key, jitter
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._pace = _Pace(endpoint.requests_per_second, endpoint.tokens_per_minute)

    def prepare(self, text: str) -> _Prepared:
        """Return the request about a text; the only method for the caller's thread."""
        clean = without_delimiters(text, self._prompt.delimiter)
        kept = cut_document(
            clean,
            self._prompt.max_document_tokens,
            token_spans=self._token_spans,
            truncate=self._prompt.truncate,
        )
        try:
            body = request_body(build_prompt(kept, self._prompt), self._endpoint)
        except UnicodeEncodeError:
            body = None
        return _Prepared(body, truncated=kept != clean)

    async def ask_about(self, document_id: str, prepared: _Prepared) -> Outcome:
        """Return the outcome of a document after at most `max_attempts` requests."""
        if prepared.body is None:
            return ScoreFailure(document_id, "the text is not valid Unicode: a lone surrogate")
        async with self._slots:
            client = self._free.pop()  # one for each slot, the last used first
            try:
                return await self._ask(client, document_id, prepared, prepared.body)
            finally:
                self._free.append(client)

    async def _ask(
        self, client: httpx.AsyncClient, document_id: str, prepared: _Prepared, body: bytes
    ) -> Outcome:
        cost = Cost()
        attempt = 0
        while True:
            attempt += 1
            result, spent = await self._request(client, body)
            cost += spent
            if isinstance(result, _Answer):
                return QualityScore(
                    document_id=document_id,
                    log_p_yes=result.log_p_yes,
                    log_p_no=result.log_p_no,
                    truncated=prepared.truncated,
                    cost=cost,
                )
            reason = self._why_stop(result, attempt)
            if reason is not None:
                return ScoreFailure(document_id, reason, cost)
            await self._back_off(attempt, result.wait_seconds)

    def _why_stop(self, trouble: _Trouble, attempt: int) -> str | None:
        """Return why a document is not asked about again; None if it is."""
        if not trouble.may_pass:
            return trouble.reason
        longest = self._endpoint.max_wait_seconds
        if trouble.wait_seconds is not None and trouble.wait_seconds > longest:
            return (
                f"{trouble.reason}; it asks to wait {trouble.wait_seconds:g} s, more than "
                f"max_wait_seconds = {longest:g}"
            )
        if attempt >= self._endpoint.max_attempts:
            return f"{trouble.reason}, at the last of {attempt} attempts"
        return None

    async def close(self) -> None:
        """Drop all requests under way and close all connections."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for client in self._clients:
            await client.aclose()
        await asyncio.get_running_loop().shutdown_asyncgens()

    async def _back_off(self, attempt: int, asked_seconds: float | None) -> None:
        longest = self._endpoint.backoff_seconds * 2.0 ** min(attempt - 1, 60)
        wait = min(longest, self._endpoint.max_wait_seconds) * self._jitter.uniform(0.5, 1.0)
        if asked_seconds is not None:
            self._pace.pause(asked_seconds)
            # after the pause each one returns at a time of its own
            wait = asked_seconds + min(wait, self._endpoint.backoff_seconds)
        await asyncio.sleep(wait)

    async def _request(
        self, client: httpx.AsyncClient, body: bytes
    ) -> tuple[_Answer | _Trouble, Cost]:
        import httpx

        estimate = len(body) / self._endpoint.bytes_per_token + 1
        await self._pace.wait(estimate)
        unreported = Cost(requests=1, unreported_requests=1)
        try:
            # httpx limits each read; an endpoint that drips must be limited as a whole
            async with asyncio.timeout(self._endpoint.timeout_seconds):
                path = self._endpoint.base_url.rstrip("/") + PATHS[self._endpoint.api]
                async with client.stream("POST", path, content=body) as response:
                    content = await _read(response)
        except (TimeoutError, httpx.TimeoutException):
            seconds = self._endpoint.timeout_seconds
            return _Trouble(f"no complete reply within {seconds:g} s", may_pass=True), unreported
        except httpx.RequestError as error:
            reason = f"the connection failed: {type(error).__name__}"
            return _Trouble(reason, may_pass=True), unreported
        except MalformedReplyError as error:
            return _Trouble(str(error), may_pass=True), unreported
        if response.status_code != 200:
            return self._refusal(response, content), unreported
        return self._read_answer(content, estimate)

    def _read_answer(self, content: bytes, estimate: float) -> tuple[_Answer | _Trouble, Cost]:
        cost = Cost(requests=1, unreported_requests=1)
        try:
            reply = parse_json(content)
            usage = token_usage(reply)
            if usage is not None:
                cost = Cost(1, usage.prompt_tokens, usage.completion_tokens)
                self._pace.correct(usage.prompt_tokens + usage.completion_tokens - estimate)
            yes, no = score_bounds(listed_tokens(reply, self._endpoint), self._prompt)
        except MalformedReplyError as error:
            return _Trouble(str(error), may_pass=True), cost
        return _Answer(yes, no), cost

    def _refusal(self, response: httpx.Response, content: bytes) -> _Trouble:
        status = response.status_code
        reason = f"the endpoint answered {status}{self._message(content)}"
        if status == 401:
            source = self._endpoint.api_key_variable
            raise ConfigError(
                f"{reason}: {self._endpoint.base_url} refuses "
                + (
                    f"the key in the environment variable {source}"
                    if source
                    else "requests without a key; set api_key_variable"
                )
            )
        if status == 404:
            raise ConfigError(
                f"{reason}: check base_url {self._endpoint.base_url}, api "
                f"{self._endpoint.api!r} and model {self._endpoint.model!r}"
            )
        may_pass = status in _AGAIN_STATUSES or status >= 500
        wait = retry_after_seconds(response.headers.get("retry-after"), now=_now())
        return _Trouble(reason, may_pass=may_pass, wait_seconds=wait)

    def _message(self, content: bytes) -> str:
        """Return the message of an error reply in parentheses, without the key; else nothing."""
        try:
            error = parse_json(content).get("error")
        except MalformedReplyError:
            return ""
        message = error.get("message") if isinstance(error, dict) else error
        if not isinstance(message, str) or not message.strip():
            return ""
        if self._key is not None:
            message = message.replace(self._key.get_secret_value(), "[key]")
        line = " ".join(message.split())[:_MESSAGE_CHARACTERS]
        # lone surrogates cannot be stored, control characters would speak to a terminal
        return f" ({''.join(each if each.isprintable() else '?' for each in line)})"


class _Pace:
    """Spaces requests evenly; `wait` returns when the next one may be sent.

    Each request moves the time of the next one: by 1 / requests_per_second, and by its tokens at
    tokens_per_minute. So no window of t seconds holds more than t times the rate, plus one request.
    """

    def __init__(self, requests_per_second: float | None, tokens_per_minute: int | None) -> None:
        self._seconds_per_request = 1.0 / requests_per_second if requests_per_second else 0.0
        self._seconds_per_token = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._next_by_requests = self._next_by_tokens = self._resume = -math.inf

    async def wait(self, tokens: float) -> None:
        """Wait for this request's turn."""
        clock = asyncio.get_running_loop().time
        while True:
            now = clock()
            start = max(now, self._next_by_requests, self._next_by_tokens, self._resume)
            self._next_by_requests = start + self._seconds_per_request
            self._next_by_tokens = start + tokens * self._seconds_per_token
            await asyncio.sleep(start - now)
            if start >= self._resume:  # else a pause began meanwhile: queue again behind it
                return

    def correct(self, tokens: float) -> None:
        """Count tokens that an estimate missed, or take back those it had too many."""
        self._next_by_tokens += tokens * self._seconds_per_token

    def pause(self, seconds: float) -> None:
        """Let nothing start for so long."""
        self._resume = max(self._resume, asyncio.get_running_loop().time() + seconds)


class _LoopThread:
    """An event loop in a thread of its own."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="ask-llm-endpoint", daemon=True
        )
        self._thread.start()
        logging.getLogger("httpx").addFilter(self._is_wanted)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        logging.getLogger("httpx").removeFilter(self._is_wanted)

    def submit(self, work: Coroutine[None, None, T]) -> Future[T]:
        """Start a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _is_wanted(self, record: logging.LogRecord) -> bool:
        """Tell whether a record of httpx is not one of the lines about each request from here."""
        return record.levelno > logging.INFO or record.thread != self._thread.ident


def retry_after_seconds(header: str | None, *, now: dt.datetime) -> float | None:
    """Return how long a Retry-After header asks to wait, >= 0; None if it cannot be read.

    Args:
        header: seconds, or an HTTP date.
        now: with a time zone.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return None
        if until.tzinfo is None:
            until = until.replace(tzinfo=dt.UTC)
        return max(0.0, (until - now).total_seconds())
    return seconds if 0 <= seconds < math.inf else None


async def _read(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > _MAX_REPLY_BYTES:
            raise MalformedReplyError(f"a reply of more than {_MAX_REPLY_BYTES:,} bytes")
    return bytes(content)


def _open_clients(endpoint: EndpointSettings, key: SecretStr | None) -> list[httpx.AsyncClient]:
    """Return a client of one connection for each request that may be under way.

    One client for all would look at each pair of its connections at every request.
    """
    try:
        import httpx
    except ImportError as error:
        raise MissingExtraError("httpx", "pipeline", "Ask-LLM through an endpoint") from error
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key.get_secret_value()}"
    tls = httpx.create_ssl_context()  # slow to make, so it is shared
    return [
        httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(endpoint.timeout_seconds),
            limits=httpx.Limits(max_connections=1),
            follow_redirects=False,
            verify=tls,
        )
        for _ in range(endpoint.concurrency)
    ]


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)

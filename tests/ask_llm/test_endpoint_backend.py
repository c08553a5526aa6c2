import collections
import datetime as dt
import email.utils
import itertools
import json
import logging
import math
import socket
import threading
import time
import traceback

import numpy as np
import pytest

pytest.importorskip("httpx", reason="the extra 'pipeline' is not installed")

from databourse.ask_llm import PAPER_PROMPT, PromptSettings, QualityScore, ScoreFailure
from databourse.ask_llm.endpoint_backend import (
    retry_after_seconds,
    score_through_endpoint,
)
from databourse.ask_llm.results import Cost
from databourse.errors import ConfigError, InputError, SourceError, TransientError


def documents(count):
    return [(f"id{number}", f"the text of doc-{number} .") for number in range(count)]


def ask(settings, count=1, **choices):
    choices = {"documents": documents(count), "prompt": PAPER_PROMPT, **choices}
    pool = choices.pop("documents")
    rng = np.random.default_rng(0)
    return score_through_endpoint(pool, endpoint=settings, rng=rng, **choices)


def by_id(outcomes):
    """Return outcomes by document, after checking that none came twice."""
    outcomes = list(outcomes)
    found = {outcome.document_id: outcome for outcome in outcomes}
    assert len(found) == len(outcomes)
    return found


def total(outcomes):
    return sum((outcome.cost for outcome in outcomes), Cost())


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_an_answer_becomes_bounds_and_a_cost(endpoint, settings, api):
    [score] = ask(settings(api=api))
    # listed: ' yes' 0.6, yes 0.1, No 0.2, maybe 0.05, ' no' 0.01; the rest is 0.04
    assert isinstance(score, QualityScore)
    assert score.p_yes.low == pytest.approx(0.7, abs=1e-12)
    assert score.p_yes.high == pytest.approx(0.72, abs=1e-12)  # two spellings of at most 0.01
    assert math.exp(score.log_p_no.low) == pytest.approx(0.21, abs=1e-12)
    assert math.exp(score.log_p_no.high) == pytest.approx(0.23, abs=1e-12)
    assert score.yes_share.low == pytest.approx(0.7 / 0.93, abs=1e-12)
    assert score.cost == Cost(requests=1, prompt_tokens=120, completion_tokens=1)
    assert not score.truncated
    [(path, asked)] = endpoint.bodies
    assert path == ("/v1/chat/completions" if api == "chat" else "/v1/completions")
    prompt = asked["messages"][0]["content"] if api == "chat" else asked["prompt"]
    assert prompt.startswith("###\nthe text of doc-0 .\n###\n\nIs the paragraph")
    assert prompt.endswith("OPTIONS:\n- yes\n- no")


def test_a_document_is_cleaned_and_cut_before_it_is_sent(endpoint, settings):
    prompt = PromptSettings(max_document_tokens=10)
    [score] = ask(settings(), documents=[("d", "doc-1 ### " + "x" * 100)], prompt=prompt)
    assert score.truncated
    [(_, asked)] = endpoint.bodies
    assert asked["messages"][0]["content"].split("\n###\n")[0] == "###\ndoc-1   " + "x" * 32


def test_every_document_gets_one_outcome_from_an_endpoint_that_misbehaves(
    endpoint, settings, replies
):
    """Each document meets another trouble at its first attempts; some never get an answer."""

    def stall(handler):
        time.sleep(0.9)
        return endpoint.reset(handler)

    def promise_more(handler):
        handler.close_connection = True
        return endpoint.send(handler, b"{}", Content_Length="500")

    too_much = replies["chat"]({"yes": 0.9, "no": 0.9}, None)
    paid_nothing = {"choices": [], "usage": {"prompt_tokens": 5}}
    troubles = [
        lambda handler: False,
        lambda handler: endpoint.send(handler, {"error": {"message": "ouch"}}, status=500),
        lambda handler: endpoint.send(handler, {}, status=429, Retry_After="0.02"),
        lambda handler: endpoint.send(handler, b'{"choices": ['),
        endpoint.reset,
        lambda handler: endpoint.drip(handler, 1.0),
        stall,
        lambda handler: endpoint.send(handler, paid_nothing),
        lambda handler: endpoint.send(handler, b"busy", status=503),
        promise_more,
        lambda handler: endpoint.send(handler, too_much),
        lambda handler: endpoint.send(handler, {"error": "too long"}, status=400),
    ]

    def behave(name, attempt, handler):
        number = int(name.split("-")[1])
        meets = attempt == 1 or number % 24 >= 12  # the latter never get an answer
        return meets and troubles[number % 12](handler)

    endpoint.behave = behave
    found = by_id(ask(settings(timeout_seconds=0.6, concurrency=12), 48))
    assert set(found) == {f"id{number}" for number in range(48)}
    for number in range(48):
        outcome = found[f"id{number}"]
        kind, lasting = number % 12, number % 24 >= 12
        if kind == 11 or (lasting and kind):
            assert isinstance(outcome, ScoreFailure)
            assert outcome.cost.requests == (1 if kind == 11 else 4)
            assert "\n" not in outcome.reason
        else:
            assert isinstance(outcome, QualityScore)
            assert outcome.cost.requests == (1 if kind == 0 else 2)
            assert endpoint.good[f"doc-{number}"] == 1
    spent = total(found.values())
    assert spent.requests == sum(endpoint.attempts.values())
    assert spent.prompt_tokens == endpoint.prompt_tokens
    assert "id15" in found
    assert "not JSON" in found["id15"].reason
    assert "at the last of 4 attempts" in found["id15"].reason
    assert "no complete reply within 0.6 s" in found["id17"].reason
    assert "answered 500 (ouch)" in found["id13"].reason
    assert "answered 400 (too long)" in found["id23"].reason
    assert "ReadError" in found["id16"].reason or "Protocol" in found["id16"].reason


def test_an_endpoint_that_is_not_there_is_a_failure_of_each_document(endpoint, settings):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        found = by_id(ask(settings(base_url=address), 3))
    assert all("ConnectError" in outcome.reason for outcome in found.values())


def test_all_documents_wait_as_long_as_one_reply_asks_for(endpoint, settings):
    def behave(name, attempt, handler):
        if name == "doc-0" and attempt == 1:
            return endpoint.send(handler, {}, status=429, Retry_After="0.5")
        time.sleep(0.02)
        return False

    endpoint.behave = behave
    found = by_id(ask(settings(concurrency=4), 60))
    assert all(isinstance(outcome, QualityScore) for outcome in found.values())
    gaps = np.diff(sorted(endpoint.times))
    assert gaps.max() >= 0.4  # those under way at the moment of the reply may still begin


def test_an_endpoint_that_asks_for_too_long_a_wait_fails_the_document(endpoint, settings):
    endpoint.behave = lambda name, attempt, handler: endpoint.send(
        handler, {}, status=429, Retry_After="3600"
    )
    started = time.monotonic()
    [failure] = ask(settings(max_wait_seconds=0.5))
    assert time.monotonic() - started < 2
    assert "asks to wait 3600 s, more than max_wait_seconds = 0.5" in failure.reason
    assert failure.cost.requests == 1


def test_waits_double_and_are_drawn_from_their_upper_half(endpoint, settings):
    endpoint.behave = lambda name, attempt, handler: endpoint.send(handler, {}, status=500)
    [_] = ask(settings(backoff_seconds=0.1, max_attempts=4))
    waits = np.diff(endpoint.times)
    for wait, longest in zip(waits, [0.1, 0.2, 0.4], strict=True):
        assert longest / 2 <= wait <= longest + 0.5  # the machine may be slow


def test_no_wait_is_longer_than_the_longest(endpoint, settings):
    endpoint.behave = lambda name, attempt, handler: endpoint.send(handler, {}, status=500)
    [_] = ask(settings(backoff_seconds=0.05, max_wait_seconds=0.06, max_attempts=8))
    assert len(endpoint.times) == 8
    assert max(np.diff(endpoint.times)) < 1.0  # the last of doubled waits would be 1.6 to 3.2


def test_no_more_requests_are_under_way_than_allowed(endpoint, settings):
    def behave(name, attempt, handler):
        time.sleep(0.02)
        return False

    endpoint.behave = behave
    assert len(by_id(ask(settings(concurrency=3), 30))) == 30
    assert endpoint.most_at_once == 3


def test_requests_are_spaced_by_their_rate(endpoint, settings):
    by_id(ask(settings(requests_per_second=50.0, concurrency=10), 20))
    # 20 requests are 19 spaces of 20 ms; the first and the last may be late by themselves
    assert max(endpoint.times) - min(endpoint.times) >= 0.36


def test_requests_are_spaced_by_the_tokens_that_the_endpoint_reports(endpoint, settings):
    # 121 tokens each at 121,000 a minute are 60 ms each
    by_id(ask(settings(tokens_per_minute=121_000, concurrency=1, bytes_per_token=100.0), 8))
    assert max(endpoint.times) - min(endpoint.times) >= 7 * 0.055
    assert max(endpoint.times) - min(endpoint.times) < 3


def test_retries_count_against_the_rate(endpoint, settings):
    endpoint.behave = lambda name, attempt, handler: endpoint.send(handler, {}, status=500)
    by_id(
        ask(
            settings(requests_per_second=50.0, concurrency=5, backoff_seconds=1e-4, max_attempts=4),
            5,
        )
    )
    assert max(endpoint.times) - min(endpoint.times) >= 0.36


def test_answers_come_as_they_are_ready_and_documents_are_read_as_needed(endpoint, settings):
    def behave(name, attempt, handler):
        if name == "doc-0":
            time.sleep(0.5)
        return False

    endpoint.behave = behave
    read = []

    def endless():
        for number in itertools.count():
            assert threading.current_thread() is threading.main_thread()
            read.append(number)
            yield f"id{number}", f"doc-{number}"

    outcomes = ask(settings(concurrency=4), documents=endless())
    first = [next(outcomes).document_id for _ in range(6)]
    assert "id0" not in first
    assert len(read) <= 6 + 2 * 4
    outcomes.close()
    assert not [each for each in threading.enumerate() if each.name == "ask-llm-endpoint"]


def test_a_stopped_run_goes_on_where_it_was_with_nothing_twice(endpoint, settings):
    outcomes = ask(settings(concurrency=2), 20)
    done = [next(outcomes) for _ in range(7)]
    outcomes.close()
    ids = {outcome.document_id for outcome in done}
    rest = list(ask(settings(), 20, already_scored=ids))
    assert len(rest) == 13
    assert set(by_id([*done, *rest])) == {f"id{number}" for number in range(20)}
    for outcome in done:
        assert endpoint.attempts[outcome.document_id.replace("id", "doc-")] == 1


def test_a_slow_caller_loses_nothing(endpoint, settings):
    outcomes = []
    for outcome in ask(settings(timeout_seconds=0.7, concurrency=4), 8):
        time.sleep(0.1)  # longer in all than any request may take
        outcomes.append(outcome)
    assert all(isinstance(outcome, QualityScore) for outcome in by_id(outcomes).values())
    assert set(endpoint.attempts.values()) == {1}


def test_a_reply_without_usage_is_counted_as_unreported(endpoint, settings, replies):
    endpoint.behave = lambda name, attempt, handler: endpoint.send(
        handler, replies["chat"](usage=None)
    )
    [score] = ask(settings())
    assert score.cost == Cost(requests=1, unreported_requests=1)


def test_a_malformed_reply_is_paid_for(endpoint, settings):
    bad = {"choices": [], "usage": {"prompt_tokens": 50, "completion_tokens": 2}}
    endpoint.behave = lambda name, attempt, handler: attempt == 1 and endpoint.send(handler, bad)
    [score] = ask(settings())
    assert score.cost == Cost(requests=2, prompt_tokens=170, completion_tokens=3)


def test_a_reply_without_end_is_given_up(endpoint, settings):
    endpoint.behave = lambda name, attempt, handler: endpoint.send(handler, b" " * (5 << 20))
    [failure] = ask(settings(max_attempts=1))
    assert "more than 4,194,304 bytes" in failure.reason


def test_a_redirect_is_not_followed(endpoint, settings):
    endpoint.behave = lambda name, attempt, handler: endpoint.send(
        handler, {}, status=307, Location=f"{endpoint.url}/elsewhere"
    )
    [failure] = ask(settings())
    assert "answered 307" in failure.reason
    assert len(endpoint.bodies) == 1


def test_the_key_is_sent_and_shown_nowhere(endpoint, settings, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TINY_KEY", "sk-very-secret")

    def behave(name, attempt, handler):
        message = {"error": {"message": "bad key sk-very-secret given"}}
        return name == "doc-1" and endpoint.send(handler, message, status=400)

    endpoint.behave = behave
    asked = settings(api_key_variable="TINY_KEY")
    found = by_id(ask(asked, 2))
    assert {each["Authorization"] for each in endpoint.headers} == {"Bearer sk-very-secret"}
    assert "bad key [key] given" in found["id1"].reason
    outcomes = ask(asked, 2)
    shown = [
        repr(found),
        repr(asked),
        repr(outcomes),
        caplog.text,
        repr(outcomes.gi_frame.f_locals),
    ]
    outcomes.close()
    endpoint.behave = lambda name, attempt, handler: endpoint.send(
        handler, {"error": {"message": "sk-very-secret is wrong"}}, status=401
    )
    with pytest.raises(ConfigError, match=r"refuses the key in .* TINY_KEY") as caught:
        list(ask(asked, 2))
    shown += ["".join(traceback.format_exception(caught.value)), caplog.text]
    assert not [text for text in shown if "very-secret" in text]


def test_without_a_key_none_is_sent(endpoint, settings):
    list(ask(settings()))
    assert "Authorization" not in endpoint.headers[0]


def test_a_missing_key_is_refused_before_anything_is_sent(endpoint, settings, monkeypatch):
    monkeypatch.delenv("TINY_KEY", raising=False)
    with pytest.raises(ConfigError, match="TINY_KEY"):
        ask(settings(api_key_variable="TINY_KEY"))
    assert not endpoint.bodies


@pytest.mark.parametrize(
    ("status", "message"), [(401, "set api_key_variable"), (404, "check base_url")]
)
def test_a_refusal_of_everything_ends_the_run_and_keeps_what_was_answered(
    endpoint, settings, status, message
):
    endpoint.behave = lambda name, attempt, handler: (
        int(name[4:]) >= 10 and endpoint.send(handler, {}, status=status)
    )
    kept = []
    with pytest.raises(ConfigError, match=message):
        kept.extend(ask(settings(concurrency=2), 1000))
    kept = []
    outcomes = ask(settings(concurrency=2), 1000)
    with pytest.raises(ConfigError, match=message):
        while True:
            kept.append(next(outcomes))
    assert {each.document_id for each in kept} >= {f"id{number}" for number in range(9)}
    assert len(endpoint.bodies) < 60  # of two runs
    assert len(by_id(kept)) == len(kept)


def test_an_endpoint_that_only_fails_ends_the_run(endpoint, settings):
    endpoint.behave = lambda name, attempt, handler: (
        int(name[4:]) >= 5 and endpoint.send(handler, {}, status=500)
    )
    kept = []
    outcomes = ask(settings(max_attempts=2, max_failures_in_a_row=6, concurrency=2), 1000)
    with pytest.raises(TransientError, match=r"failed 6 times in a row.*answered 500"):
        while True:
            kept.append(next(outcomes))
    kinds = collections.Counter(type(each) for each in by_id(kept).values())
    assert kinds[QualityScore] == 5
    assert kinds[ScoreFailure] >= 6
    assert len(endpoint.bodies) < 40


def test_what_was_answered_before_a_run_ends_is_given_out_first(endpoint, settings):
    def behave(name, attempt, handler):
        time.sleep(0.1 if name == "doc-0" else 0.3)
        return name == "doc-0" and endpoint.send(handler, {}, status=400)

    endpoint.behave = behave
    outcomes = ask(settings(concurrency=8, max_failures_in_a_row=1), 8)
    kept = [next(outcomes)]
    time.sleep(1.0)  # the others are answered meanwhile
    with pytest.raises(TransientError, match="failed 1 times in a row"):
        while True:
            kept.append(next(outcomes))
    assert sum(endpoint.good.values()) == 7
    assert set(by_id(kept)) == {f"id{number}" for number in range(8)}


def test_failures_between_successes_do_not_end_the_run(endpoint, settings):
    endpoint.behave = lambda name, attempt, handler: (
        int(name[4:]) % 2 and endpoint.send(handler, {}, status=500)
    )
    chosen = settings(max_attempts=1, max_failures_in_a_row=3, concurrency=1)
    assert len(by_id(ask(chosen, 20))) == 20


def test_a_text_that_cannot_be_sent_is_a_failure_without_a_request(endpoint, settings):
    chosen = settings(max_failures_in_a_row=1)
    pool = [("a", "doc-1 \ud800"), ("b", "doc-2")]
    found = by_id(ask(chosen, documents=pool))
    assert found["a"] == ScoreFailure("a", "the text is not valid Unicode: a lone surrogate")
    assert isinstance(found["b"], QualityScore)


def test_an_id_that_comes_twice_is_refused_after_what_was_answered(endpoint, settings):
    kept = []
    outcomes = ask(settings(), documents=[("a", "doc-1"), ("b", "doc-2"), ("a", "doc-3")])
    with pytest.raises(InputError, match="'a' comes twice"):
        while True:
            kept.append(next(outcomes))
    assert endpoint.attempts["doc-3"] == 0


def test_progress_counts_every_document_once(endpoint, settings):
    done = []
    list(ask(settings(), 9, progress=done.append))
    assert done == [1] * 9


def test_no_documents_need_no_request(endpoint, settings):
    assert list(ask(settings(), 0)) == []
    assert not endpoint.bodies


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 60.0),
        ("Wed, 21 Oct 2015 07:26:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 09:28:00 +0200", 60.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    now = dt.datetime(2015, 10, 21, 7, 27, 0, tzinfo=dt.UTC)
    assert retry_after_seconds(header, now=now) == seconds


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "not JSON"),
        (b'{"choices": [{"logprobs": {"content": [{"top_log', "not JSON"),
        (b'[{"choices": []}]', "not a JSON object"),
        (b'{"choices": [{"logprobs": null}]}', "without the log-probabilities"),
        (b'{"choices": [{"logprobs": {"content": []}}]}', "without the log-probabilities"),
        (
            b'{"choices": [{"logprobs": {"content": [{"top_logprobs": null}]}}]}',
            "without the log-probabilities",
        ),
        (b'{"choices": [{"logprobs": {"content": [{"top_logprobs": []}]}}]}', "empty list"),
        (
            b'{"choices": [{"logprobs": {"content": [{"top_logprobs": '
            b'[{"token": "yes", "logprob": -1' + b"0" * 400 + b"}]}]}}]}",
            "a log-probability that is none",
        ),
    ],
)
def test_a_good_status_with_a_bad_body_is_asked_again_and_never_a_score(
    endpoint, settings, content, reason
):
    endpoint.behave = lambda name, attempt, handler: (
        name == "doc-0" and endpoint.send(handler, content)
    )
    found = by_id(ask(settings(max_attempts=2), 2))
    assert reason in found["id0"].reason
    assert found["id0"].cost == Cost(requests=2, unreported_requests=2)
    assert isinstance(found["id1"], QualityScore)


def test_a_date_to_wait_for_is_waited_for(endpoint, settings):
    def behave(name, attempt, handler):
        later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
        date = email.utils.format_datetime(later, usegmt=True)
        return attempt == 1 and endpoint.send(handler, {}, status=429, Retry_After=date)

    endpoint.behave = behave
    [score] = ask(settings())
    assert isinstance(score, QualityScore)
    assert np.diff(endpoint.times)[0] >= 0.95  # dates have whole seconds


def test_an_absurd_count_of_tokens_is_no_count_and_stalls_nothing(endpoint, settings, replies):
    usage = {"prompt_tokens": 10**400, "completion_tokens": 1}
    endpoint.behave = lambda name, attempt, handler: endpoint.send(
        handler, json.dumps(replies["chat"](usage=usage)).encode()
    )
    found = by_id(ask(settings(tokens_per_minute=10**9), 3))
    assert {outcome.cost for outcome in found.values()} == {Cost(1, unreported_requests=1)}


def test_a_reason_can_be_stored_and_printed_whatever_the_endpoint_says(endpoint, settings):
    message = b'{"error": "bad \\ud800 \\u001b[31m \\u0000 text"}'
    endpoint.behave = lambda name, attempt, handler: endpoint.send(handler, message, status=400)
    [failure] = ask(settings())
    assert failure.reason == "the endpoint answered 400 (bad ? ?[31m ? text)"


def test_requests_are_not_logged_one_by_one_and_those_of_others_still_are(
    endpoint, settings, caplog
):
    caplog.set_level(logging.INFO)
    during = []

    def notice(done):
        during.append(done)
        logging.getLogger("httpx").info("a line of another client")

    list(ask(settings(), 5, progress=notice))
    lines = [record.getMessage() for record in caplog.records if record.name == "httpx"]
    assert lines == ["a line of another client"] * 5
    import httpx

    with httpx.Client() as other:
        other.post(endpoint.url, json={"prompt": "doc-1"})
    assert "HTTP Request: POST" in caplog.text
    assert not logging.getLogger("httpx").filters


def test_a_source_that_breaks_loses_nothing_that_was_answered(endpoint, settings):
    def breaking():
        yield from documents(3)
        deadline = time.monotonic() + 10
        while sum(endpoint.good.values()) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)  # the last answer is on its way
        raise SourceError("the source is gone")

    kept, done = [], []
    outcomes = ask(settings(), documents=breaking(), progress=done.append)
    with pytest.raises(SourceError):
        while True:
            kept.append(next(outcomes))
    assert set(by_id(kept)) == {"id0", "id1", "id2"}
    assert done == [1, 1, 1]


def test_many_documents_are_each_answered_once_in_bounded_memory(endpoint, settings):
    n_documents = 600
    read = []

    def counted():
        for number in range(n_documents):
            read.append(number)
            yield f"id{number}", f"doc-{number}"

    most_ahead = n_outcomes = 0
    ids = set()
    for outcome in ask(settings(concurrency=64), documents=counted()):
        n_outcomes += 1
        ids.add(outcome.document_id)
        most_ahead = max(most_ahead, len(read) - n_outcomes)
    assert len(ids) == n_outcomes == n_documents
    assert set(endpoint.attempts.values()) == {1}
    assert most_ahead <= 2 * 64  # what is held, however many there are


def test_a_chat_template_is_refused_before_anything_is_sent(endpoint, settings):
    prompt = PromptSettings(wrap="chat_template")
    with pytest.raises(ConfigError, match="is for a model of our own"):
        ask(settings(), prompt=prompt)
    assert not endpoint.bodies


def test_the_head_and_the_tail_of_a_document_are_sent(endpoint, settings):
    prompt = PromptSettings(max_document_tokens=16, truncate="head_tail")
    text = "doc-1 " + "x" * 100 + " end"
    short = "doc-2 " + "y" * 50  # 56 bytes are 14 tokens
    found = by_id(ask(settings(), documents=[("a", text), ("b", short)], prompt=prompt))
    assert found["a"].truncated
    assert not found["b"].truncated
    sent = {asked["messages"][0]["content"].split("\n###\n")[0] for _, asked in endpoint.bodies}
    # 7 bytes of ellipsis are 2 tokens; 7 tokens of 4 bytes on each side
    assert sent == {
        "###\ndoc-1 " + "x" * 22 + "\n[...]\n" + "x" * 24 + " end",
        "###\n" + short,
    }

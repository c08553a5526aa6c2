import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.ask_llm import PAPER_PROMPT, PromptSettings
from databourse.ask_llm.endpoint_replies import (
    MalformedReplyError,
    TokenUsage,
    answer_bounds,
    listed_tokens,
    parse_json,
    request_body,
    score_bounds,
    token_usage,
)
from databourse.ask_llm.endpoint_settings import EndpointSettings


def made(api, **changes):
    return EndpointSettings(base_url="http://localhost/v1", model="m", api=api, **changes)


def listed(**probabilities):
    return [(token, math.log(p)) for token, p in probabilities.items()]


def bounds(tokens, words):
    found = answer_bounds([(token, math.log(p)) for token, p in tokens], words)
    return math.exp(found.low), math.exp(found.high)


def test_spellings_that_are_listed_add_up_and_the_others_are_bounded_by_hand():
    tokens = [("yes", 0.5), (" yes", 0.2), ("no", 0.1), ("well", 0.04)]
    # rest 0.16; of {yes, ' yes', Yes, ' Yes'} two are not listed, each at most 0.04
    assert bounds(tokens, ["yes", "Yes"]) == pytest.approx((0.7, 0.78), abs=1e-12)
    # of {no, ' no'} one is not listed
    assert bounds(tokens, ["no"]) == pytest.approx((0.1, 0.14), abs=1e-12)


def test_an_answer_that_is_not_listed_is_between_nothing_and_what_is_left():
    assert bounds([("no", 0.9), ("well", 0.08)], ["yes"]) == pytest.approx((0.0, 0.02), abs=1e-12)
    assert bounds([("no", 0.5), ("well", 0.01)], ["yes"]) == pytest.approx((0.0, 0.02), abs=1e-12)


def test_nothing_is_added_where_all_mass_or_all_spellings_are_listed():
    assert bounds([("yes", 0.75), ("no", 0.25)], ["yes"]) == pytest.approx((0.75, 0.75), abs=1e-12)
    assert bounds([("yes", 0.3), (" yes", 0.2), ("x", 0.1)], ["yes"]) == pytest.approx(
        (0.5, 0.5), abs=1e-12
    )


def test_both_ways_to_write_a_space_are_spaces():
    tokens = [("\u2581yes", 0.3), ("\u0120yes", 0.2), ("x", 0.1)]
    assert bounds(tokens, ["yes"]) == pytest.approx((0.5, 0.6), abs=1e-12)


def test_words_that_only_contain_an_answer_are_others():
    tokens = [("yesterday", 0.5), ("  yes", 0.2), ("YES", 0.1)]
    assert bounds(tokens, ["yes"])[0] == 0.0


def test_probabilities_beyond_the_smallest_double_stay_apart():
    found = answer_bounds([("no", 0.0), ("yes", -1000.0), ("x", -1000.5)], ["yes"])
    assert found.low == -1000.0
    assert found.high >= found.low


@given(
    st.lists(st.floats(0.01, 1), min_size=8, max_size=8),
    st.integers(1, 8),
)
def test_the_truth_is_within_the_bounds_of_any_list_of_the_most_probable(weights, k):
    vocabulary = ["yes", " yes", "Yes", " Yes", "no", " no", "a", "b"]
    truth = dict(zip(vocabulary, (np.array(weights) / sum(weights)).tolist(), strict=True))
    top = sorted(truth.items(), key=lambda item: -item[1])[:k]
    for words in (["yes", "Yes"], ["no"]):
        low, high = bounds(top, words)
        true = sum(truth[each] for word in words for each in (word, f" {word}"))
        assert low - 1e-12 <= true <= high + 1e-12


def test_yes_and_no_have_the_words_of_the_prompt():
    prompt = PromptSettings(yes=("ja",), no=("nein",))
    yes, no = score_bounds(listed(ja=0.5, nein=0.25, x=0.125), prompt)
    assert math.exp(yes.low) == pytest.approx(0.5)
    assert math.exp(no.low) == pytest.approx(0.25)


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_the_list_of_a_good_reply_is_read(api, replies):
    found = listed_tokens(replies[api]({"yes": 0.5, "no": 0.25}), made(api))
    assert found == [("yes", math.log(0.5)), ("no", math.log(0.25))]


@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize(
    "break_reply",
    [
        lambda reply: reply.pop("choices"),
        lambda reply: reply.update(choices=[]),
        lambda reply: reply.update(choices=[3]),
        lambda reply: reply.update(choices="yes"),
        lambda reply: reply["choices"][0].update(logprobs=None),
        lambda reply: reply["choices"][0].update(logprobs={"content": [], "top_logprobs": []}),
        lambda reply: reply["choices"][0].update(
            logprobs={"content": [{"top_logprobs": []}], "top_logprobs": [{}]}
        ),
        lambda reply: reply["choices"][0].update(
            logprobs={"content": [{"top_logprobs": None}], "top_logprobs": [None]}
        ),
    ],
)
def test_a_reply_without_probabilities_is_malformed(api, replies, break_reply):
    reply = replies[api]()
    break_reply(reply)
    with pytest.raises(MalformedReplyError):
        listed_tokens(reply, made(api))


@pytest.mark.parametrize("wrong", [math.nan, 0.5, "x", None, True, math.inf])
def test_a_log_probability_that_is_none_is_malformed(wrong, replies):
    reply = replies["chat"]()
    reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"][1]["logprob"] = wrong
    with pytest.raises(MalformedReplyError, match="that is none"):
        listed_tokens(reply, made("chat"))


def test_a_token_that_is_no_text_is_malformed(replies):
    reply = replies["chat"]()
    reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"][1]["token"] = 7
    with pytest.raises(MalformedReplyError):
        listed_tokens(reply, made("chat"))


def test_probabilities_of_more_than_one_are_malformed_but_rounding_is_not(replies):
    with pytest.raises(MalformedReplyError, match="more than one"):
        listed_tokens(replies["chat"]({"yes": 0.7, "no": 0.7}), made("chat"))
    rounded = listed_tokens(replies["chat"]({"yes": 0.7001, "no": 0.3001}), made("chat"))
    found = answer_bounds(rounded, ["yes"])
    assert found.low == found.high == pytest.approx(math.log(0.7001))


def test_a_probability_just_above_one_by_rounding_is_one():
    found = answer_bounds([("yes", 1e-7)], ["yes"])
    assert (found.low, found.high) == (0.0, 0.0)


def test_minus_infinity_is_a_probability_of_nothing(replies):
    reply = replies["chat"]({"yes": 1.0})
    top = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    top.append({"token": "no", "logprob": -math.inf})
    yes, no = score_bounds(listed_tokens(reply, made("chat")), PAPER_PROMPT)
    assert (yes.low, yes.high) == (0.0, 0.0)
    assert (no.low, no.high) == (-math.inf, -math.inf)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"3", b'{"a": "\xff"}', b"[" * 200_000])
def test_content_that_is_no_json_object_is_malformed(content):
    with pytest.raises(MalformedReplyError):
        parse_json(content)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 1}, TokenUsage(7, 1)),
        ({"prompt_tokens": 7}, TokenUsage(7, 0)),
        ({"prompt_tokens": -7, "completion_tokens": 1}, None),
        ({"prompt_tokens": True, "completion_tokens": 1}, None),
        ({"prompt_tokens": 7.5}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage_is_what_the_reply_says_or_unknown(usage, expected):
    assert token_usage({"usage": usage}) == expected
    assert token_usage({}) is None


def test_a_request_asks_for_one_token_and_its_alternatives():
    chat = json.loads(request_body("caf\u00e9", made("chat", top_logprobs=7)))
    assert chat == {
        "model": "m",
        "messages": [{"role": "user", "content": "caf\u00e9"}],
        "max_tokens": 1,
        "temperature": 1,
        "top_p": 1,
        "logprobs": True,
        "top_logprobs": 7,
    }
    plain = json.loads(request_body("x", made("completions", top_logprobs=5)))
    assert plain == {
        "model": "m",
        "prompt": "x",
        "max_tokens": 1,
        "temperature": 1,
        "top_p": 1,
        "logprobs": 5,
    }

"""Answers about a snapshot: each is paid for once, failures are asked again, no cost is lost."""

import math
import re

import numpy as np
import pytest

from databourse.ask_llm.prompt import CAUSAL_PROMPT, PAPER_PROMPT
from databourse.errors import ConfigError, TransientError
from databourse.progress import silent
from databourse.refresh.answering import answering
from databourse.refresh.quality_questions import ask_about_quality, stored_answers
from databourse.signals import ask_llm_distilled

COSTS = (
    "select sum(requests)::int, sum(prompt_tokens)::int, sum(completion_tokens)::int, "
    "sum(unreported_requests)::int from answers"
)


class InterruptedTestError(Exception):
    """What a test raises in the middle of the work."""


def ask(pool, advance=silent):
    return ask_about_quality(pool.warehouse, pool.run, pool.snapshot_id, advance=advance)


@pytest.fixture
def asking(untrained, endpoint):
    """Return a function that gives a pool whose documents the endpoint is asked about."""

    def asking(signals=("ask_llm",), max_failed_share=0.5, **changes):
        section = {
            "endpoint": {
                "base_url": endpoint.url,
                "model": "tiny",
                "top_logprobs": 5,
                "backoff_seconds": 0.01,
                "max_attempts": 2,
                "max_failures_in_a_row": 1_000,
                "concurrency": 4,
                **changes,
            },
            "max_failed_share": max_failed_share,
        }
        return untrained.configured(signals=list(signals), ask_llm=section)

    return asking


@pytest.fixture
def refuse(endpoint):
    """Return a function after which the endpoint refuses some documents and no others."""

    def refuse(*names, status=400):
        def behave(name, _, handler):
            if name in names:
                return endpoint.send(handler, {"error": {"message": f"no {name}"}}, status=status)
            return False

        endpoint.behave = behave

    return refuse


def names_of(pool):
    """Return the name doc-N of each document, by id."""
    return {each: re.match(r"doc-\d+", text)[0] for each, text in pool.texts().items()}


def test_every_document_is_asked_about_once(asking, endpoint):
    pool = asking()
    done = []

    asked = ask(pool, done.append)

    assert (asked.n_wanted, asked.n_asked, asked.n_failed) == (40, 40, 0)
    assert sum(done) == 40
    assert endpoint.attempts == dict.fromkeys((f"doc-{n}" for n in range(40)), 1)
    assert pool.query(COSTS) == [(40, 40 * 120, 40, 0)]
    assert pool.query("select sum(documents)::int, sum(model_calls)::int from model_costs") == [
        (40, 40)
    ]
    low, high = pool.query("select min(log_p_yes_low), max(log_p_yes_high) from answers")[0]
    assert math.exp(low) == pytest.approx(0.7)
    assert high >= low
    texts = [body["messages"][0]["content"] for _, body in endpoint.bodies]
    assert all(sum(own in text for text in texts) == 1 for own in pool.texts().values())


def test_a_second_run_asks_nothing(asking, endpoint):
    pool = asking()
    first = ask(pool)
    rows = pool.query("select * from answers order by document_id")
    done = []

    again = ask(pool.again("second"), done.append)

    assert again.scorer_id == first.scorer_id
    assert (again.n_asked, again.unanswered, sum(done)) == (0, first.unanswered, 40)
    assert sum(endpoint.attempts.values()) == 40
    assert pool.query("select * from answers order by document_id") == rows


def test_failures_are_kept_with_their_cost_and_asked_again(asking, endpoint, refuse):
    pool = asking()
    refuse("doc-3", "doc-30", status=500)

    first = ask(pool)

    assert (first.n_asked, first.n_failed) == (40, 2)
    by_name = {name: each for each, name in names_of(pool).items()}
    failed = pool.query(
        "select document_id, requests, unreported_requests, log_p_yes_low, is_truncated, failure "
        "from answers where failure is not null"
    )
    assert {row[0] for row in failed} == {by_name["doc-3"], by_name["doc-30"]}
    assert {row[1:5] for row in failed} == {(2, 2, None, None)}
    assert all("answered 500 (no doc-3" in row[5] for row in failed)
    answers = stored_answers(
        pool.warehouse, pool.documents(), snapshot_id=pool.snapshot_id, scorer_id=first.scorer_id
    )
    unknown = {
        each
        for each, p in zip(pool.documents()["document_id"].to_pylist(), answers.p_yes, strict=True)
        if np.isnan(p)
    }
    assert unknown == {by_name["doc-3"], by_name["doc-30"]}

    refuse("doc-30", status=500)
    second = ask(pool.again("second"))
    assert (second.n_asked, second.n_failed) == (2, 1)
    assert len({first.unanswered, second.unanswered}) == 2

    refuse()
    third = ask(pool.again("third"))
    assert (third.n_asked, third.n_failed) == (1, 0)
    # what every attempt cost is there, and only that
    sent = sum(endpoint.attempts.values())
    assert sent == 38 + (2 + 2) + (1 + 2) + 1
    assert pool.query(COSTS) == [(sent, 40 * 120, 40, sent - 40)]
    assert pool.query("select sum(model_calls)::int from model_costs") == [(sent,)]
    assert pool.query(
        "select run_id, failure is null, requests from answers where document_id = ? order by all",
        by_name["doc-30"],
    ) == [("run", False, 2), ("second", False, 2), ("third", True, 1)]


def test_a_retry_of_the_same_run_adds_its_cost_up(asking, endpoint, refuse):
    pool = asking(max_failed_share=0.0)
    refuse("doc-7", status=503)

    for _ in range(2):
        with pytest.raises(TransientError):
            ask(pool)
    refuse()
    assert ask(pool).n_asked == 1

    by_name = {name: each for each, name in names_of(pool).items()}
    row = pool.query(
        "select run_id, requests, unreported_requests, failure, is_truncated from answers "
        "where document_id = ?",
        by_name["doc-7"],
    )
    assert row == [("run", 5, 4, None, False)]
    assert endpoint.attempts["doc-7"] == 5
    assert pool.query(COSTS)[0][0] == sum(endpoint.attempts.values()) == 39 + 5


def test_too_many_failures_end_the_run_in_one_line_with_the_reason(asking, refuse):
    pool = asking(max_failed_share=0.05)
    refuse("doc-1", "doc-2", "doc-3")

    with pytest.raises(TransientError) as caught:
        ask(pool)

    text = str(caught.value)
    assert "\n" not in text
    assert re.search(
        r"3 of 40 documents have no answer .* 0\.05 .*answered 400 \(no doc-\d\)", text
    )
    assert pool.query("select count(*) from answers where failure is null") == [(37,)]
    refuse("doc-1", "doc-2")  # 5 % is what may be missing
    assert ask(pool).n_failed == 2


@pytest.mark.parametrize("after", [1, 9, 31])
def test_an_interrupted_run_keeps_what_was_answered(asking, endpoint, after):
    pool = asking()
    told = 0

    def interrupt(done):
        nonlocal told
        told += done
        if told >= after:
            raise InterruptedTestError

    with pytest.raises(InterruptedTestError):
        ask(pool, interrupt)

    kept = pool.query("select count(*) from answers")[0][0]
    assert kept >= after - 1
    second = ask(pool)
    assert (second.n_asked, second.n_failed) == (40 - kept, 0)
    # those under way when it stopped were asked about twice, at most one for each connection
    assert sum(endpoint.good.values()) - 40 <= 2 * 4 + 1
    assert pool.query("select count(*), count(distinct document_id) from answers") == [(40, 40)]


def test_an_endpoint_that_refuses_the_key_is_a_mistake_of_the_config(asking, refuse):
    pool = asking()
    refuse(*(f"doc-{n}" for n in range(40)), status=401)

    with pytest.raises(ConfigError, match="without a key; set api_key_variable"):
        ask(pool)


def test_an_endpoint_that_always_fails_ends_the_run_early(asking, endpoint, refuse):
    pool = asking(max_failures_in_a_row=3, concurrency=1)
    refuse(*(f"doc-{n}" for n in range(40)))

    with pytest.raises(TransientError, match="failed 3 times in a row"):
        ask(pool)

    kept = pool.query("select count(*) from answers where failure is not null")[0][0]
    assert 3 <= kept <= 5
    assert pool.query(COSTS)[0][0] == kept <= sum(endpoint.attempts.values()) <= kept + 1


DISTILLED = {"name": "ask_llm_distilled", "labelled": 50}


@pytest.fixture
def larger(asking, next_day, rows_of_pool):
    """Return a function that gives a pool of 70 documents: the least sample is 50."""
    pairs, plain = rows_of_pool
    more = [{"text": f"doc-{n} of rain and of wind, as often as {n} times"} for n in range(40, 70)]
    later = next_day(asking(), pairs, [*plain, *more])

    def larger(*signals):
        return later.configured(signals=list(signals))

    return larger


def test_a_distilled_signal_asks_about_its_sample_alone(larger, endpoint):
    pool = larger("perplexity", DISTILLED)
    parameters = ask_llm_distilled.AskLlmDistilledParameters(labelled=50)
    ids = pool.documents()["document_id"].to_pylist()
    sample = {
        ids[each]
        for each in ask_llm_distilled.documents_to_ask(parameters, ids, pool.run.config.seed)
    }
    assert (len(ids), len(sample)) == (70, 50)

    asked = ask(pool)

    assert (asked.n_wanted, asked.n_asked) == (50, 50)
    names = names_of(pool)
    assert endpoint.attempts == {names[each]: 1 for each in sample}
    answered = stored_answers(
        pool.warehouse, pool.documents(), snapshot_id=pool.snapshot_id, scorer_id=asked.scorer_id
    )
    known = ~np.isnan(answered.p_yes)
    assert {each for each, own in zip(ids, known, strict=True) if own} == sample


def test_two_signals_ask_about_each_document_once(larger, endpoint):
    ask(larger(DISTILLED))
    assert sum(endpoint.attempts.values()) == 50

    asked = ask(larger("ask_llm", DISTILLED))

    assert (asked.n_wanted, asked.n_asked) == (70, 20)
    assert len(endpoint.attempts) == 70
    assert set(endpoint.attempts.values()) == {1}


def test_a_new_document_alone_is_asked_about(asking, endpoint, next_day, rows_of_pool):
    pool = asking()
    ask(pool)
    pairs, plain = rows_of_pool

    later = next_day(pool, pairs, [*plain, {"text": "doc-99 of no wind and no rain"}])
    asked = ask(later)

    assert (asked.n_wanted, asked.n_asked) == (41, 1)
    assert endpoint.attempts["doc-99"] == 1
    assert sum(endpoint.attempts.values()) == 41


def test_another_prompt_is_another_scorer(asking, endpoint):
    pool = asking()
    first = ask(pool)
    section = pool.run.config.ask_llm.model_dump()
    section["prompt"]["criteria"] = "It must rhyme."

    second = ask(pool.configured(ask_llm=section))

    assert second.n_asked == 40
    assert second.scorer_id != first.scorer_id
    assert sum("It must rhyme." in str(body) for _, body in endpoint.bodies) == 40


def test_a_pace_or_a_patience_is_no_other_scorer(asking):
    first = ask(asking())

    second = ask(asking(concurrency=1, timeout_seconds=7.0, max_attempts=5, backoff_seconds=0.5))

    assert (second.scorer_id, second.n_asked) == (first.scorer_id, 0)


def test_the_middle_of_the_bounds_counts(asking, endpoint):
    # yes was seen at 0.5, the least of the five listed is 0.04: no is anything up to what is left
    reply = {
        "choices": [
            {
                "message": {"content": "yes"},
                "logprobs": {
                    "content": [
                        {
                            "token": "yes",
                            "logprob": math.log(0.5),
                            "top_logprobs": [
                                {"token": token, "logprob": math.log(p)}
                                for token, p in (
                                    ("yes", 0.5),
                                    ("a", 0.2),
                                    ("b", 0.1),
                                    ("c", 0.1),
                                    ("d", 0.04),
                                )
                            ],
                        }
                    ]
                },
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    endpoint.behave = lambda _name, _attempt, handler: endpoint.send(handler, reply)
    pool = asking()
    asked = ask(pool)

    answers = stored_answers(
        pool.warehouse, pool.documents(), snapshot_id=pool.snapshot_id, scorer_id=asked.scorer_id
    )
    low_yes, high_yes, low_no, high_no = pool.query(
        "select distinct log_p_yes_low, log_p_yes_high, log_p_no_low, log_p_no_high from answers"
    )[0]
    assert low_no == -math.inf
    assert math.exp(low_yes) == pytest.approx(0.5)
    expected = (math.exp(low_yes) + math.exp(high_yes)) / 2
    assert answers.p_yes == pytest.approx(expected)
    lowest = math.exp(low_yes) / (math.exp(low_yes) + math.exp(high_no))
    assert answers.yes_share == pytest.approx((lowest + 1.0) / 2)


def test_a_config_without_a_model_that_answers_is_refused(untrained):
    with pytest.raises(ConfigError, match="the config has no ask_llm"):
        ask(untrained)


@pytest.fixture(scope="session")
def answering_folder(tmp_path_factory):
    """Return the folders of tiny untrained models, by kind."""
    import tokenizers
    import torch
    import transformers

    corpus = ["doc rain wind storm informative pre-training", *["yes no Yes No, yes no"] * 20]

    def make(kind):
        folder = tmp_path_factory.mktemp(kind)
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=400,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["</s>"],
            show_progress=False,
        )
        tokenizer.train_from_iterator(corpus, trainer)
        if kind == "t5":
            tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
                single="$A </s>", special_tokens=[("</s>", 0)]
            )
        wrapped = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            model_max_length=1_000,
            eos_token="</s>",
            pad_token="</s>",
        )
        wrapped.save_pretrained(str(folder))
        size = {"vocab_size": len(wrapped)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(11)
            if kind == "t5":
                model = transformers.T5ForConditionalGeneration(
                    transformers.T5Config(
                        d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2,
                        decoder_start_token_id=0, **size,
                    )
                )  # fmt: skip
            else:
                model = transformers.GPT2LMHeadModel(
                    transformers.GPT2Config(
                        n_positions=1_000, n_embd=16, n_layer=1, n_head=2,
                        initializer_range=0.3, bos_token_id=0, eos_token_id=0, **size,
                    )
                )  # fmt: skip
        model.save_pretrained(str(folder))
        return folder

    return {kind: make(kind) for kind in ("t5", "gpt2")}


@pytest.mark.parametrize(("kind", "prompt"), [("t5", PAPER_PROMPT), ("gpt2", CAUSAL_PROMPT)])
def test_a_model_of_a_folder_answers(untrained, answering_folder, tmp_path, kind, prompt):
    section = {"model": str(answering_folder[kind]), "prompt": {"max_document_tokens": 60}}
    pool = untrained.configured(signals=["ask_llm"], ask_llm=section)
    own = answering(pool.run.config.ask_llm, root=tmp_path).prompt
    assert (own.options, own.cue, own.max_document_tokens) == (prompt.options, prompt.cue, 60)
    told = 0

    def interrupt(done):
        nonlocal told
        told += done
        if told >= 11:
            raise InterruptedTestError

    with pytest.raises(InterruptedTestError):
        ask(pool, interrupt)
    kept = pool.query("select count(*) from answers")[0][0]
    asked = ask(pool.configured(compute={"threads": 2, "batch_documents": 7}))

    assert (asked.n_wanted, asked.n_asked, asked.n_failed) == (40, 40 - kept, 0)
    assert asked.scorer_id.startswith("local@")
    answers = stored_answers(
        pool.warehouse, pool.documents(), snapshot_id=pool.snapshot_id, scorer_id=asked.scorer_id
    )
    assert ((answers.p_yes > 0) & (answers.p_yes < 1)).all()
    assert len(set(answers.p_yes.tolist())) > 20
    assert pool.query("select sum(requests)::int, min(prompt_tokens) > 0 from answers") == [
        (0, True)
    ]
    assert pool.query("select sum(model_calls)::int from model_costs") == [(40,)]


def test_a_folder_that_is_no_model_is_refused(untrained, tmp_path):
    (tmp_path / "empty").mkdir()
    pool = untrained.configured(signals=["ask_llm"], ask_llm={"model": str(tmp_path / "empty")})

    with pytest.raises(ConfigError, match="empty"):
        ask(pool)

"""Sampled continuations: against a loop without cache, against softmax, and laws of company."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import ConfigError, InputError, IntegrityError
from databourse.language_models import generation
from databourse.language_models.generation import (
    GenerationSettings,
    generations_id,
    sample_generations,
)
from databourse.language_models.model import prepared_model
from databourse.language_models.tokenizer import ModelTokenizer

PROMPTS = [
    "the rain",
    "",
    "a",
    "the wind and the storm and the hail over the flood",
    "猫 snow",
    "mist",
    "thunder and frost and heat and drought and cloud and sun and breeze and mist " * 3,
    "the rain and the rain",
    "hail",
]
IDS = [f"doc{number}" for number in range(len(PROMPTS))]
SETTINGS = GenerationSettings(samples=3, new_tokens=6)
ROUND = [  # a, b, c, d and a again
    [-99, 99, -99, -99, -99],
    [-99, -99, 99, -99, -99],
    [-99, -99, -99, 99, -99],
    [-99, -99, -99, -99, 99],
    [-99, 99, -99, -99, -99],
]


def generate(model, prompts=PROMPTS, ids=IDS, *, settings=SETTINGS, seed=7, threads=1, **more):
    return sample_generations(
        model, ids, prompts, settings=settings, seed=seed, threads=threads, **more
    )


def make_bigrams(logits, names="abcd", context=16):
    """Return a model whose next token depends on the last one alone, with these logits.

    Token 0 is the start token, the others are the letters of `names`.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    table = torch.tensor(logits, dtype=torch.float32)
    size = len(table)
    config = transformers.GPT2Config(
        vocab_size=size,
        n_positions=context,
        n_embd=2 * size,
        n_layer=1,
        n_head=1,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=False,
    )
    module = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, weights in module.named_parameters():
            weights.fill_(1.0 if name.endswith("ln_f.weight") else 0.0)
        # +1 in place i and -1 in place size + i: mean 0 and a known norm, so the last layer norm
        # multiplies by sqrt(size), up to its epsilon
        eye = torch.eye(size)
        module.transformer.wte.weight.copy_(torch.cat([eye, -eye], dim=1))
        module.lm_head.weight[:, :size] = table.T / math.sqrt(size)
    vocabulary = {"<s>": 0} | {name: place + 1 for place, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<s>"])
    return prepared_model(
        module,
        ModelTokenizer(tokenizer),
        model_id="bigrams",
        start_token_id=0,
        context_tokens=context,
    )


@pytest.fixture(scope="session")
def models(make_module, tiny_tokenizer):
    import torch
    import transformers

    size = tiny_tokenizer.vocabulary_size
    shape = {
        "vocab_size": size,
        "max_position_embeddings": 32,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "initializer_range": 0.5,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        modules = {
            "gpt2": make_module(),
            "llama": transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape)),
            # windows of 8 tokens: their layers of the cache forget
            "mistral": transformers.MistralForCausalLM(
                transformers.MistralConfig(**shape, sliding_window=8)
            ),
            "gemma2": make_module("gemma2"),
            "bloom": transformers.BloomForCausalLM(
                transformers.BloomConfig(
                    vocab_size=size,
                    hidden_size=16,
                    n_layer=2,
                    n_head=2,
                    bos_token_id=0,
                    eos_token_id=0,
                    initializer_range=0.5,
                )
            ),
        }
    return {
        kind: prepared_model(
            module, tiny_tokenizer, model_id=kind, start_token_id=0, context_tokens=32
        )
        for kind, module in modules.items()
    }


def one_by_one(model, document_id, prompt, sample, settings):
    """Return text, count and mean ln p of a generation, a whole forward pass for each token."""
    import torch

    rng = generation._sample_rng(7, document_id, sample)
    (ids,) = model.tokenizer.encode([prompt])
    room = min(settings.prompt_tokens, model.context_tokens - settings.new_tokens)
    sequence = [0, *ids.tolist()[max(0, len(ids) - room) :]]
    drawn, total = [], 0.0
    for uniform in rng.random(settings.new_tokens):
        with torch.no_grad():
            logits = model.module(torch.tensor([sequence]), use_cache=False).logits[0, -1]
        logits = logits.double().numpy()
        tempered = np.exp((logits - logits.max()) / settings.temperature)
        if settings.top_p < 1:
            order = np.argsort(-tempered, kind="stable")
            shares = np.cumsum(tempered[order]) / tempered.sum()
            least = int(np.argmax(shares >= settings.top_p)) + 1
            tempered[order[least:]] = 0
        token = int(np.argmax(np.cumsum(tempered) > uniform * tempered.sum()))
        total += float(logits[token] - np.logaddexp.reduce(logits))
        sequence.append(token)
        drawn.append(token)
        if token == 0:
            break
    text = model.tokenizer.decode([token for token in drawn if token])
    return text, len(drawn), total / len(drawn)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral", "gemma2", "bloom"])
@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        dataclasses.replace(SETTINGS, temperature=0.5, top_p=0.6, prompt_tokens=5, samples=2),
    ],
    ids=["plain", "tempered"],
)
def test_generations_are_those_of_a_loop_that_reads_everything_anew(models, kind, settings):
    model = models[kind]
    assert model.head == ("inside" if kind == "gemma2" else "separate")
    found = generate(model, settings=settings)
    for place, (document_id, prompt) in enumerate(zip(IDS, PROMPTS, strict=True)):
        for sample in range(settings.samples):
            text, count, mean = one_by_one(model, document_id, prompt, sample, settings)
            assert found.texts[place][sample] == text
            assert found.token_counts[place, sample] == count
            # float32 logits of another batch
            assert found.log_likelihoods[place, sample] == pytest.approx(mean, abs=1e-4)
    assert len({text for row in found.texts for text in row}) > len(IDS)


def test_an_end_by_hand():
    # after the start always a, after a always b, after b the end with probability 1 / (1 + e)
    model = make_bigrams(
        [[-99, 99, -99, -99, -99], [-99, -99, 99, -99, -99], [0, -99, -99, 1, -99]]
        + [[-99, -99, -99, -99, 99]] * 2
    )
    ids = [f"d{number}" for number in range(200)]
    found = generate(model, [""] * 200, ids, settings=GenerationSettings(samples=2, new_tokens=4))
    share = 1 / (1 + math.e)
    assert {text for row in found.texts for text in row} == {"ab", "abcd"}
    is_short = np.array([[text == "ab" for text in row] for row in found.texts])
    np.testing.assert_array_equal(found.ended, is_short)
    np.testing.assert_array_equal(found.token_counts, np.where(is_short, 3, 4))
    # a and b are certain; the end is the third token, or c the third of four with a certain d
    expected = np.where(is_short, math.log(share) / 3, math.log(1 - share) / 4)
    # 1e-3: epsilon of the layer norm
    np.testing.assert_allclose(found.log_likelihoods, expected, rtol=1e-3)
    # 400 draws: 3 standard deviations are 0.066
    assert is_short.mean() == pytest.approx(share, abs=0.066)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_first_tokens_are_distributed_as_the_softmax(temperature):
    logits = np.array([-1.0, 0.0, 1.5, 0.5, -0.5])
    model = make_bigrams([logits.tolist()] * 5)
    ids = [f"d{number}" for number in range(1_000)]
    settings = GenerationSettings(samples=4, new_tokens=1, temperature=temperature)
    found = generate(model, [""] * len(ids), ids, settings=settings)
    names = ["", *"abcd"]
    counts = np.zeros(5)
    for row in found.texts:
        for text in row:
            counts[names.index(text)] += 1
    expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum() * counts.sum()
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 18.5  # the 0.999 quantile with 4 degrees of freedom
    # likelihoods are those of temperature 1, whatever the temperature drawn at
    log_p = dict(zip(names, logits - np.logaddexp.reduce(logits), strict=True))
    own = [[log_p[text] for text in row] for row in found.texts]
    np.testing.assert_allclose(found.log_likelihoods, own, rtol=1e-3)


def test_samples_of_a_document_are_drawn_independently():
    model = make_bigrams([[0.0, 0.0, -99, -99, -99]] * 5)
    ids = [f"d{number}" for number in range(2_000)]
    settings = GenerationSettings(samples=2, new_tokens=1)
    found = generate(model, [""] * len(ids), ids, settings=settings)
    both = np.array([[text == "a" for text in row] for row in found.texts])
    # two fair coins: 3 standard deviations of the share of equal ones are 0.034
    assert (both[:, 0] == both[:, 1]).mean() == pytest.approx(0.5, abs=0.034)


def test_without_temperature_it_is_the_likeliest_token(models):
    import torch

    model = models["llama"]
    settings = GenerationSettings(samples=2, new_tokens=5, temperature=1e-3)
    found = generate(model, settings=settings)
    for prompt, (one, other) in zip(PROMPTS, found.texts, strict=True):
        (ids,) = model.tokenizer.encode([prompt])
        sequence = [0, *ids.tolist()[-27:]]
        drawn = []
        for _ in range(5):
            with torch.no_grad():
                token = int(model.module(torch.tensor([sequence])).logits[0, -1].argmax())
            if token == 0:
                break
            drawn.append(token)
            sequence.append(token)
        assert one == other == model.tokenizer.decode(drawn)


def test_only_the_smallest_set_of_probability_top_p_is_drawn_from():
    # probabilities 0.5, 0.2, 0.2 and 0.1 of a to d
    log_p = [-99, *np.log([0.5, 0.2, 0.2, 0.1]).tolist()]
    model = make_bigrams([log_p] * 5)
    ids = [f"d{number}" for number in range(300)]

    def drawn(top_p):
        settings = GenerationSettings(samples=1, new_tokens=1, top_p=top_p)
        found = generate(model, [""] * len(ids), ids, settings=settings)
        return {text for (text,) in found.texts}

    assert drawn(0.4) == {"a"}
    assert drawn(0.6) == {"a", "b"}  # b and c are equally likely: the first
    assert drawn(0.8) == {"a", "b", "c"}
    assert drawn(1.0) == {"a", "b", "c", "d"}


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=12), st.floats(0, 1, exclude_max=True))
def test_a_token_is_drawn_by_the_first_partial_sum_above_its_number(logits, uniform):
    import torch

    # one logit of -inf at the end: it must never be drawn
    token, log_p = generation._drawn_tokens(
        torch.tensor([[*logits, -math.inf]]),
        torch.tensor([[uniform]], dtype=torch.float64),
        GenerationSettings(),
    )
    place = int(token)
    exact = np.array(logits, dtype=np.float32).astype(np.float64)
    p = np.exp(exact - np.logaddexp.reduce(exact))
    assert place < len(logits)
    # 1e-6: exp of float32
    assert p[:place].sum() - 1e-6 <= uniform <= p[: place + 1].sum() + 1e-6
    assert float(log_p) == pytest.approx(math.log(p[place]), abs=1e-4)


def test_the_lowest_number_draws_the_first_token_that_can_be():
    import torch

    token, log_p = generation._drawn_tokens(
        torch.tensor([[-math.inf, -math.inf, 0.0, 0.0]]),
        torch.zeros((1, 1), dtype=torch.float64),
        GenerationSettings(),
    )
    assert int(token) == 2
    assert float(log_p) == pytest.approx(-math.log(2))


def test_the_highest_number_draws_the_last_token_that_can_be():
    import torch

    highest = torch.tensor([[math.nextafter(1, 0)]], dtype=torch.float64)
    for logits, last in (([0.0, 0.0, -math.inf], 1), ([3.0, -200.0, -math.inf], 0)):
        token, _ = generation._drawn_tokens(torch.tensor([logits]), highest, GenerationSettings())
        assert int(token) == last


@pytest.mark.parametrize("kind", ["gpt2", "gemma2"])
def test_company_order_threads_and_parts_change_no_generation(models, kind, monkeypatch):
    model = models[kind]
    together = generate(model)
    order = np.random.default_rng(0).permutation(len(IDS))
    mixed = generate(model, [PROMPTS[i] for i in order], [IDS[i] for i in order], threads=2)
    assert mixed.texts == tuple(together.texts[i] for i in order)
    np.testing.assert_array_equal(mixed.log_likelihoods, together.log_likelihoods[order])
    for place in range(len(IDS)):
        alone = generate(model, PROMPTS[place : place + 1], IDS[place : place + 1])
        assert alone.texts == together.texts[place : place + 1]
        # shapes are the same, so bits are; an own row of a batch may yet meet another kernel
        np.testing.assert_allclose(
            alone.log_likelihoods[0], together.log_likelihoods[place], rtol=1e-5
        )
    monkeypatch.setattr(generation, "_TEXTS_AT_ONCE", 2)
    in_parts = generate(model)
    assert in_parts.texts == together.texts


def test_more_samples_or_tokens_begin_with_the_same(tiny_model):
    short = generate(tiny_model)
    more = generate(tiny_model, settings=dataclasses.replace(SETTINGS, samples=5))
    assert tuple(row[:3] for row in more.texts) == short.texts
    ids = [place for place, prompt in enumerate(PROMPTS) if len(prompt) < 60]  # none is cut
    longer = generate(tiny_model, settings=dataclasses.replace(SETTINGS, new_tokens=8))
    for place in ids:
        for one, other, ended in zip(
            short.texts[place], longer.texts[place], short.ended[place], strict=True
        ):
            assert other == one if ended else other.startswith(one.rstrip("\ufffd"))


def test_seed_and_document_decide_what_is_drawn(tiny_model):
    same = generate(tiny_model, ["rain", "rain"], ["x", "y"])
    assert same.texts[0] != same.texts[1]
    assert generate(tiny_model, ["rain"], ["x"], seed=8).texts[0] != same.texts[0]
    assert generate(tiny_model, ["rain"], ["x"]).texts[0] == same.texts[0]


def test_the_random_state_of_torch_is_neither_read_nor_changed(tiny_model):
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.random.get_rng_state()
        one = generate(tiny_model)
        assert torch.equal(before, torch.random.get_rng_state())
        torch.manual_seed(2)
        assert generate(tiny_model).texts == one.texts


def test_the_tail_of_a_long_prompt_is_read(tiny_model):
    tail = " and the wind and the storm"
    n_tokens = len(tiny_model.tokenizer.encode([tail])[0])
    settings = dataclasses.replace(SETTINGS, prompt_tokens=n_tokens)
    one, other = (
        generate(tiny_model, [head + tail], ["x"], settings=settings)
        for head in ("hail " * 30, "sun")
    )
    assert one.texts == other.texts
    np.testing.assert_allclose(one.log_likelihoods, other.log_likelihoods, rtol=1e-6)
    wider = dataclasses.replace(SETTINGS, prompt_tokens=n_tokens + 1)
    assert not np.allclose(
        generate(tiny_model, ["sun" + tail], ["x"], settings=wider).log_likelihoods,
        one.log_likelihoods,
    )


def test_a_generation_may_fill_the_context_and_not_more(tiny_model):
    settings = GenerationSettings(samples=1, new_tokens=32)
    found = generate(tiny_model, settings=settings)
    # nothing of the prompt fits: all begin with the start token alone
    for document_id, (text,), (mean,) in zip(IDS, found.texts, found.log_likelihoods, strict=True):
        expected = one_by_one(tiny_model, document_id, "", 0, settings)
        assert text == expected[0]
        assert mean == pytest.approx(expected[2], abs=1e-4)
    with pytest.raises(InputError, match=r"new_tokens must be <= 32, the context of tiny, got 33"):
        generate(tiny_model, settings=dataclasses.replace(settings, new_tokens=33))


def test_a_generation_ends_before_the_stop_text():
    model = make_bigrams(ROUND)

    def ended(stop_text):
        settings = GenerationSettings(samples=1, new_tokens=6, stop_text=stop_text)
        found = generate(model, [""], ["x"], settings=settings)
        return found.texts[0][0], int(found.token_counts[0, 0]), bool(found.ended[0, 0])

    assert ended("") == ("abcdab", 6, False)
    assert ended("c") == ("ab", 3, True)
    assert ended("da") == ("abc", 5, True)
    assert ended("a") == ("", 1, True)
    assert ended("x") == ("abcdab", 6, False)


def test_only_tokens_up_to_the_end_count_in_the_likelihood():
    # a, then b with probability 1/2 (else d), then c: ln p are 0, -ln 2, 0
    model = make_bigrams(
        [
            [-99, 99, -99, -99, -99],
            [-99, -99, 0, -99, 0],
            [-99, -99, -99, 99, -99],
            [-99, 0, 0, 0, 0],
            [-99, -99, -99, 99, -99],
        ]
    )
    settings = GenerationSettings(samples=1, new_tokens=5, stop_text="c")
    found = generate(model, [""], ["x"], settings=settings)
    assert found.texts[0][0] in {"ab", "ad"}
    assert found.log_likelihoods[0, 0] == pytest.approx(-math.log(2) / 3, rel=1e-3)


def test_every_end_token_that_the_model_names_ends():
    model = make_bigrams(ROUND)
    settings = GenerationSettings(samples=1, new_tokens=6)

    def text():
        return generate(model, [""], ["x"], settings=settings).texts[0][0]

    assert text() == "abcdab"
    model.module.config.eos_token_id = [3, 4]
    assert text() == "ab"
    model.module.config.eos_token_id = None
    model.module.generation_config.eos_token_id = 4
    assert text() == "abc"
    model.module.generation_config.eos_token_id = None
    assert text() == "abcdab"


def test_no_document_gives_no_generation(tiny_model):
    found = generate(tiny_model, [], [])
    assert found.texts == ()
    assert found.token_counts.shape == found.log_likelihoods.shape == found.ended.shape == (0, 3)


def test_progress_adds_up_to_the_documents(tiny_model):
    told = []
    generate(tiny_model, progress=told.append)
    assert sum(told) == len(IDS)


def test_threads_of_torch_are_left_as_they_were(tiny_model):
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        generate(tiny_model)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_logits_that_cannot_be_made_in_chunks_bound_the_batch(tiny_model, monkeypatch):
    inside = dataclasses.replace(tiny_model, head="inside")
    size = tiny_model.tokenizer.vocabulary_size
    monkeypatch.setattr(generation, "_MOST_LOGITS", 40 * size)
    few, many = (dataclasses.replace(SETTINGS, samples=samples) for samples in (3, 32))
    assert generation._batch_plan(inside, few).batch_tokens == 40
    # 8 tokens are one prompt at least, and 32 samples of it are 4 times the rows of one token each
    assert generation._batch_plan(inside, many).batch_tokens == 10
    assert generation._batch_plan(tiny_model, many).batch_tokens > 40
    assert generate(inside).texts == generate(tiny_model).texts


def test_a_model_without_a_cache_is_refused(make_module, tiny_tokenizer):
    class Forgets(type(make_module())):
        def forward(self, *arguments, **keywords):
            output = super().forward(*arguments, **{**keywords, "use_cache": False})
            output.past_key_values = None
            return output

    module = make_module()
    model = prepared_model(
        module, tiny_tokenizer, model_id="f", start_token_id=0, context_tokens=32
    )
    module.__class__ = Forgets
    model = dataclasses.replace(model, head="inside")
    with pytest.raises(ConfigError, match="keeps no cache"):
        generate(model)


def test_a_probability_that_is_no_number_is_told(make_module, tiny_tokenizer):
    import torch

    module = make_module()
    model = prepared_model(
        module, tiny_tokenizer, model_id="n", start_token_id=0, context_tokens=32
    )
    with torch.no_grad():
        module.transformer.ln_f.bias[0] = math.nan
    with pytest.raises(IntegrityError, match="not a number"):
        generate(model)


def test_the_id_changes_with_all_that_decides_a_generation(tiny_model):
    base = generations_id(tiny_model.model_id, settings=SETTINGS, seed=1)
    others = [
        generations_id(tiny_model.model_id, settings=SETTINGS, seed=2),
        generations_id("o", settings=SETTINGS, seed=1),
        *(
            generations_id(
                tiny_model.model_id, settings=dataclasses.replace(SETTINGS, **change), seed=1
            )
            for change in (
                {"samples": 4},
                {"new_tokens": 7},
                {"temperature": 0.9},
                {"top_p": 0.9},
                {"prompt_tokens": 64},
                {"stop_text": "\n"},
            )
        ),
    ]
    assert len({base, *others}) == 9
    assert (
        generations_id(tiny_model.model_id, settings=dataclasses.replace(SETTINGS), seed=1) == base
    )
    json.dumps(base)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("samples", 0),
        ("new_tokens", 0),
        ("prompt_tokens", 0),
        ("temperature", 0.0),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("top_p", math.nan),
    ],
)
def test_settings_outside_their_domain_are_named(name, value):
    with pytest.raises(InputError, match=f"{name} must be"):
        GenerationSettings(**{name: value})


def test_arguments_outside_their_domain_are_named(tiny_model):
    with pytest.raises(InputError, match="one prompt per document_id"):
        generate(tiny_model, ["a"], ["x", "y"])
    with pytest.raises(InputError, match="threads"):
        generate(tiny_model, threads=0)
    with pytest.raises(InputError, match="Unicode"):
        generate(tiny_model, ["\ud800"], ["x"])

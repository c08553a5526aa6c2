"""Losses and entropies against a loop over tokens, and laws of batching."""

import dataclasses
import math

import numpy as np
import pytest

from databourse.errors import ConfigError, InputError
from databourse.language_models.cross_fitting import score_cross_fitted
from databourse.language_models.model import prepared_model
from databourse.language_models.scoring import batch_plan, score_documents
from databourse.signals.folds import document_folds

TEXTS = [
    "the rain",
    "",
    "a",
    "the wind and the storm and the hail over the flood",
    "猫 snow",
    "mist",
    "thunder and frost and heat and drought and cloud and sun and breeze and mist " * 3,
    "the rain and the rain",
]
SIZES = {"window_tokens": 16, "overlap_tokens": 5, "threads": 1}


def token_by_token(model, text, prompt="", *, window=16, overlap=5):
    """Return count, loss and entropy of a text, one forward pass per token: the obvious way."""
    import torch

    before, own = model.tokenizer.encode([prompt, text])
    sequence = [model.start_token_id, *before.tolist(), *own.tolist()]
    n, last_end, first = len(sequence) - 1, len(before), 0
    loss = entropy = 0.0
    for position in range(len(before), n):
        if position == last_end:  # a new window: as `windows_of`, said again
            first = max(0, min(position - overlap + 1, n - window))
            last_end = min(first + window, n)
        with torch.no_grad():
            logits = model.module(torch.tensor([sequence[first : position + 1]])).logits[0, -1]
        log_p = torch.log_softmax(logits.double(), dim=0)
        loss -= float(log_p[sequence[position + 1]])
        entropy -= float((log_p.exp() * log_p).sum())
    return n - len(before), loss, entropy


def assert_equal_per_token(scores, expected):
    counts, losses, entropies = (np.array(each) for each in zip(*expected, strict=True))
    np.testing.assert_array_equal(scores.token_counts, counts)
    least = np.maximum(counts, 1)
    # 1e-5 nats per token: float32 logits against themselves in another batch
    np.testing.assert_allclose(scores.loss_sums / least, losses / least, atol=1e-5)
    np.testing.assert_allclose(scores.entropy_sums / least, entropies / least, atol=1e-5)


def test_scores_are_those_of_one_forward_pass_per_token(tiny_model):
    assert tiny_model.head == "separate"
    scores = score_documents(tiny_model, TEXTS, **SIZES)
    assert scores.token_counts.max() > 32  # longer than two windows
    assert_equal_per_token(scores, [token_by_token(tiny_model, text) for text in TEXTS])
    assert np.ptp(scores.mean_losses[3:]) > 0.1


def test_completions_are_scored_given_their_prompts(tiny_model):
    prompts = ["storm ", "the rain", "", "hail " * 40, "a", "mist", "sun", "the cloud and"]
    scores = score_documents(tiny_model, TEXTS, prompts=prompts, **SIZES)
    assert_equal_per_token(
        scores, [token_by_token(tiny_model, *pair) for pair in zip(TEXTS, prompts, strict=True)]
    )
    alone = score_documents(tiny_model, TEXTS, **SIZES)
    np.testing.assert_array_equal(scores.token_counts, alone.token_counts)
    assert abs(scores.loss_sums[0] - alone.loss_sums[0]) > 0.01


def test_a_head_that_caps_its_logits_is_scored_as_it_is(make_module, tiny_tokenizer):
    model = prepared_model(
        make_module("gemma2"), tiny_tokenizer, model_id="g", start_token_id=0, context_tokens=32
    )
    assert model.head == "inside"
    texts = TEXTS[:4]
    scores = score_documents(model, texts, **SIZES)
    assert_equal_per_token(scores, [token_by_token(model, text) for text in texts])


def test_logits_that_cannot_be_made_in_chunks_bound_the_batch(tiny_model, monkeypatch):
    inside = dataclasses.replace(tiny_model, head="inside")
    assert batch_plan(inside).batch_tokens == batch_plan(tiny_model).batch_tokens == 1024
    size = tiny_model.tokenizer.vocabulary_size
    monkeypatch.setattr("databourse.language_models.scoring._MOST_LOGITS", 20 * size + 1)
    assert batch_plan(inside).batch_tokens == 20
    assert batch_plan(tiny_model).batch_tokens == 1024
    one, other = (score_documents(each, TEXTS, **SIZES) for each in (inside, tiny_model))
    np.testing.assert_allclose(one.loss_sums, other.loss_sums, rtol=1e-6)


def test_company_order_and_threads_change_no_number(tiny_model):
    together = score_documents(tiny_model, TEXTS, **SIZES)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    mixed = score_documents(tiny_model, [TEXTS[i] for i in order], **{**SIZES, "threads": 2})
    alone = [score_documents(tiny_model, [text], **SIZES) for text in TEXTS]
    # 1e-5 is asked for; shapes of batches do not depend on company, so far less is found
    np.testing.assert_allclose(mixed.loss_sums, together.loss_sums[order], rtol=1e-6)
    np.testing.assert_allclose(mixed.entropy_sums, together.entropy_sums[order], rtol=1e-6)
    np.testing.assert_allclose([s.loss_sums[0] for s in alone], together.loss_sums, rtol=1e-6)


def test_empty_texts_have_no_mean_and_one_token_is_scored_after_the_start(tiny_model):
    scores = score_documents(tiny_model, ["", "a"], **SIZES)
    assert scores.token_counts.tolist() == [0, 1]
    assert scores.loss_sums[0] == scores.entropy_sums[0] == 0
    assert math.isnan(scores.mean_losses[0])
    assert math.isnan(scores.mean_entropies[0])
    assert scores.mean_losses[1] == scores.loss_sums[1] > 0


def test_no_text_gives_no_score(tiny_model):
    assert score_documents(tiny_model, [], **SIZES).mean_losses.shape == (0,)


def test_a_uniform_model_gives_the_logarithm_of_its_vocabulary(make_module, tiny_tokenizer):
    import torch

    module = make_module()
    with torch.no_grad():
        module.transformer.ln_f.weight.zero_()
        module.transformer.ln_f.bias.zero_()  # states of 0: every logit is 0
    model = prepared_model(
        module, tiny_tokenizer, model_id="u", start_token_id=0, context_tokens=32
    )
    scores = score_documents(model, TEXTS[3:], **SIZES)
    expected = np.full(len(TEXTS) - 3, math.log(tiny_tokenizer.vocabulary_size))
    np.testing.assert_allclose(scores.mean_losses, expected, rtol=1e-6)
    np.testing.assert_allclose(scores.mean_entropies, expected, rtol=1e-6)


@pytest.fixture(scope="module")
def certain_model(make_module, tiny_tokenizer):
    """Return a model that gives the token "a" probability 1 - 319 exp(-1000), whatever it reads."""
    import torch

    module = make_module()
    module.lm_head.weight = torch.nn.Parameter(torch.zeros_like(module.lm_head.weight))
    with torch.no_grad():
        module.transformer.ln_f.weight.zero_()
        module.transformer.ln_f.bias.zero_()
        module.transformer.ln_f.bias[0] = 1.0
        module.lm_head.weight[tiny_tokenizer.id_of("a"), 0] = 1000.0
    return prepared_model(module, tiny_tokenizer, model_id="c", start_token_id=0, context_tokens=32)


def test_a_certain_model_has_no_entropy_and_a_loss_of_its_gap(certain_model):
    scores = score_documents(certain_model, ["a", "b", "ab"], prompts=["b", "", ""], **SIZES)
    assert scores.entropy_sums.tolist() == [0, 0, 0]
    # ln(1 + 319 exp(-1000)) = 0 for "a"; 1000 more for anything else
    np.testing.assert_allclose(scores.loss_sums, [0, 1000, 1000], rtol=1e-6)


def test_hidden_padding_of_the_vocabulary_is_no_nan(certain_model, tiny_tokenizer):
    import torch

    from databourse.language_models.model import _loss_and_entropy

    logits = torch.tensor([[math.log(3.0), 0.0, -math.inf]])
    loss, entropy = _loss_and_entropy(logits, torch.tensor([1]))
    # the probabilities are three quarters, a quarter and none
    assert float(loss) == pytest.approx(math.log(4))
    assert float(entropy) == pytest.approx(math.log(4) - 0.75 * math.log(3))


def test_each_document_is_scored_by_the_model_of_its_fold(tiny_model, make_module, tiny_tokenizer):
    other = prepared_model(
        make_module(seed=1), tiny_tokenizer, model_id="o", start_token_id=0, context_tokens=32
    )
    ids = [f"id{number}" for number in range(len(TEXTS))]
    folds = document_folds(ids, 2)
    assert set(folds.tolist()) == {0, 1}
    scores = score_cross_fitted([tiny_model, other], ids, TEXTS, prompts=TEXTS, **SIZES)
    by_model = [
        score_documents(model, TEXTS, prompts=TEXTS, **SIZES) for model in (tiny_model, other)
    ]
    expected = np.where(folds == 0, by_model[0].loss_sums, by_model[1].loss_sums)
    np.testing.assert_allclose(scores.loss_sums, expected, rtol=1e-6)
    assert not np.allclose(by_model[0].loss_sums, by_model[1].loss_sums)


def test_progress_adds_up_to_the_texts(tiny_model):
    told = []
    score_documents(tiny_model, TEXTS, progress=told.append, **SIZES)
    assert sum(told) == len(TEXTS)


def test_a_model_that_looks_ahead_is_refused(make_module, tiny_tokenizer):
    class LooksAhead(type(make_module())):
        def forward(self, input_ids, **keywords):
            output = super().forward(input_ids, **keywords)
            output.logits = output.logits + input_ids[:, -1:, None]
            return output

    module = make_module()
    module.__class__ = LooksAhead
    with pytest.raises(ConfigError, match="not causal"):
        prepared_model(module, tiny_tokenizer, model_id="x", start_token_id=0, context_tokens=32)


def test_arguments_outside_their_domain_are_named(tiny_model):
    with pytest.raises(InputError, match="context of tiny"):
        score_documents(tiny_model, TEXTS, **{**SIZES, "window_tokens": 33})
    with pytest.raises(InputError, match="one prompt per text"):
        score_documents(tiny_model, TEXTS, prompts=["a"], **SIZES)
    with pytest.raises(InputError, match="needs a GPU"):
        score_documents(tiny_model, TEXTS, precision="bfloat16", **SIZES)


@pytest.mark.gpu
def test_a_gpu_gives_the_scores_of_the_cpu(make_module, tiny_model, tiny_tokenizer):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    on_gpu = prepared_model(
        make_module().cuda(), tiny_tokenizer, model_id="g", start_token_id=0, context_tokens=32
    )
    expected = score_documents(tiny_model, TEXTS[2:], **SIZES).mean_losses
    full = score_documents(on_gpu, TEXTS[2:], **SIZES).mean_losses
    half = score_documents(on_gpu, TEXTS[2:], precision="bfloat16", **SIZES).mean_losses
    np.testing.assert_allclose(full, expected, atol=1e-3)
    np.testing.assert_allclose(half, expected, atol=0.3)  # 8 bits of mantissa, logits of about 10

"""Weights in eight bits: how close, how small, and that company changes nothing."""

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.language_models.int8 import in_int8
from databourse.language_models.loading import load_language_model
from databourse.language_models.scoring import score_documents, scoring_id

SIZES = {"window_tokens": 32, "overlap_tokens": 16, "threads": 1}
TEXTS = [
    "the rain",
    "",
    "the wind and the storm and the hail over the flood",
    "猫 snow",
    "mist",
    "thunder and frost and heat and drought and cloud and sun and breeze and mist " * 3,
]


def test_a_layer_rounds_each_output_by_its_own_scale():
    import torch

    from databourse.language_models.int8 import _int8_linear

    # scales 2 / 127, 127 / 127 and none: the second row is not lost beside the large one
    weight = torch.tensor([[2.0, -1.0], [127.0, 0.4], [0.0, 0.0]])
    layer = _int8_linear()(weight, torch.tensor([0.5, 0.0, -3.0]))
    assert layer.weight.tolist() == [[127, -64], [127, 0], [0, 0]]  # -63.5 to the even one
    found = layer(torch.tensor([[1.0, 1.0], [0.0, 2.0]]))
    expected = [[63 * 2 / 127 + 0.5, 127.0, -3.0], [-128 * 2 / 127 + 0.5, 0.0, -3.0]]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_losses_are_near_those_in_full(tiny_model):
    full = score_documents(tiny_model, TEXTS, **SIZES)
    rounded = score_documents(tiny_model, TEXTS, precision="int8", **SIZES)
    np.testing.assert_array_equal(rounded.token_counts, full.token_counts)
    own = full.token_counts > 0
    difference = np.abs(rounded.mean_losses[own] - full.mean_losses[own])
    # weights are off by 0.4 % of a row's largest at most, logits of about 10 by some percent
    assert 0 < difference.max() < 0.2


@pytest.mark.parametrize("kind", ["gpt2", "gemma2"])
def test_losses_are_those_of_the_rounded_weights(make_module, tiny_tokenizer, kind):
    import torch
    from transformers.pytorch_utils import Conv1D

    from databourse.language_models.model import prepared_model

    def model_of(module):
        return prepared_model(
            module, tiny_tokenizer, model_id="m", start_token_id=0, context_tokens=32
        )

    by_hand = make_module(kind)
    rounded = 0
    for layer in by_hand.base_model.modules():
        if isinstance(layer, (torch.nn.Linear, Conv1D)):
            outputs = 0 if isinstance(layer, torch.nn.Linear) else 1
            weight = layer.weight.data
            scale = weight.abs().amax(dim=1 - outputs, keepdim=True) / 127
            layer.weight.data = (weight / scale).round() * scale
            rounded += 1
    assert rounded >= 8
    expected = score_documents(model_of(by_hand), TEXTS, **SIZES)
    found = score_documents(model_of(make_module(kind)), TEXTS, precision="int8", **SIZES)
    np.testing.assert_allclose(found.loss_sums, expected.loss_sums, rtol=1e-5)


def test_company_changes_no_score(tiny_model):
    together = score_documents(tiny_model, TEXTS, precision="int8", **SIZES)
    alone = [score_documents(tiny_model, [text], precision="int8", **SIZES) for text in TEXTS]
    np.testing.assert_allclose([s.loss_sums[0] for s in alone], together.loss_sums, rtol=1e-6)


def test_the_model_given_keeps_its_weights_and_shares_what_is_not_rounded(tiny_model):
    before = score_documents(tiny_model, TEXTS, **SIZES)
    rounded = in_int8(tiny_model)
    assert in_int8(rounded) is rounded
    after = score_documents(tiny_model, TEXTS, **SIZES)
    np.testing.assert_array_equal(before.loss_sums, after.loss_sums)
    one, other = (each.module.transformer for each in (tiny_model, rounded))
    assert one.wte.weight is other.wte.weight
    assert other.h[0].mlp.c_fc.weight.nbytes * 4 == one.h[0].mlp.c_fc.weight.nbytes
    assert rounded.module.lm_head.weight is tiny_model.module.lm_head.weight


def test_a_model_loaded_in_int8_scores_the_same_and_in_nothing_else(
    make_module, tiny_model, tiny_tokenizer, tmp_path
):
    make_module().save_pretrained(str(tmp_path / "model"))
    (tmp_path / "model" / "tokenizer.json").write_text(tiny_tokenizer.to_json(), encoding="utf-8")
    loaded = load_language_model("./model", precision="int8", root=tmp_path)
    expected = score_documents(tiny_model, TEXTS, precision="int8", **SIZES)
    found = score_documents(loaded, TEXTS, precision="int8", **SIZES)
    np.testing.assert_allclose(found.loss_sums, expected.loss_sums, rtol=1e-6)
    with pytest.raises(InputError, match="were rounded to int8"):
        score_documents(loaded, TEXTS, **SIZES)


def test_the_id_of_scores_changes_with_all_that_decides_them():
    base = {"window_tokens": 32, "overlap_tokens": 16, "precision": "float32"}
    changes = [{}, {"window_tokens": 16}, {"overlap_tokens": 8}, {"precision": "int8"}]
    ids = {scoring_id("m", **{**base, **change}) for change in changes}
    assert len({*ids, scoring_id("n", **base)}) == 5

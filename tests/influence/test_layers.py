import dataclasses

import pytest
import torch

from databourse.errors import InputError, UnknownNameError
from databourse.influence.layers import layer_shapes, layer_weights, tracked_layers
from databourse.language_models.int8 import in_int8


class _Block(torch.nn.Module):
    """Another family's names: fused maps named for what they make, experts in a list."""

    def __init__(self):
        super().__init__()
        self.attention = torch.nn.Module()
        self.attention.query_key_value = torch.nn.Linear(4, 12)
        self.attention.dense = torch.nn.Linear(4, 4)
        self.wo = torch.nn.Linear(4, 4)
        self.wqkv = torch.nn.Linear(4, 12)
        self.dense_h_to_4h = torch.nn.Linear(4, 16)
        self.norm = torch.nn.LayerNorm(4)
        self.experts = torch.nn.ModuleList([torch.nn.Linear(4, 8)])


class _Other(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.project_in = torch.nn.Linear(4, 4)
        self.layers = torch.nn.ModuleList([_Block()])
        self.head = torch.nn.Linear(4, 9)

    def get_output_embeddings(self):
        return self.head


def test_layers_of_gpt2_are_its_four_maps_per_block_without_head_and_embeddings(tiny_model):
    blocks = [f"transformer.h.{block}." for block in (0, 1)]
    attention = ("attn.c_attn", "attn.c_proj")
    mlp = ("mlp.c_fc", "mlp.c_proj")
    for which, names in (("all", attention + mlp), ("attention", attention), ("mlp", mlp)):
        expected = tuple(block + name for block in blocks for name in names)
        assert tracked_layers(tiny_model, which) == expected


def test_shapes_of_gpt2_are_out_by_in_although_it_keeps_them_the_other_way(tiny_model):
    assert list(layer_shapes(tiny_model, tracked_layers(tiny_model, "all")).values()) == 2 * [
        (48, 16),
        (16, 16),
        (64, 16),
        (16, 64),
    ]


def test_layers_of_llama_are_four_and_three_maps_per_block(make_model):
    model = make_model("llama")
    attention = [f"self_attn.{each}_proj" for each in "qkvo"]
    mlp = [f"mlp.{each}_proj" for each in ("gate", "up", "down")]
    for which, names in (("all", attention + mlp), ("attention", attention), ("mlp", mlp)):
        expected = tuple(f"model.layers.{block}.{name}" for block in (0, 1) for name in names)
        assert tracked_layers(model, which) == expected
    shapes = layer_shapes(model, tracked_layers(model, "attention")[:4])
    assert list(shapes.values()) == [(16, 16), (8, 16), (8, 16), (16, 16)]


def test_names_of_other_families_are_told_apart(tiny_model):
    model = dataclasses.replace(tiny_model, module=_Other())
    attention = ("attention.query_key_value", "attention.dense", "wo", "wqkv")
    mlp = ("dense_h_to_4h", "experts.0")
    assert tracked_layers(model, "attention") == tuple(f"layers.0.{each}" for each in attention)
    assert tracked_layers(model, "mlp") == tuple(f"layers.0.{each}" for each in mlp)


def test_weights_map_inputs_to_outputs(tiny_model):
    for name, weight in layer_weights(tiny_model, tracked_layers(tiny_model, "all")).items():
        module = tiny_model.module.get_submodule(name)
        states = torch.linspace(-1, 1, weight.shape[1])
        torch.testing.assert_close(weight @ states + module.bias, module(states[None])[0])


def test_a_model_without_such_maps_is_refused(tiny_model):
    bare = _Other()
    del bare.layers[0].attention, bare.layers[0].wo, bare.layers[0].wqkv
    with pytest.raises(InputError, match="no linear map that counts as 'attention'"):
        tracked_layers(dataclasses.replace(tiny_model, module=bare), "attention")


def test_weights_in_int8_are_refused(make_model):
    with pytest.raises(InputError, match="int8"):
        tracked_layers(in_int8(make_model()), "all")


def test_an_unknown_layer_gets_the_nearest_names(tiny_model):
    with pytest.raises(UnknownNameError, match=r"transformer\.h\.0\.mlp\.c_fc"):
        layer_shapes(tiny_model, ["transformer.h.0.mlp.fc"])
    with pytest.raises(UnknownNameError):
        layer_shapes(tiny_model, ["lm_head"])


def test_layers_must_be_distinct_and_at_least_one(tiny_model):
    name = tracked_layers(tiny_model, "all")[0]
    for wrong in ([], [name, name]):
        with pytest.raises(InputError, match="distinct"):
            layer_shapes(tiny_model, wrong)
    with pytest.raises(InputError, match="'all', 'attention' or 'mlp'"):
        tracked_layers(tiny_model, "head")

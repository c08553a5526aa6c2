import json
import struct

import pytest

from databourse.ask_llm.model_folder import (
    check_folder,
    count_parameters,
    fingerprint,
    has_chat_template,
    kind_of_model,
)
from databourse.errors import ConfigError


def tensors(path, **shapes):
    """Write a safetensors file of float32 zeros, byte by byte."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    content = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content + bytes(end))


@pytest.fixture
def folder(tmp_path):
    config = {"architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text("{}")
    tensors(tmp_path / "model.safetensors", a=[2, 3], b=[5], c=[])
    return tmp_path


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "causal"),
        ({"architectures": ["GPT2LMHeadModel"]}, "causal"),
        ({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True},
         "encoder-decoder"),
        ({"is_encoder_decoder": True}, "encoder-decoder"),
    ],
)  # fmt: skip
def test_a_config_says_how_a_model_answers(folder, config, kind):
    (folder / "config.json").write_text(json.dumps(config))
    assert kind_of_model(folder) == check_folder(folder) == kind


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"architectures": ["BertForMaskedLM"]}', "BertForMaskedLM"),
        ("{}", "no architectures"),
        ("[]", "is not the config of a model"),
        ("{", "is not the config of a model"),
    ],
)
def test_a_config_that_says_neither_is_refused(folder, content, message):
    (folder / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        kind_of_model(folder)


def test_parameters_are_the_products_of_shapes(folder):
    assert count_parameters(folder) == 2 * 3 + 5 + 1


def test_a_file_that_was_cut_short_is_seen(folder):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for length in (len(whole) - 1, 40, 7, 0):
        file.write_bytes(whole[:length])
        with pytest.raises(ConfigError, match=r"not whole|cut short"):
            count_parameters(folder)
    file.write_bytes(b"\xff" * 100)
    with pytest.raises(ConfigError, match="is no safetensors file"):
        count_parameters(folder)


def test_parts_are_added_and_a_missing_one_is_named(folder):
    tensors(folder / "model-2.safetensors", d=[10])
    index = folder / "model.safetensors.index.json"
    named = {"a": "model.safetensors", "d": "model-2.safetensors"}
    index.write_text(json.dumps({"weight_map": named}))
    assert count_parameters(folder) == 12 + 10
    index.write_text(json.dumps({"weight_map": {**named, "e": "model-3.safetensors"}}))
    with pytest.raises(ConfigError, match=r"lacks model-3\.safetensors, which its model"):
        count_parameters(folder)
    index.write_text("{}")
    with pytest.raises(ConfigError, match="is not an index of weights"):
        count_parameters(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_that_changes_changes_the_fingerprint(folder, name):
    before = fingerprint(folder)
    assert fingerprint(folder) == before
    (folder / "README.md").write_text("about")
    assert fingerprint(folder) == before
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert fingerprint(folder) != before


def test_a_chat_template_is_found_where_models_keep_it(folder):
    before = fingerprint(folder)
    assert not has_chat_template(folder)
    settings = folder / "tokenizer_config.json"
    settings.write_text('{"chat_template": "{{ messages }}"}')
    assert has_chat_template(folder)
    settings.write_text("{}")
    assert not has_chat_template(folder)
    settings.unlink()
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert has_chat_template(folder)
    assert fingerprint(folder) != before

import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest

from databourse.encoders.conversion import converted_model, import_openvino
from databourse.encoders.made_models import is_intact

openvino = pytest.importorskip("openvino", reason="the extra 'cpu' is not installed")
transformers = pytest.importorskip("transformers", reason="the extra 'pipeline' is not installed")
import torch  # noqa: E402 - only where it is installed

TOKENS = np.array([[2, 5, 9, 1], [3, 7, 0, 0]])
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=1200,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    model = transformers.BertModel(config).eval()
    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    return folder, model


@pytest.fixture(scope="module")
def convert(tiny_model, tmp_path_factory):
    cache_dir = tmp_path_factory.mktemp("parent") / "new" / "cache"

    def run(fingerprint="f" * 64):
        return converted_model(
            tiny_model[0], name="tiny", fingerprint=fingerprint, cache_dir=cache_dir
        )

    return run


def vectors_of(model_file):
    compiled = openvino.Core().compile_model(str(model_file), "CPU")
    return np.array(compiled([TOKENS, MASK])[0])


def test_the_converted_model_pools_the_mean_under_the_mask_and_scales_it(convert, tiny_model):
    with torch.inference_mode():
        states = tiny_model[1](
            input_ids=torch.from_numpy(TOKENS), attention_mask=torch.from_numpy(MASK)
        )[0].numpy()
    means = np.stack([states[0].mean(axis=0), states[1, :2].mean(axis=0)])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    # bf16 has 8 bits of mantissa where the CPU uses it; float32 agrees to 1e-6.
    np.testing.assert_allclose(vectors_of(convert()), expected, atol=2e-2)
    assert (vectors_of(convert()) * expected).sum(axis=1).min() > 0.9999


def test_a_second_call_uses_what_the_first_one_wrote(convert):
    first = convert()
    before = {file.name: file.stat().st_mtime_ns for file in first.parent.iterdir()}
    assert convert() == first
    assert {file.name: file.stat().st_mtime_ns for file in first.parent.iterdir()} == before
    assert {file.name for file in first.parent.parent.iterdir()} == {first.parent.name}


@pytest.mark.parametrize("name", ["model.bin", "model.xml", "digests.json"])
def test_every_kind_of_damage_is_noticed(convert, tmp_path, name):
    entry = tmp_path / "entry"
    shutil.copytree(convert().parent, entry)
    assert is_intact(entry)
    content = bytearray((entry / name).read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (content, content[: len(content) // 2], b""):
        (entry / name).write_bytes(damaged)
        assert not is_intact(entry)
    (entry / name).unlink()
    assert not is_intact(entry)


def test_a_damaged_entry_is_made_again(convert, caplog):
    model_file = convert()
    expected = vectors_of(model_file)
    weights = model_file.parent / "model.bin"
    weights.write_bytes(weights.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING, logger="databourse"):
        assert convert() == model_file
    assert "is damaged: the model is made again" in caplog.text
    np.testing.assert_array_equal(vectors_of(model_file), expected)
    assert [file.name for file in model_file.parent.parent.iterdir()] == [model_file.parent.name]


def test_another_model_has_another_entry_made_without_a_word(convert, capfd):
    transformers.utils.logging.warning_once.cache_clear()  # what was said once is not said again
    assert convert("e" * 64) != convert()
    assert capfd.readouterr() == ("", "")


def test_importing_openvino_reports_to_nobody(tmp_path):
    code = (
        "import sys; from databourse.encoders.conversion import import_openvino;"
        "import_openvino(); import openvino.tools.ovc.telemetry_utils as utils;"
        "print(utils.tm.__name__, 'openvino_telemetry' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "PATH": ""},
    )
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "False"]
    assert list(tmp_path.iterdir()) == []


def test_openvino_is_the_installed_one():
    assert import_openvino() is openvino

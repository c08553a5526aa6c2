"""Models on disk: what is read, what is refused, and that scores come back the same."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from databourse.errors import ConfigError, IntegrityError, UnknownNameError
from databourse.language_models.loading import (
    folder_fingerprint,
    language_model_id,
    load_language_model,
    load_trained_model,
    save_trained_model,
)
from databourse.language_models.scoring import score_documents
from databourse.language_models.training import TrainingSettings, train_reference_model

TEXTS = ["the rain", "a storm and a flood", "", "hail and snow and wind"]
SIZES = {"window_tokens": 16, "overlap_tokens": 8, "threads": 1}


@pytest.fixture(scope="module")
def saved_folder(tmp_path_factory, make_module, tiny_tokenizer):
    folder = tmp_path_factory.mktemp("model")
    make_module().save_pretrained(str(folder))
    (folder / "tokenizer.json").write_text(tiny_tokenizer.to_json(), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path, saved_folder):
    return shutil.copytree(saved_folder, tmp_path / "model")


@pytest.fixture(scope="module")
def trained(tiny_tokenizer):
    ids, texts = zip(*[(f"d{i}", f"the rain and {i} storm") for i in range(12)], strict=True)
    settings = TrainingSettings(
        layers=1, width=16, heads=2, context_tokens=16, epochs=2, evaluations=2
    )
    return train_reference_model(
        ids, texts, tokenizer=tiny_tokenizer, settings=settings, seed=1, threads=1
    )


def test_a_saved_model_scores_as_before(folder, tiny_model):
    loaded = load_language_model(str(folder))
    expected = score_documents(tiny_model, TEXTS, **SIZES)
    found = score_documents(loaded, TEXTS, **SIZES)
    np.testing.assert_array_equal(found.token_counts, expected.token_counts)
    np.testing.assert_allclose(found.loss_sums, expected.loss_sums, rtol=1e-6)
    assert loaded.start_token_id == 0
    assert loaded.context_tokens == 32
    assert not [file for file in folder.iterdir() if file.suffix in {".bin", ".pt", ".pkl"}]


def test_a_relative_folder_starts_at_the_root(folder):
    assert load_language_model("./model", root=folder.parent).model_id.startswith("local@")


def test_the_id_changes_with_any_file_of_the_model(folder):
    before = folder_fingerprint(folder)
    assert folder_fingerprint(folder) == before
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_head": 1}))
    assert folder_fingerprint(folder) != before
    assert before[:16] not in load_language_model(str(folder)).model_id


def test_the_id_is_known_without_loading(folder):
    loaded = load_language_model("./model", root=folder.parent)
    assert language_model_id("./model", root=folder.parent) == loaded.model_id
    with pytest.raises(ConfigError, match="no such file"):
        language_model_id("./nowhere", root=folder.parent)


def test_the_start_token_is_the_one_that_the_tokenizer_names(folder, tiny_tokenizer):
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": {"content": "a"}}))
    assert load_language_model(str(folder)).start_token_id == tiny_tokenizer.id_of("a")


def test_a_trained_model_comes_back_with_its_story_and_scores(trained, tmp_path):
    save_trained_model(trained, tmp_path / "m")
    loaded = load_trained_model(tmp_path / "m")
    assert loaded.fingerprint == trained.fingerprint
    assert loaded.model.model_id == trained.model.model_id
    assert loaded.settings == trained.settings
    assert loaded.curve[1:] == trained.curve[1:]
    assert np.isnan(loaded.curve[0].train_loss)
    one, other = (score_documents(each.model, TEXTS, **SIZES) for each in (trained, loaded))
    np.testing.assert_array_equal(one.loss_sums, other.loss_sums)
    np.testing.assert_array_equal(one.entropy_sums, other.entropy_sums)
    assert sorted(file.name for file in (tmp_path / "m").glob("model*")) == ["model.safetensors"]


def test_changed_weights_of_a_trained_model_are_noticed(trained, tmp_path):
    save_trained_model(trained, tmp_path)
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(IntegrityError, match="truncated or changed"):
        load_trained_model(tmp_path)


def test_a_folder_without_its_story_is_no_reference_model(folder):
    with pytest.raises(ConfigError, match=r"training\.json"):
        load_trained_model(folder)


def test_weights_that_can_carry_code_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="safetensors"):
        load_language_model(str(folder))


def test_a_model_that_wants_to_run_its_own_code_is_refused(folder):
    code = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    config = {"model_type": "own", "auto_map": code}
    (folder / "own.py").write_text("raise SystemExit('ran')\n")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="cannot be loaded as a causal language model"):
        load_language_model(str(folder))


def test_a_model_without_all_its_weights_is_refused(folder):
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["transformer.ln_f.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks weights.*ln_f\.weight"):
        load_language_model(str(folder))


def test_a_tokenizer_of_another_model_is_refused(folder):
    from databourse.language_models.tokenizer import train_tokenizer

    larger = train_tokenizer(
        [f"{number * 7919} " * 2 for number in range(400)],
        vocabulary_size=400,
    )
    (folder / "tokenizer.json").write_text(larger.to_json(), encoding="utf-8")
    with pytest.raises(ConfigError, match="not of one model"):
        load_language_model(str(folder))


def test_names_and_devices_that_are_nothing_are_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_language_model("./nowhere", root=tmp_path)
    with pytest.raises(UnknownNameError):
        load_language_model("nowhere", root=tmp_path)
    (tmp_path / "bare").mkdir()
    with pytest.raises(ConfigError, match="not a model folder"):
        load_language_model("./bare", root=tmp_path)
    with pytest.raises(ConfigError, match="device 'nonsense'"):
        load_language_model(str(folder), device="nonsense")


def test_models_that_are_loaded_at_once_have_all_their_weights(tmp_path, trained):
    folders = []
    for number in range(4):
        folders.append(tmp_path / f"copy-{number}")
        save_trained_model(trained, folders[-1])
    torch = pytest.importorskip("torch")
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            loaded = list(pool.map(load_trained_model, folders))
            expected = trained.model.module.state_dict()
            for each in loaded:
                found = each.model.module.state_dict()
                assert all(torch.equal(found[name], expected[name]) for name in expected)

import pytest

from databourse.errors import ConfigError, ManifestError
from databourse.manifests import open_manifest
from databourse.tokenization import load_tokenizer

tokenizers = pytest.importorskip("tokenizers")
WORDS = {"a": 0, "ferry": 1, "[UNK]": 2}


def word_level(**changes):
    words = {**WORDS, **changes}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return tokenizer


@pytest.fixture
def trained(made, tmp_path):
    """Return a manifest counted by a tokenizer of three words, and the folder of that tokenizer."""
    folder = tmp_path / "model"
    folder.mkdir()
    word_level().save(str(folder / "tokenizer.json"))
    counted = load_tokenizer(str(folder)).tokenizer_id
    facts = made.facts(tokenizer={"id": counted, "name": "./model"})
    return open_manifest(made.publish(tmp_path / "manifests", facts=facts).path), folder


def test_the_same_tokenizer_passes_in_every_form(trained):
    manifest, folder = trained
    cut = word_level()
    cut.enable_truncation(8)
    cut.enable_padding()

    forms = [folder, str(folder / "tokenizer.json"), word_level(), cut]

    assert len({manifest.check_tokenizer(form) for form in forms}) == 1
    assert cut.truncation is not None  # the trainer's own object is left as it is
    assert manifest.info.tokenizer.id.endswith(manifest.check_tokenizer(folder))


def test_a_fast_tokenizer_of_transformers_is_told_from_another(trained):
    transformers = pytest.importorskip("transformers")
    manifest, _ = trained

    same = transformers.PreTrainedTokenizerFast(tokenizer_object=word_level())
    other = transformers.PreTrainedTokenizerFast(tokenizer_object=word_level(bay=3))

    # wrapping wrote another post processor, which adds no token to a count
    assert same.backend_tokenizer.to_str() != word_level().to_str()
    assert manifest.check_tokenizer(same) == manifest.info.tokenizer.id.rpartition("@")[2]
    with pytest.raises(ManifestError, match="fingerprint"):
        manifest.check_tokenizer(other)


def test_another_tokenizer_is_an_error_that_shows_both_fingerprints(trained, tmp_path):
    manifest, folder = trained
    word_level(bay=3).save(str(tmp_path / "other.json"))
    other = load_tokenizer(str(tmp_path / "other.json")).tokenizer_id.rpartition("@")[2]

    with pytest.raises(ManifestError) as refusal:
        manifest.check_tokenizer(tmp_path / "other.json")

    assert manifest.check_tokenizer(folder) in str(refusal.value)
    assert other in str(refusal.value)
    assert "'./model'" in str(refusal.value)


def test_what_is_no_tokenizer_is_refused(trained, tmp_path):
    manifest, _ = trained
    with pytest.raises(ConfigError, match="there is no tokenizer at"):
        manifest.check_tokenizer(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="a list does not say what it does"):
        manifest.check_tokenizer([1])


def test_the_default_tokenizer_is_that_of_its_folder(made, tmp_path):
    transformers = pytest.importorskip("transformers")
    from databourse.encoders.locations import default_model_folder

    counted = load_tokenizer("default").tokenizer_id
    facts = made.facts(tokenizer={"id": counted, "name": "default"})
    manifest = open_manifest(made.publish(tmp_path, facts=facts).path)

    own = transformers.AutoTokenizer.from_pretrained(default_model_folder())
    assert manifest.check_tokenizer(own) == counted.rpartition("@")[2]

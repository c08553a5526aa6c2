"""The tokenizer of the reference model."""

import numpy as np
import pytest

from databourse.errors import ConfigError, InputError
from databourse.language_models.tokenizer import START_TOKEN, read_tokenizer, train_tokenizer

TEXTS = [f"the {word} sat on the {word} mat" for word in ("cat", "dog", "owl", "größte", "猫")] * 3


def test_shuffled_texts_give_the_same_bytes():
    shuffled = [TEXTS[place] for place in np.random.default_rng(3).permutation(len(TEXTS))]
    assert shuffled != TEXTS
    one, other = (train_tokenizer(each, vocabulary_size=300) for each in (TEXTS, shuffled))
    assert one.to_json().encode() == other.to_json().encode()
    assert one.tokenizer_id == other.tokenizer_id


def test_the_most_frequent_pair_is_merged_first():
    # "ab" occurs 3 times, "bc" twice; 257 = 256 bytes and the start token, so one merge is left
    tokenizer = train_tokenizer(["ab", "ab", "abc", "bc"], vocabulary_size=258)
    merged = tokenizer.id_of("ab")
    assert merged == 257
    assert [each.tolist() for each in tokenizer.encode(["ab", "abab"])] == [[257], [257, 257]]
    assert [len(each) for each in tokenizer.encode(["bc", ""])] == [2, 0]


def test_a_start_token_in_a_text_is_spelled_out():
    tokenizer = train_tokenizer(TEXTS, vocabulary_size=300)
    (ids,) = tokenizer.encode([START_TOKEN])
    assert tokenizer.id_of(START_TOKEN) == 0
    assert 0 not in ids.tolist()
    assert len(ids) > 1


def test_every_unicode_text_can_be_encoded_by_bytes():
    tokenizer = train_tokenizer(["a"], vocabulary_size=257)
    assert tokenizer.vocabulary_size == 257
    assert [len(each) for each in tokenizer.encode(["猫", "é", "\x00"])] == [3, 2, 1]


@pytest.mark.parametrize("text", ["", "the cat", " 猫 größte\n\t", START_TOKEN, "\x00"])
def test_what_was_encoded_is_decoded(text):
    tokenizer = train_tokenizer(TEXTS, vocabulary_size=300)
    (ids,) = tokenizer.encode([text])
    assert tokenizer.decode(ids.tolist()) == tokenizer.decode(ids) == text


def test_special_tokens_cut_characters_and_unknown_ids_are_no_text():
    tokenizer = train_tokenizer(["ab"], vocabulary_size=257)
    (ids,) = tokenizer.encode(["a猫"])
    assert tokenizer.decode([0, *ids.tolist(), 0]) == "a猫"
    assert tokenizer.decode(ids.tolist()[:2]) == "a\ufffd"
    assert tokenizer.decode([int(ids[0]), 5_000]) == "a"
    with pytest.raises(InputError, match="ids must be >= 0, got -1"):
        tokenizer.decode([3, -1])


def test_a_saved_tokenizer_gives_the_same_ids(tmp_path):
    tokenizer = train_tokenizer(TEXTS, vocabulary_size=300)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
    again = read_tokenizer(tmp_path)
    assert again.tokenizer_id == tokenizer.tokenizer_id
    texts = [*TEXTS, START_TOKEN]
    assert [x.tolist() for x in again.encode(texts)] == [
        x.tolist() for x in tokenizer.encode(texts)
    ]


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(InputError, match="257"):
        train_tokenizer(TEXTS, vocabulary_size=256)
    with pytest.raises(InputError, match="Unicode"):
        train_tokenizer(["\ud800"], vocabulary_size=300)
    with pytest.raises(InputError, match="Unicode"):
        train_tokenizer(TEXTS, vocabulary_size=300).encode(["\ud800"])
    with pytest.raises(ConfigError, match=r"tokenizer\.json"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"is not a tokenizer\.json"):
        read_tokenizer(tmp_path)

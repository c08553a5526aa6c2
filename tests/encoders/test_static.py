"""The static encoder, distilled from a teacher whose vectors are known."""

import numpy as np
import pytest

from databourse.encoders.encoder import BatchPlan, TokenEncoder
from databourse.encoders.static import distilled_vectors, load_static_encoder
from databourse.errors import InputError

tokenizers = pytest.importorskip("tokenizers", reason="the extra 'pipeline' is not installed")
pytest.importorskip("safetensors", reason="the extra 'pipeline' is not installed")

WORDS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrst"]
CLS, SEP, FIRST = 3, 4, 5
D = 6


class TableModel:
    """The vector of a lone token is a row of a table. Counts the tokens it was asked about."""

    def __init__(self):
        rng = np.random.default_rng(1)
        rows = rng.normal(size=(len(WORDS), D)) + 1.0
        self.table = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        self.asked = 0

    def tokenize(self, texts):
        raise AssertionError("tokens are given as they are")

    def forward(self, token_ids, mask):
        assert (token_ids[:, 0] == CLS).all()
        assert (token_ids[:, 2] == SEP).all()
        assert mask.all()
        self.asked += len(token_ids)
        return self.table[token_ids[:, 1]]

    def enter_worker(self):
        pass

    def leave(self):
        pass


@pytest.fixture(name="teacher")
def _teacher():
    plan = BatchPlan(batch_tokens=32, length_multiple=8)
    return TokenEncoder("table@abc/r1", D, 20, TableModel(), plan, 1)


@pytest.fixture(name="tokenizer")
def _tokenizer():
    vocabulary = {word: place for place, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    return made


@pytest.fixture(name="load")
def _load(teacher, tokenizer, tmp_path):
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    def load():
        return load_static_encoder(teacher, tmp_path, cache_dir=tmp_path / "cache")

    return load


@pytest.fixture(name="small")
def _small(monkeypatch):
    monkeypatch.setattr("databourse.encoders.static._DIMENSION", 4)


def test_all_components_keep_the_angles_of_the_teacher_and_weigh_by_zipf(teacher, tokenizer):
    found = distilled_vectors(teacher, tokenizer, dimension=D)
    own = teacher.model.table[FIRST:].astype(np.float64)
    centred = own - own.mean(axis=0)
    rank = np.arange(len(WORDS)) + 2.0
    frequency = (1 / rank) / (1 / rank).sum()
    weights = 1e-4 / (1e-4 + frequency[FIRST:])
    expected = (centred @ centred.T) * np.outer(weights, weights)
    np.testing.assert_allclose(found[FIRST:] @ found[FIRST:].T, expected, rtol=1e-6, atol=1e-12)
    assert not found[:FIRST].any()  # they stand for no text


def test_fewer_components_are_the_ones_with_most_variance(teacher, tokenizer):
    found = distilled_vectors(teacher, tokenizer, dimension=2)
    own = teacher.model.table[FIRST:].astype(np.float64)
    left, spread, _ = np.linalg.svd(own - own.mean(axis=0), full_matrices=False)
    rank = np.arange(len(WORDS)) + 2.0
    weights = 1e-4 / (1e-4 + ((1 / rank) / (1 / rank).sum())[FIRST:])
    scores = found[FIRST:] / weights[:, None]
    np.testing.assert_allclose(np.abs(scores), np.abs(left[:, :2] * spread[:2]), atol=1e-6)


@pytest.mark.usefixtures("small")
def test_a_text_is_the_sum_of_its_tokens_scaled(load):
    encoder = load()
    rows = encoder.vectors
    expected = 2 * rows[WORDS.index("a")] + rows[WORDS.index("c")]
    found = encoder.encode(["a c a"])[0]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-7)
    assert encoder.dimension == 4
    assert found.dtype == np.float32


@pytest.mark.usefixtures("small")
def test_a_vector_does_not_depend_on_company_and_long_texts_are_read_to_the_end(load):
    encoder = load()
    rng = np.random.default_rng(5)
    texts = [" ".join(rng.choice(list("abcdefgh"), n)) for n in (1, 3, 40, 5_000, 7)]
    together = encoder.encode(texts)
    for text, vector in zip(texts, together, strict=True):
        assert (encoder.encode([text])[0] == vector).all()
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-6)
    longer = encoder.encode([texts[3] + " t" * 5_000])[0]
    assert abs(longer @ together[3]) < 0.999


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("text", ["", "   ", "zzz unknown"])
def test_a_text_without_a_known_token_has_a_vector_all_the_same(load, text):
    assert load().encode([text]).tolist() == [[1, 0, 0, 0]]


@pytest.mark.usefixtures("small")
def test_a_text_that_is_no_unicode_is_refused(load):
    with pytest.raises(InputError, match="valid Unicode"):
        load().encode(["a \ud800"])


@pytest.mark.usefixtures("small")
def test_a_teacher_is_asked_once_and_again_when_what_was_kept_is_damaged(load, teacher, tmp_path):
    first = load()
    assert teacher.model.asked == len(WORDS) - FIRST
    assert load().encoder_id == first.encoder_id
    assert teacher.model.asked == len(WORDS) - FIRST
    file = next((tmp_path / "cache").glob("static-*/vectors.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    again = load()
    assert teacher.model.asked == 2 * (len(WORDS) - FIRST)
    assert again.encoder_id == first.encoder_id
    assert (again.vectors == first.vectors).all()


def test_more_components_than_the_teacher_has_are_refused(teacher, tokenizer):
    with pytest.raises(InputError, match=f"1 .. {D}"):
        distilled_vectors(teacher, tokenizer, dimension=D + 1)

import numpy as np
import pytest

from databourse.dedup.shingles import WordHashes
from databourse.encoders.hashing import HashingEncoder
from databourse.errors import InputError


def test_a_vector_is_the_signed_counts_of_its_features_scaled_to_norm_one():
    hashes = WordHashes()
    expected = np.zeros(16)
    # "to be": two words, one pair, the triples of ^to$ and of ^be$.
    for feature in ("to", "be", "to be", "#^to", "#to$", "#^be", "#be$"):
        value = hashes[feature]
        expected[(value % 2**63) % 16] += -1 if value >= 2**63 else 1
    expected /= np.sqrt((expected**2).sum())
    found = HashingEncoder(16).encode(["To be!"])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], expected.astype(np.float32))


def test_vectors_have_norm_one_whatever_the_text():
    texts = ["", "!!!", "a", "数据市场", "word " * 5000, "é\u0301 \x00", "\ud800"]
    for dimension in (1, 2, 256):
        norms = np.linalg.norm(HashingEncoder(dimension).encode(texts), axis=1)
        np.testing.assert_allclose(norms, 1, atol=1e-6)  # float32 rounding of 256 entries


def test_texts_that_share_words_are_nearer_than_those_that_do_not():
    one, other, stranger = HashingEncoder().encode(
        [
            "the market maker quotes a price for every document",
            "a market maker quotes the price of each document",
            "photosynthesis turns sunlight into sugar",
        ]
    )
    assert one @ other > 0.5
    assert abs(one @ stranger) < 0.2


def test_unrelated_texts_have_products_around_zero():
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, rng.integers(0x4E00, 0x9FA0, 30))) for _ in range(60)]  # words of 1
    products = HashingEncoder(256).encode(texts)
    products = (products @ products.T)[np.triu_indices(60, 1)]
    # Signs make the estimate unbiased; 1770 products of s.d. 1/16 have a mean of s.d. 0.0015.
    assert abs(products.mean()) < 0.006
    assert products.std() == pytest.approx(1 / 16, rel=0.15)


def test_a_vector_does_not_depend_on_the_company():
    texts = [f"text {i} of some" for i in range(600)]
    told = []
    together = HashingEncoder().encode(texts, progress=told.append)
    alone = np.concatenate([HashingEncoder().encode([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)
    assert sum(told) == 600


def test_the_id_says_the_dimension():
    assert HashingEncoder(64).encoder_id == "hashing-64/r1"
    with pytest.raises(InputError, match="dimension must be >= 1, got 0"):
        HashingEncoder(0)

import numpy as np
import pytest

from databourse.errors import InputError


def test_length_is_the_natural_logarithm_of_the_tokens(score, pool):
    result = score("length", pool(n=3, tokens=np.array([1, 20, 10**12])))
    np.testing.assert_allclose(result.values, [0.0, 2.995732273553991, 27.63102111592855])


def test_a_document_without_tokens_is_refused(score, pool):
    with pytest.raises(InputError, match="'length': 2 of 3 documents have fewer than 1 token"):
        score("length", pool(n=3, tokens=np.array([4, 0, -1])))

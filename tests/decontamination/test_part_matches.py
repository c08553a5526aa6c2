import numpy as np
import pytest

from databourse.decontamination.part_matches import contains, distinct_parts
from databourse.decontamination.protected import Part


def numbers(*values):
    return np.array(values, dtype=np.int32)


@pytest.mark.parametrize(
    ("words", "part", "expected"),
    [
        ((5, 1, 2, 6), (1, 2), True),
        ((5, 1, 6, 2), (1, 2), False),
        ((1,), (1, 2), False),
        ((256, 0), (1,), False),  # the bytes of 1 straddle both words
        ((256, 0, 1), (1,), True),
        ((-1, 3), (3,), True),
    ],
)
def test_words_are_contained_in_order_without_a_gap_and_never_across_bytes(words, part, expected):
    assert contains(numbers(*words), numbers(*part)) is expected


def test_parts_of_equal_words_become_one_with_all_owners_and_remember_how_many_they_were():
    parts = distinct_parts(
        [Part(numbers(1, 2), (3, 5)), Part(numbers(7), (1,)), Part(numbers(1, 2), (0, 3))]
    )
    assert [(part.words.tolist(), part.owners, part.n_texts) for part in parts] == [
        ([1, 2], (0, 3, 5), 2),
        ([7], (1,), 1),
    ]

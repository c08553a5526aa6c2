"""Numbers in English words, by hand and there and back again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.decontamination.number_words import from_words, in_words, numbers_translated
from databourse.errors import InputError


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (20, "twenty"),
        (47, "forty-seven"),
        (100, "one hundred"),
        (1_205, "one thousand two hundred five"),
        (3_000_080, "three million eighty"),
    ],
)
def test_a_number_is_written_as_it_is_said(number, words):
    assert in_words(number) == words


@given(st.integers(0, 10**12 - 1))
def test_what_is_written_is_read_again(number):
    assert from_words(in_words(number)) == number


def test_and_is_understood_and_words_that_say_no_one_number_are_not():
    assert from_words("one hundred and five") == 105
    assert from_words("Twenty-Five") == 25
    for strange in ("five six", "twenty twelve", "hundred", "thousand million", "half"):
        assert from_words(strange) is None


def test_numbers_change_sides_and_the_rest_stays():
    text = "She had 1,200 eggs, ate seven, and sold twenty-five for $3.50 (9%) on the 4th; of 10."
    assert numbers_translated(text) == (
        "She had one thousand two hundred eggs, ate 7, and sold 25 for $3.50 (9%) on the 4th; "
        "of ten."
    )
    assert numbers_translated("no number") == "no number"
    assert numbers_translated("&#39;s 9999999999999") == "&#39;s 9999999999999"


@pytest.mark.parametrize("number", [-1, 10**12])
def test_numbers_that_cannot_be_written_are_refused(number):
    with pytest.raises(InputError, match="must be in"):
        in_words(number)

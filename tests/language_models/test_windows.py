"""Windows over documents longer than a model's context."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.language_models.windows import Window, windows_of


def test_ten_positions_in_windows_of_four_by_hand():
    # positions 0-3; then 4 must see two tokens: 3-6; then 7: 6-9
    assert windows_of(10, window_tokens=4, overlap_tokens=2) == [
        Window(0, 0, 4),
        Window(3, 4, 7),
        Window(6, 7, 10),
    ]


def test_the_last_window_is_moved_back_to_be_full():
    assert windows_of(8, window_tokens=4, overlap_tokens=2)[-1] == Window(4, 7, 8)


def test_a_prompt_is_seen_and_not_scored():
    assert windows_of(6, window_tokens=8, overlap_tokens=2, scored_from=4) == [Window(0, 4, 6)]
    assert windows_of(20, window_tokens=8, overlap_tokens=4, scored_from=18) == [Window(12, 18, 20)]


def test_no_position_gives_no_window():
    assert windows_of(0, window_tokens=4, overlap_tokens=2) == []
    assert windows_of(5, window_tokens=4, overlap_tokens=2, scored_from=5) == []


@given(st.integers(0, 200), st.integers(1, 40), st.data())
def test_each_position_predicts_once_with_enough_before_it(n_positions, size, data):
    overlap = data.draw(st.integers(1, size))
    prompt = data.draw(st.integers(0, n_positions))
    windows = windows_of(
        n_positions, window_tokens=size, overlap_tokens=overlap, scored_from=prompt
    )
    scored = [i for window in windows for i in range(window.scored_from, window.end)]
    assert scored == list(range(prompt, n_positions))
    for window in windows:
        assert 0 <= window.first <= window.scored_from < window.end <= n_positions
        assert window.end - window.first == min(size, n_positions)
        seen = window.scored_from - window.first + 1
        assert seen >= min(overlap, window.scored_from + 1)


def test_an_overlap_beyond_the_window_is_refused():
    for overlap in (0, 5):
        with pytest.raises(InputError, match="overlap_tokens"):
            windows_of(3, window_tokens=4, overlap_tokens=overlap)

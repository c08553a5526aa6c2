"""Windows: how a document longer than a model's context is read in parts.

A document is a sequence s_0 .. s_n of tokens, s_0 the start token. Position i predicts s_{i+1}.
Windows are runs of positions; each position predicts in exactly one window, the first in which at
least `overlap` tokens come before what it predicts.
"""

from __future__ import annotations

from typing import NamedTuple

from databourse.errors import InputError


class Window(NamedTuple):
    """Positions `first` to `end` - 1 are read; those from `scored_from` on predict."""

    first: int
    scored_from: int
    end: int


def windows_of(
    n_positions: int, *, window_tokens: int, overlap_tokens: int, scored_from: int = 0
) -> list[Window]:
    """Return the windows that predict from positions `scored_from` to n_positions - 1 once each.

    Args:
        n_positions: positions of the document, its tokens without the start token, >= 0.
        window_tokens: the most positions of a window, >= 1.
        overlap_tokens: the least tokens that a position sees, itself included, where the document
            has as many before it; 1 to window_tokens.
        scored_from: the first position to predict from: the tokens of the prompt.

    Returns:
        Windows in order; each has min(window_tokens, n_positions) positions, for the last one is
        moved back to be full: it sees more that way.

    Raises:
        InputError: a size is outside its domain.
    """
    check_window(window_tokens, overlap_tokens)
    windows = []
    position = scored_from
    while position < n_positions:
        first = max(0, min(position - overlap_tokens + 1, n_positions - window_tokens))
        end = min(first + window_tokens, n_positions)
        windows.append(Window(first, position, end))
        position = end
    return windows


def check_window(window_tokens: int, overlap_tokens: int) -> None:
    """Pass if windows of these sizes can be made.

    Raises:
        InputError: they cannot.
    """
    if not 1 <= overlap_tokens <= window_tokens:
        raise InputError(
            "overlap_tokens must be in [1, window_tokens], got "
            f"{overlap_tokens!r} with windows of {window_tokens!r} tokens"
        )

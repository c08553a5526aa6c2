"""Two selections beside each other: a case worked out by hand, and what must always hold."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.market.board import board_of
from databourse.what_if.comparison import GroupShift, Mover, Totals, compare_selections, movers

BOARD = board_of(
    pa.table(
        {
            "document_id": list("abcdefg"),
            "source": ["web", "web", "news", "news", "web", "news", "web"],
            "topic": ["x", "x", "y", "y", "z", "w", "v"],
            "tokens": [10, 20, 30, 40, 50, 60, 70],
            "signal_rarity": [0.0] * 7,
        }
    )
)
RANKING = np.array([4, 1, 6, 0, 3, 2, 5])


def chosen(names):
    return np.array([each in names for each in "abcdefg"])


def test_a_comparison_worked_out_by_hand():
    found = compare_selections(BOARD, before=chosen("abcf"), after=chosen("bdeg"), ranking=RANKING)

    assert (found.before, found.after, found.kept) == (
        Totals(4, 120),
        Totals(4, 180),
        Totals(1, 20),
    )
    assert found.entered.tolist() == [4, 6, 3]  # the dearest first
    assert found.left.tolist() == [5, 2, 0]  # the cheapest first
    assert found.overlap == 1 / 7
    assert found.topics == (
        GroupShift("v", 0, 1, 0, 70),
        GroupShift("w", 1, 0, 60, 0),
        GroupShift("z", 0, 1, 0, 50),
        GroupShift("x", 2, 1, 30, 20),
        GroupShift("y", 1, 1, 30, 40),
    )
    assert found.sources == (
        GroupShift("web", 2, 3, 30, 140),
        GroupShift("news", 2, 1, 90, 40),
    )


def test_groups_of_equal_change_are_in_order_of_name_and_unchanged_ones_come_last():
    found = compare_selections(BOARD, before=chosen("ace"), after=chosen("bde"), ranking=RANKING)

    assert [each.name for each in found.topics] == ["x", "y", "v", "w", "z"]
    assert {each.documents_after - each.documents_before for each in found.topics} == {0}


def test_two_empty_selections_overlap_in_full_and_an_empty_one_not_at_all():
    empty, some = chosen(""), chosen("ab")

    assert compare_selections(BOARD, before=empty, after=empty, ranking=RANKING).overlap == 1.0
    assert compare_selections(BOARD, before=empty, after=some, ranking=RANKING).overlap == 0.0
    assert compare_selections(BOARD, before=some, after=some, ranking=RANKING).overlap == 1.0
    assert compare_selections(BOARD, before=some, after=empty, ranking=RANKING).entered.size == 0


@given(
    before=st.sets(st.sampled_from("abcdefg")),
    after=st.sets(st.sampled_from("abcdefg")),
    ranking=st.permutations(range(7)),
)
def test_what_stays_and_enters_is_what_is_bought_and_groups_add_up(before, after, ranking):
    found = compare_selections(
        BOARD, before=chosen(before), after=chosen(after), ranking=np.array(ranking)
    )

    assert {"abcdefg"[place] for place in found.entered} == after - before
    assert {"abcdefg"[place] for place in found.left} == before - after
    places = [ranking.index(place) for place in found.entered]
    assert places == sorted(places)
    places = [ranking.index(place) for place in found.left]
    assert places == sorted(places, reverse=True)
    either = before | after
    assert found.overlap == (len(before & after) / len(either) if either else 1.0)
    for shifts in (found.topics, found.sources):
        assert sum(each.tokens_before for each in shifts) == found.before.tokens
        assert sum(each.tokens_after for each in shifts) == found.after.tokens
        assert sum(each.documents_before for each in shifts) == found.before.documents
        assert sum(each.documents_after for each in shifts) == found.after.documents


@pytest.mark.parametrize("name", ["before", "after", "ranking"])
def test_what_is_of_another_length_is_named(name):
    given_ = {"before": chosen("a"), "after": chosen("b"), "ranking": RANKING}

    with pytest.raises(InputError, match=rf"{name} must have .* 7 documents, got shape \(6,\)"):
        compare_selections(BOARD, **{**given_, name: given_[name][:-1]})


def test_movers_carry_the_names_and_prices_of_their_documents():
    ranks = np.array([4, 2, 6, 5, 1, 7, 3])
    prices = -ranks.astype(float)

    assert movers(BOARD, np.array([5, 0]), ranks=ranks, log_price_per_token=prices) == [
        Mover("f", "w", "news", 60, 7, -7.0),
        Mover("a", "x", "web", 10, 4, -4.0),
    ]
    assert movers(BOARD, np.array([], dtype=int), ranks=ranks, log_price_per_token=prices) == []


def test_tokens_beyond_the_whole_numbers_of_doubles_add_up():
    board = board_of(
        pa.table(
            {
                "document_id": ["a", "b"],
                "source": ["s", "s"],
                "topic": ["t", "t"],
                "tokens": [2**53, 1],
                "signal_rarity": [0.0, 1.0],
            }
        )
    )
    both = np.array([True, True])
    found = compare_selections(board, before=both, after=both, ranking=np.array([0, 1]))

    assert found.topics[0].tokens_after == found.after.tokens == 2**53 + 1

"""Planted leaks are what their kind says, and the same whoever asks."""

import numpy as np
import pytest

from databourse.decontamination.normalisation import words_of
from databourse.decontamination.overlap import KindRecall, find_contaminated
from databourse.decontamination.planted import (
    KINDS,
    drawn_examples,
    leaked_text,
    one_word_in_ten_changed,
    planted_leaks,
    repunctuated,
)
from databourse.decontamination.protected import ProtectedText
from databourse.errors import InputError

QUESTION = "If Anna's 12 ducks lay seven eggs, and each egg is sold for 2 dollars, what is earned?"
EXAMPLE = ProtectedText("test", "1", f"{QUESTION}\nIt is 168.", len(QUESTION) + 1)


def leaks_of(*examples, seed=0):
    leaks = planted_leaks(
        examples,
        least_words=8,
        around=lambda number: (f"before {number}", "after"),
        rng=np.random.default_rng(seed),
    )
    return {leak.kind: leak.text for leak in leaks}


def test_each_kind_changes_the_prompt_as_its_name_says():
    leaks = leaks_of(EXAMPLE)

    assert tuple(leaks) == KINDS
    assert leaks["exact"] == QUESTION
    assert leaks["recased"].startswith("iF aNNA'S 12 DUCKS")
    assert words_of(leaks["repunctuated"]) == words_of(QUESTION)
    assert leaks["repunctuated"] != QUESTION
    assert leaks["inside_document"] == f"before 0\n\n{QUESTION}\n\nafter"
    assert "twelve ducks lay 7 eggs" in leaks["numbers_translated"]
    assert leaks["half"] == "If Anna's 12 ducks lay seven eggs, and each"


def test_one_of_every_ten_words_is_another_and_the_rest_stays():
    words = [f"w{n}" for n in range(35)]
    changed = one_word_in_ten_changed(" ".join(words), ["x"], np.random.default_rng(1)).split()
    places = [n for n, (old, new) in enumerate(zip(words, changed, strict=True)) if old != new]
    assert [place // 10 for place in places] == [0, 1, 2]  # the last five are no ten
    assert {changed[place] for place in places} == {"x"}


def test_what_a_kind_would_not_change_is_not_planted():
    leaks = leaks_of(ProtectedText("test", "1", "a question without any number"))
    assert set(leaks) == {"exact", "recased", "repunctuated", "inside_document", "half"} - (
        set() if leaks.get("repunctuated") else {"repunctuated"}
    )
    assert leaks_of(ProtectedText("test", "1", "?"))["exact"] == "?"


def test_a_short_prompt_leaks_with_its_answer():
    pair = ProtectedText("test", "1", "How many ducks?\nSeven.", 16)
    assert leaked_text(pair, least_words=8) == pair.text
    assert leaked_text(pair, least_words=3) == "How many ducks?"


def test_curly_quotes_stand_for_straight_ones_and_marks_at_edges_go():
    text = repunctuated('"Don\'t!" -- he said', np.random.default_rng(0))
    assert words_of(text) == ["don", "t", "he", "said"]
    assert "Don\u2019t" in text
    assert "!" not in text


def test_a_sample_is_the_same_in_any_order_and_bounded_in_examples_and_words():
    examples = [ProtectedText("test", f"{n}", f"some words number {n}") for n in range(50)]

    def drawn(some, **bounds):
        return drawn_examples(
            some, **{"at_most": 10, "most_words": 1_000, **bounds}, rng=np.random.default_rng(2)
        )

    assert drawn(examples) == drawn(examples[::-1]) == drawn(examples * 2)
    assert len(drawn(examples)) == len(set(drawn(examples))) == 10
    assert len(drawn(examples, most_words=20)) == 5
    assert len(drawn(examples, most_words=0)) == 1
    assert drawn([]) == []


def test_recall_counts_what_would_be_dropped_by_kind_and_in_nothing_else():
    leaks = planted_leaks(
        [EXAMPLE], least_words=8, around=lambda _: ("", ""), rng=np.random.default_rng(0)
    )
    found = find_contaminated([(["d"], ["another text"])], [EXAMPLE], leaks=leaks)
    assert {each.kind: each.n_found for each in found.recall} == dict.fromkeys(KINDS, 1)
    assert found.documents.num_rows == 0
    assert found.n_documents == 1
    assert found.sets[0].n_examples_found == 0

    blind = find_contaminated(
        [], [EXAMPLE], leaks=leaks, overlap=1.0, long_ngram=None, numbers="kept", near_ngram=None
    )
    assert blind.recall[-1] == KindRecall("half", 1, 0)
    assert find_contaminated([], [EXAMPLE]).recall == ()


def test_least_words_out_of_bounds_are_refused():
    with pytest.raises(InputError, match="least_words must be >= 1"):
        planted_leaks([], least_words=0, around=lambda _: ("", ""), rng=np.random.default_rng(0))

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from databourse.reports import findings, measures
from databourse.reports.data import Budget, ContractResult


def plain(text):
    return text.replace("\u00a0", " ").replace("\u2212", "-")


def watched(inputs):
    return plain(" ".join(findings.watch_list(inputs, measures.candidates(inputs))))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"warnings": ("The run was resumed twice.",)}, "The run was resumed twice."),
        (
            {"contracts": (ContractResult("prices", "finite", "warning", False, 3),)},
            "Contract prices: the warning rule “finite” fails on 3 rows.",
        ),
        ({"budget": Budget("tokens", 40)}, "More was spent than the budget allows: 125.0 % of it."),
        ({"budget": Budget("tokens", 100)}, "Only 50.0 % of the budget was spent although"),
        ({"dropped": ()}, "The counts do not add up: 7 read less the dropped is 7, 4 candidates"),
        ({}, "Signal flat is constant: its trader had no influence on any price."),
        (
            {"signals": np.array([[2.0, 2.1], [0, 0.1], [5, 9], [1, 1.1]])},
            "Signals rarity and flat nearly say the same (rank correlation +1.00)",
        ),
        (
            {"contributions": np.array([[-1.0, 0], [1, 0], [0, 0], [2, 0]])},
            "Trader rarity pulls against the final prices (rank correlation -1.00).",
        ),
    ],
)
def test_what_deserves_a_second_look_is_said(tiny, change, sentence):
    assert sentence in watched(dataclasses.replace(tiny, **change))


def test_an_unremarkable_manifest_has_nothing_to_watch(make_inputs):
    assert watched(make_inputs(200)) == ""


def test_topics_without_a_purchase_are_named(make_inputs):
    inputs = make_inputs(40, n_topics=8, share=0.05)
    empty = [row.topic for row in inputs.topics if not row.selected_documents]
    assert 5 < len(empty) < 8
    expected = f"Nothing was bought from {len(empty)} topics: {', '.join(empty[:5])} and others."
    assert expected in watched(inputs)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget("tokens", 200), "25.0 % of a budget of 200 tokens."),
        (Budget("documents", 2), "100.0 % of a budget of 2 documents."),
        (Budget("share", 0.25), "100.0 % of a budget of 25.0 % of the candidates' tokens."),
    ],
)
def test_every_kind_of_budget_is_told_in_words(tiny, budget, words):
    inputs = dataclasses.replace(tiny, budget=budget)
    assert plain(findings.headline(inputs, measures.candidates(inputs))).endswith(words)


def test_the_largest_share_of_the_variance_is_named_first(tiny):
    # Shares by hand: rarity 0.293, length 0.605, topic 0.102 (see test_measures).
    decided, *_ = findings.three_things(tiny, measures.candidates(tiny))
    assert plain(decided.text).startswith("Length bias accounts for ")
    assert "; rarity for 29.3 % and topic mass for " in plain(decided.text)


def test_equal_prices_are_said_to_have_been_decided_by_the_document_id(make_inputs):
    inputs = make_inputs(1, n_topics=1, n_traders=1, share=1.0)
    decided, *_ = findings.three_things(inputs, measures.candidates(inputs))
    assert "ties were broken by document id" in decided.text


@pytest.mark.parametrize(
    ("exponent", "words"),
    [
        (0.0, "The length is ignored (length bias 0)"),
        (0.5, "to the power 0.5 (the length bias): twice as long, a document must be 1.41 times"),
    ],
)
def test_the_length_rule_is_told_in_words(tiny, exponent, words):
    documents = measures.candidates(tiny)
    per_token = documents.log_price - exponent * np.log(documents.tokens)
    documents = dataclasses.replace(documents, log_price_per_token=per_token)
    assert words in findings.length_rule(documents)


def test_everything_bought_is_said_to_need_no_choice(make_inputs):
    inputs = make_inputs(30, share=1.0)
    *_, line = findings.three_things(inputs, measures.candidates(inputs))
    assert line.text == "Every candidate was bought: the budget did not have to choose."

"""The reference model in print: what the curve, the table and the sentence say."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from collections import Counter

import pytest

from databourse.errors import InputError
from databourse.reports.page import render_report
from databourse.reports.training import FoldTraining, LossPoint, training_section

WHOLE = (
    LossPoint(0, None, 8.25),
    LossPoint(1_000_000, 6.5, 5.0),
    LossPoint(2_000_000, 4.5, 4.125),
)
FIRST = FoldTraining(0, 2, 1_234, WHOLE, 2, 2, 61.0, 120.0, is_new=True)
SECOND = dataclasses.replace(
    FIRST,
    fold=1,
    documents=1_300,
    curve=(*WHOLE, LossPoint(2_512_345, 4.0, 4.25), LossPoint(3_000_000, 3.9, 4.125)),
    evaluations=8,
    is_new=False,
)


def plain(text):
    return text.replace("\u00a0", " ").replace("\u2212", "-").replace("\u2013", "none")


def lead(*models):
    return training_section(models).paragraphs[0]


def caption(*models):
    return training_section(models).plots[0].caption


def cells(*models):
    (table,) = training_section(models).tables
    return [tuple(map(plain, row)) for row in table.rows]


def drawn(*models):
    svg = training_section(models).plots[0].svg
    return [text.text for text in ET.fromstring(svg).iter("text")]  # noqa: S314 - drawn by us


def ending(fold, *losses, **changes):
    """Return a fold whose held-out losses are these, a million tokens apart."""
    curve = tuple(LossPoint(1_000_000 * at, loss, loss) for at, loss in enumerate(losses))
    return dataclasses.replace(FIRST, fold=fold, folds=20, curve=curve, **changes)


def test_no_model_makes_no_section():
    assert training_section([]) is None


def test_one_sentence_says_what_was_trained_and_that_no_model_judged_what_it_saw():
    start = (
        "Documents were scored by small transformers trained on this pool: one for each of 2 "
        "folds, on documents of the other folds, so that no document was scored by a model that "
        "saw it; "
    )
    again = dataclasses.replace(FIRST, is_new=False)
    new = dataclasses.replace(SECOND, is_new=True)

    assert lead(FIRST, new) == start + "all of them were trained in this run."
    assert lead(FIRST, SECOND) == (
        start + "1 of 2 was trained in this run, the rest in an earlier one."
    )
    assert lead(again, SECOND) == (
        start + "none was trained in this run, since nothing that decides their weights has "
        "changed."
    )


def test_two_new_models_of_three_are_plural():
    models = [ending(0, 3.0), ending(1, 3.0), ending(2, 3.0, is_new=False)]
    assert "2 of 3 were trained in this run" in lead(*models)


def test_the_table_has_every_fold_in_order_with_its_lowest_loss():
    assert cells(SECOND, FIRST) == [
        ("fold 1", "1,234", "2,000,000", "no", "4.125", "2,000,000", "1 min 1 s", "2 min 0 s",
         "in this run"),
        ("fold 2", "1,300", "3,000,000", "yes", "4.125", "2,000,000", "1 min 1 s", "2 min 0 s",
         "earlier"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("losses", "evaluations", "patience", "is_early"),
    [
        ((8, 5, 4, 4.1, 4.2), 8, 2, True),
        ((8, 5, 4, 4.1, 4.2), 4, 2, False),  # the last evaluation there was
        ((8, 5, 4, 4.1), 8, 2, False),  # one without a gain is not two
        ((8, 5, 4, 4.1), 8, 1, True),
        ((8, 5, 4), 8, 2, False),  # gains to the last: it ran out of steps
        ((8, 9, 9), 8, 2, True),  # never a gain
        ((8,), 8, 1, False),
        ((None, None, None), 8, 2, True),
        ((None, None), 8, 2, False),
    ],
)
def test_training_stopped_early_if_the_last_evaluations_before_its_end_gained_nothing(
    losses, evaluations, patience, is_early
):
    model = ending(0, *losses, evaluations=evaluations, patience=patience)
    assert model.is_early == is_early


def test_a_gain_that_only_ties_is_none():
    assert SECOND.best == WHOLE[2]
    assert SECOND.is_early


def test_a_time_that_nobody_took_is_not_zero():
    (row,) = cells(dataclasses.replace(FIRST, seconds=0.0, cpu_seconds=0.0))
    assert row[6:8] == ("none", "none")


def test_two_folds_have_four_curves_that_are_named():
    texts = drawn(FIRST, SECOND)
    named = {"fold 1, held out", "fold 1, training", "fold 2, held out", "fold 2, training"}
    assert named <= set(texts)
    assert {"tokens trained on", "nats per token", "0", "800k", "1.6M"} <= set(texts)


def test_every_evaluation_is_drawn_but_no_training_loss_before_any_training():
    svg = training_section([FIRST, SECOND]).plots[0].svg
    root = ET.fromstring(svg)  # noqa: S314 - drawn by the code under test
    marks = Counter(
        value
        for mark in root.iter("use")
        for name, value in mark.attrib.items()
        if name.endswith("href")
    )
    legend = 1
    assert {3 + legend, 2 + legend, 5 + legend, 4 + legend} <= set(marks.values())


def test_the_caption_says_in_numbers_how_far_each_fold_fell():
    assert caption(FIRST, SECOND) == (
        "Mean loss per token of documents that were held out of training, and of those trained on "
        "since the point before. Fold 1 falls from 8.25 to 4.12 on held-out documents, after 2M "
        "tokens. Fold 2 falls from 8.25 to 4.12 on held-out documents, after 2M tokens."
    )


def test_of_many_folds_the_lowest_and_the_highest_are_drawn_and_all_are_in_the_table():
    models = [ending(fold, 8.0, 4.0 + (7 * fold % 20) / 10) for fold in range(20)]
    texts = [text for text in drawn(*models) if text.startswith("fold")]

    assert texts == ["fold 1, held out", "fold 1, training", "fold 18, held out",
                     "fold 18, training"]  # fmt: skip
    assert caption(*models).endswith(
        "Fold 1 falls from 8.00 to 4.00 on held-out documents, after 1M tokens. Fold 18 falls "
        "from 8.00 to 5.90 on held-out documents, after 1M tokens. Of 20 folds, those that end "
        "lowest and highest are drawn."
    )
    assert [row[0] for row in cells(*models)] == [f"fold {at}" for at in range(1, 21)]


def test_tokens_in_the_caption_are_short():
    model = dataclasses.replace(FIRST, curve=(WHOLE[0], LossPoint(7_372_800, 5.0, 4.0)))
    assert "after 7.37M tokens" in caption(model)


def test_a_fold_that_learnt_nothing_says_so():
    assert "Fold 1 never gets below its loss before training." in caption(ending(0, 8, 9, 9))
    (row,) = cells(ending(0, 8, 9, 9))
    assert row[4:6] == ("8.000", "0")


def test_losses_that_are_not_finite_are_neither_drawn_nor_printed():
    broken = ending(1, None, None)
    assert [text for text in drawn(broken, ending(0, 8.0, 4.0)) if "fold" in text] == [
        "fold 1, held out", "fold 1, training",
    ]  # fmt: skip
    assert training_section([broken]).plots == ()
    assert cells(broken)[0][4:6] == ("none", "none")


@pytest.mark.parametrize("models", [(FIRST, FIRST), (dataclasses.replace(FIRST, curve=()),)])
def test_folds_that_repeat_and_empty_curves_are_refused(models):
    with pytest.raises(InputError, match="one model per fold, with one evaluation at least"):
        training_section(models)


def test_the_order_of_the_models_changes_nothing():
    models = [ending(fold, 8.0, 4.0 + fold % 3) for fold in range(5)]
    assert training_section(models) == training_section(models[::-1])


def test_the_section_stands_in_the_page(tiny):
    page = render_report(dataclasses.replace(tiny, sections=(training_section([FIRST, SECOND]),)))
    assert "Reference language model" in page
    assert page.count('aria-label="How the reference model learnt"') == 1

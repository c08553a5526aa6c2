from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.reports import measures
from databourse.reports.data import Budget, FunnelStage, Table


def change(inputs, column, values):
    at = inputs.priced.column_names.index(column)
    return inputs.priced.set_column(at, column, [values])


def test_a_dict_of_arrays_says_the_same_as_a_table(tiny):
    arrays = {name: tiny.priced[name].to_numpy() for name in tiny.priced.column_names}
    again = measures.candidates(dataclasses.replace(tiny, priced=arrays))
    expected = measures.candidates(tiny)
    assert again.document_id.tolist() == expected.document_id.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(again.log_price, expected.log_price)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("rank", [1, 2, 2, 4], "every value from 1 to 4 once"),
        ("tokens", [10, 20, 0, 130], "tokens must be >= 1, got 0"),
        ("log_price", [-1.0, float("nan"), -2.0, -3.0], "log_price must be finite, got 1"),
        ("log_price_per_token", [-1.0, float("-inf"), -2.0, -3.0], "must be finite, got 1"),
        ("topic", ["x", None, "y", "y"], "must not hold nulls"),
        ("topic", ["x", "z", "y", "y"], "they differ in"),
        ("is_selected", [True, True, True, False], "hold 70 and 3"),
    ],
)
def test_a_column_that_contradicts_the_rest_is_refused(tiny, column, values, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(tiny, priced=change(tiny, column, values))


def test_a_missing_column_is_named(tiny):
    with pytest.raises(InputError, match=r"lacks the columns \['source'\]"):
        dataclasses.replace(tiny, priced=tiny.priced.drop_columns("source"))


def test_an_empty_candidate_list_is_refused(tiny):
    with pytest.raises(InputError, match="one value per document"):
        dataclasses.replace(tiny, priced=tiny.priced.slice(0, 0))


@pytest.mark.parametrize("name", ["contributions", "signals"])
def test_values_of_traders_must_be_finite_and_of_the_right_shape(tiny, name):
    values = np.zeros((4, 2))
    values[1, 1] = np.nan
    with pytest.raises(InputError, match=f"{name} must be finite, got 1 NaN"):
        dataclasses.replace(tiny, **{name: values})
    with pytest.raises(InputError, match=r"\(4, 2\), got \(4, 3\)"):
        dataclasses.replace(tiny, **{name: np.zeros((4, 3))})


def test_a_funnel_must_end_with_what_was_bought(tiny):
    with pytest.raises(InputError, match="must end with the 2 documents bought, got 3"):
        dataclasses.replace(tiny, funnel=(FunnelStage("bought", 3, "documents"),))


@pytest.mark.parametrize(("kind", "limit"), [("euros", 5), ("tokens", 0), ("share", float("nan"))])
def test_a_budget_needs_a_known_kind_and_a_positive_limit(tiny, kind, limit):
    with pytest.raises(InputError, match="budget"):
        dataclasses.replace(tiny, budget=Budget(kind, limit))


def test_a_table_with_a_short_row_is_refused():
    with pytest.raises(InputError, match="as many cells"):
        Table("loss", ("sampler", "loss"), (("market",),), "lr")

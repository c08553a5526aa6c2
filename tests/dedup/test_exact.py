import itertools

import numpy as np
import pyarrow as pa
import pytest

from databourse.dedup.exact import surviving_arrivals
from databourse.errors import InputError

SCHEMA = pa.schema(
    [
        ("document_id", pa.string()),
        ("source_rank", pa.int32()),
        ("label", pa.string()),
        ("metadata", pa.string()),
        ("prompt_characters", pa.int64()),
        ("locator", pa.string()),
    ]
)


def table(rows):
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], SCHEMA)


LADDER = [  # each row loses to the one before it, whatever comes further right
    ("a", 0, "sport", "{}", 4, "z#9"),
    ("a", 0, "world", "{}", 1, "a#0"),
    ("a", 0, None, "[]", 1, "a#0"),
    ("a", 0, None, "{}", 1, "b#0"),
    ("a", 0, None, "{}", 2, "a#0"),
    ("a", 0, None, "{}", None, "a#0"),
    ("a", 0, None, "{}", None, "a#1"),
    ("a", 0, None, None, 1, "a#0"),
    ("a", 1, "art", "{}", 1, "a#0"),
]


@pytest.mark.parametrize(("better", "worse"), list(itertools.pairwise(LADDER)))
def test_each_key_decides_before_the_ones_after_it(better, worse):
    assert surviving_arrivals(table([worse, better])).tolist() == [1]
    assert surviving_arrivals(table([better, worse])).tolist() == [0]


def test_survivors_do_not_depend_on_the_order_of_arrivals():
    rows = [*LADDER, *[("b", *row[1:]) for row in LADDER]]
    for seed in range(5):
        shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
        found = [shuffled[i] for i in surviving_arrivals(table(shuffled))]
        assert found == [LADDER[0], ("b", *LADDER[0][1:])]


def test_survivors_do_not_depend_on_how_rows_are_cut_into_chunks():
    whole = table(LADDER[::-1])
    cut = pa.concat_tables([whole.slice(0, 2), whole.slice(2, 1), whole.slice(3)])
    assert surviving_arrivals(cut).tolist() == surviving_arrivals(whole).tolist() == [8]


def test_no_arrivals_have_no_survivors():
    assert surviving_arrivals(table([])).tolist() == []


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="missing: metadata"):
        surviving_arrivals(table(LADDER).drop_columns(["metadata"]))


def test_an_arrival_without_locator_is_refused():
    with pytest.raises(InputError, match="column locator of arrivals must have no null, got 1"):
        surviving_arrivals(table([("a", 0, None, None, None, None)]))

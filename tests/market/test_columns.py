"""Columns between numpy and Arrow: the same numbers, on the same memory where it is possible."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from databourse.errors import InputError
from databourse.market.board import board_of
from databourse.market.columns import arrow_column, numpy_column
from databourse.warehouse.boards import store_board

NUMBERS = {
    "float64": [0.1, -0.0, 5e-324, float("inf"), float("nan")],
    "float32": [0.5, -1.5],
    "int64": [-(2**62), 0, 2**62],
    "int32": [-3, 0, 7],
    "int8": [-128, 127],
    "uint16": [0, 65535],
}


@pytest.mark.parametrize("dtype", NUMBERS)
def test_numbers_there_and_back_are_the_same_bits(dtype):
    values = np.array(NUMBERS[dtype], dtype=dtype)
    column = arrow_column(values)
    again = numpy_column(column)

    assert column.type == pa.from_numpy_dtype(values.dtype)
    assert column.null_count == 0
    assert len(column) == values.size
    assert again.dtype == values.dtype
    assert again.tobytes() == values.tobytes()


def test_one_piece_stays_on_the_same_memory():
    values = np.arange(5.0)
    there = arrow_column(values)
    values[2] = 99.0

    assert there.to_pylist() == [0.0, 1.0, 99.0, 3.0, 4.0]
    back = numpy_column(there)
    assert np.shares_memory(back, values)
    assert np.shares_memory(numpy_column(pa.chunked_array([there])), values)


@pytest.mark.parametrize("step", [2, -1])
def test_vectors_with_gaps_or_backwards_keep_their_order(step):
    values = np.arange(6)[::step]

    assert arrow_column(values).to_pylist() == values.tolist()


def test_pieces_and_slices_are_put_together_in_order():
    whole = arrow_column(np.arange(10.0))
    pieces = pa.chunked_array(
        [whole.slice(7), whole.slice(0, 0), whole.slice(1, 3), whole.slice(4, 1)]
    )

    assert numpy_column(pieces).tolist() == [7.0, 8.0, 9.0, 1.0, 2.0, 3.0, 4.0]
    assert numpy_column(whole.slice(3, 2)).tolist() == [3.0, 4.0]
    assert numpy_column(pa.chunked_array([whole.slice(3, 2)])).tolist() == [3.0, 4.0]


def test_nothing_stays_nothing_of_its_type():
    assert arrow_column(np.empty(0)).to_pylist() == []
    for empty in (pa.array([], pa.int32()), pa.chunked_array([], pa.int32())):
        found = numpy_column(empty)
        assert found.size == 0
        assert found.dtype == np.int32


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 2)), r"vector of numbers, got shape \(2, 2\) of float64"),
        (np.float64(3.0).reshape(()), r"got shape \(\)"),
        (np.array(["a"]), "of <U1"),
        (np.array([True]), "of bool"),
        (np.array([None]), "of object"),
        (np.array([1j]), "of complex128"),
        (np.array(["2026-01-01"], dtype="datetime64[D]"), "of datetime64"),
    ],
)
def test_what_is_no_vector_of_numbers_becomes_no_column(values, message):
    with pytest.raises(InputError, match=message):
        arrow_column(values)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1.0, None, None]), "got 2 nulls in a column of double"),
        (pa.chunked_array([pa.array([1.0]), pa.array([None], pa.float64())]), "got 1 nulls"),
        (pa.array(["a"]), "of string"),
        (pa.array([True, False, True]), "of bool"),
        (pa.array([1, 2, 3], pa.date32()), "of date32"),
        (pa.array([1], pa.timestamp("s")), "of timestamp"),
        (pa.array([[1.0]]), "of list"),
        (pa.array(["a"]).dictionary_encode(), "of dictionary"),
        (pa.nulls(0), "of null"),
    ],
)
def test_nulls_and_what_is_no_number_become_no_vector(column, message):
    with pytest.raises(InputError, match=message):
        numpy_column(column)


def test_a_stored_board_is_read_and_cleared_without_pandas(tmp_path):
    rows = {
        "document_id": ["a", "b"],
        "source": ["s", "s"],
        "topic": ["t", "t"],
        "tokens": [1, 2],
        "signal_x": [1.0, 2.0],
    }
    board_id = store_board(tmp_path, board_of(pa.table(rows)))
    script = """
import sys
from pathlib import Path
import duckdb
from databourse.market.clearing_sql import clear_board
from databourse.market.liquidity import EffectiveShare
from databourse.warehouse.boards import load_board
root = Path(sys.argv[1])
board = load_board(root, sys.argv[2])
clear_board(duckdb.connect(), board, weights={"x": 1.0}, liquidity=EffectiveShare(0.6),
            topic_mass="proportional", length_bias=1.0)
sys.exit("pandas" in sys.modules)
"""
    command = [sys.executable, "-c", script, str(tmp_path), board_id]
    done = subprocess.run(command, check=False)

    assert done.returncode == 0

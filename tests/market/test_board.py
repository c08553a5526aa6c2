"""The board: columns of a table in order, names that index them, traders taken out."""

import numpy as np
import pyarrow as pa
import pytest

from databourse.errors import InputError, UnknownNameError
from databourse.market.board import board_of, board_table


def table(**changes):
    columns = {
        "document_id": ["a", "b", "c"],
        "source": ["web", "news", "web"],
        "topic": ["y", "x", "y"],
        "tokens": [5, 6, 7],
        "signal_rarity": [0.5, 1.5, 2.5],
        "signal_length": [1, 2, 3],
    }
    return pa.table({**columns, **changes})


def test_names_are_in_order_and_indices_point_at_them():
    board = board_of(table())

    assert board.topics == ("x", "y")
    assert board.topic_index.tolist() == [1, 0, 1]
    assert board.sources == ("news", "web")
    assert board.source_index.tolist() == [1, 0, 1]
    assert board.traders == ("length", "rarity")
    assert board.signals["length"].dtype == np.float64
    assert board.signals["rarity"].tolist() == [0.5, 1.5, 2.5]


def test_a_table_read_in_pieces_with_dictionaries_of_their_own_gives_the_same_board():
    whole = table()
    pieces = []
    for position in range(3):
        piece = whole.slice(position, 1).to_pydict()
        piece["topic"] = pa.array(piece["topic"]).dictionary_encode()
        pieces.append(pa.table(piece))
    board, expected = board_of(pa.concat_tables(pieces)), board_of(whole)

    assert board.topics == expected.topics
    assert board.topic_index.tolist() == expected.topic_index.tolist()


def test_a_dictionary_with_names_that_no_document_has_shows_no_empty_topic():
    topics = pa.DictionaryArray.from_arrays(pa.array([2, 0, 2]), ["x", "unused", "y"])

    assert board_of(table(topic=topics)).topics == ("x", "y")


def test_the_table_of_a_board_gives_the_board():
    board = board_of(table())
    again = board_of(board_table(board))

    assert again.document_ids.to_pylist() == ["a", "b", "c"]
    assert again.topic_index.tolist() == board.topic_index.tolist()
    assert again.source_index.tolist() == board.source_index.tolist()
    assert again.tokens.tolist() == [5, 6, 7]
    assert {name: values.tolist() for name, values in again.signals.items()} == {
        "length": [1, 2, 3],
        "rarity": [0.5, 1.5, 2.5],
    }


def test_traders_can_be_taken_out_and_unknown_ones_are_named():
    board = board_of(table())

    assert board.of_traders(["rarity"]).traders == ("rarity",)
    assert board.of_traders(["rarity", "length"]).traders == ("length", "rarity")
    with pytest.raises(UnknownNameError, match="did you mean 'rarity'"):
        board.of_traders(["rarety"])
    with pytest.raises(InputError, match="at least one"):
        board.of_traders([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"document_id": ["a", "c", "b"]}, "ascend by document_id"),
        ({"document_id": ["a", "b", "b"]}, "ascend by document_id"),
        ({"topic": ["x", None, "y"]}, "needs a topic and a source"),
        ({"source": pa.array(["x", None, "y"])}, "needs a topic and a source"),
    ],
)
def test_rows_out_of_order_or_without_names_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        board_of(table(**changes))


def test_a_board_needs_its_columns_a_row_and_a_trader():
    with pytest.raises(InputError, match="tokens is missing"):
        board_of(table().drop_columns(["tokens"]))
    with pytest.raises(InputError, match="3 documents and 0 signals"):
        board_of(table().drop_columns(["signal_rarity", "signal_length"]))
    with pytest.raises(InputError, match="0 documents"):
        board_of(table().slice(0, 0))


def test_leaving_traders_out_keeps_everything_else():
    board = board_of(table())
    kept = board.of_traders(["rarity", "rarity"])

    assert kept.traders == ("rarity",)
    assert kept.signals["rarity"] is board.signals["rarity"]
    assert kept.document_ids.to_pylist() == board.document_ids.to_pylist()
    assert (kept.topics, kept.sources) == (board.topics, board.sources)
    assert kept.topic_index.tolist() == board.topic_index.tolist()
    assert kept.source_index.tolist() == board.source_index.tolist()
    assert kept.tokens.tolist() == board.tokens.tolist()
    assert kept.n_documents == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": pa.array([1, None, 3])},
        {"tokens": ["5", "6", "7"]},
        {"signal_rarity": pa.array([1.0, None, 2.0])},
        {"topic": pa.array(["x", None, "y"]).dictionary_encode()},
    ],
)
def test_what_is_missing_or_no_number_is_refused(changes):
    with pytest.raises(InputError):
        board_of(table(**changes))


def test_tokens_and_signals_of_any_width_become_whole_numbers_and_doubles():
    board = board_of(
        table(
            tokens=pa.array([5, 6, 7], pa.uint16()),
            signal_rarity=pa.array([0.5, 1.5, 2.5], pa.float32()),
        )
    )

    assert board.tokens.dtype == np.int64
    assert board.signals["rarity"].dtype == np.float64
    assert board.signals["rarity"].tolist() == [0.5, 1.5, 2.5]


def test_names_are_in_order_of_their_code_points():
    board = board_of(table(topic=["é", "Z", "a"], source=["10", "9", "😀"]))

    assert board.topics == ("Z", "a", "é")
    assert board.topic_index.tolist() == [2, 0, 1]
    assert board.sources == ("10", "9", "😀")
    assert board.source_index.tolist() == [0, 1, 2]

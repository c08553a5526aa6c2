"""Stored boards: named by their content, read back as they were, damage is named."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from databourse.errors import IntegrityError
from databourse.market.board import board_of, board_table
from databourse.warehouse.boards import load_board, store_board, sweep_boards


@pytest.fixture
def board():
    rng = np.random.default_rng(3)
    return board_of(
        pa.table(
            {
                "document_id": [f"{number:032x}" for number in range(500)],
                "source": rng.choice(["web", "news"], 500),
                "topic": rng.choice(["x", "y", "z"], 500),
                "tokens": rng.integers(1, 99, 500),
                "signal_rarity": rng.normal(size=500),
                "signal_length": [0.1 + 0.2, -0.0, 5e-324, 1.7e308, *rng.normal(size=496)],
            }
        )
    )


def test_what_is_stored_is_read_back_bit_for_bit(tmp_path, board):
    again = load_board(tmp_path, store_board(tmp_path, board))

    assert again.document_ids.to_pylist() == board.document_ids.to_pylist()
    assert (again.topics, again.sources) == (board.topics, board.sources)
    for name in ("topic_index", "source_index", "tokens"):
        assert getattr(again, name).tobytes() == getattr(board, name).tobytes()
    for trader, values in board.signals.items():
        assert again.signals[trader].tobytes() == values.tobytes()


def test_the_same_board_is_one_file_and_another_is_another(tmp_path, board):
    first = store_board(tmp_path, board)

    assert store_board(tmp_path, board) == first
    assert store_board(tmp_path, board.of_traders(["rarity"])) != first
    assert len(list((tmp_path / "boards").iterdir())) == 2


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_board_is_named(tmp_path, board, damage):
    board_id = store_board(tmp_path, board)
    path = tmp_path / "boards" / f"{board_id}.parquet"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes(data if damage == "flip" else data[:-10])

    with pytest.raises(IntegrityError, match=rf"{board_id}.*truncated or edited.*refresh"):
        load_board(tmp_path, board_id)
    path.unlink()
    with pytest.raises(IntegrityError, match=rf"{board_id}.*is missing"):
        load_board(tmp_path, board_id)


def test_what_a_killed_writer_left_is_swept(tmp_path, board):
    board_id = store_board(tmp_path, board)
    (tmp_path / "boards" / "4711.staging").write_bytes(b"half")
    sweep_boards(tmp_path)

    assert [path.name for path in (tmp_path / "boards").iterdir()] == [f"{board_id}.parquet"]


def test_the_id_is_that_of_the_file_and_does_not_depend_on_how_the_board_was_cut(tmp_path, board):
    board_id = store_board(tmp_path, board)
    data = (tmp_path / "boards" / f"{board_id}.parquet").read_bytes()
    table = board_table(board)
    cut = pa.concat_tables([table.slice(0, 100), table.slice(100, 7), table.slice(107)])

    assert hashlib.sha256(data).hexdigest() == board_id
    assert store_board(tmp_path, board_of(cut)) == board_id
    assert store_board(tmp_path, load_board(tmp_path, board_id)) == board_id


def test_a_board_of_several_row_groups_is_read_back_bit_for_bit(tmp_path):
    n_documents = 300_000  # a row group holds 262,144
    rng = np.random.default_rng(7)
    large = board_of(
        pa.table(
            {
                "document_id": [f"{number:08d}" for number in range(n_documents)],
                "source": pa.array(["web", "news"]).take(
                    pa.array((np.arange(n_documents) > 299_990).astype(int))
                ),
                "topic": pa.array(["y", "x"]).take(
                    pa.array((np.arange(n_documents) < 5).astype(int))
                ),
                "tokens": rng.integers(1, 99, n_documents),
                "signal_rarity": rng.normal(size=n_documents),
            }
        )
    )
    again = load_board(tmp_path, store_board(tmp_path, large))

    assert (again.topics, again.sources) == (("x", "y"), ("news", "web"))
    for name in ("topic_index", "source_index", "tokens"):
        assert getattr(again, name).tobytes() == getattr(large, name).tobytes()
    assert again.signals["rarity"].tobytes() == large.signals["rarity"].tobytes()
    assert again.document_ids.to_pylist() == large.document_ids.to_pylist()


def test_a_board_under_the_name_of_another_is_refused(tmp_path, board):
    one = store_board(tmp_path, board)
    other = store_board(tmp_path, board.of_traders(["rarity"]))
    folder = tmp_path / "boards"
    (folder / f"{other}.parquet").replace(folder / f"{one}.parquet")

    with pytest.raises(IntegrityError, match=rf"{one}.*its sha256 is {other[:16]}"):
        load_board(tmp_path, one)

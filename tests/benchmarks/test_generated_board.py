"""The generated board: what is planted in it is there, and the same shape gives the same bytes."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from databourse.market.standardisation import standardise_within_topics


def scores(board):
    """Return z-scores within topics, shape (n_documents, n_signals)."""
    values = np.column_stack(list(board.signals.values()))
    return standardise_within_topics(values, board.topic_index).scores


def test_the_same_shape_gives_the_same_file_byte_for_byte(generated_board, tmp_path):
    shape = generated_board.BoardShape(n_documents=3000, n_signals=3, seed=5)
    for name in ("first", "second"):
        generated_board.write_board(tmp_path / name, shape)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_another_seed_gives_other_documents(generated_board):
    first, second = (
        pa.concat_tables(generated_board.board_parts(generated_board.BoardShape(100, 1, seed)))
        for seed in (1, 2)
    )
    for column in ("document_id", "tokens", "signal_0"):
        assert first[column].to_pylist() != second[column].to_pylist()


def test_the_file_has_the_columns_of_a_board(generated_board, tmp_path):
    path = tmp_path / "board.parquet"
    generated_board.write_board(path, generated_board.BoardShape(500, 2, 5))
    table = pq.read_table(path)
    assert table.column_names == [
        "document_id",
        "source",
        "topic",
        "tokens",
        "signal_0",
        "signal_1",
    ]
    assert table["tokens"].type == pa.int64()
    assert table["signal_1"].type == pa.float64()
    assert all(len(text) == 32 and int(text, 16) >= 0 for text in table["document_id"].to_pylist())


@pytest.mark.parametrize("n_documents", [1, 2, 999, 1000, 1001, 2500])
def test_ids_ascend_also_from_one_row_group_to_the_next(generated_board, monkeypatch, n_documents):
    monkeypatch.setattr(generated_board, "_ROW_GROUP_DOCUMENTS", 1000)
    shape = generated_board.BoardShape(n_documents, 1, 5)
    parts = list(generated_board.board_parts(shape))
    ids = pa.concat_tables(parts)["document_id"].to_pylist()
    assert len(parts) == -(-n_documents // 1000)
    assert len(ids) == n_documents
    assert all(before < after for before, after in pairwise(ids))


def test_no_row_group_repeats_another(generated_board, monkeypatch):
    monkeypatch.setattr(generated_board, "_ROW_GROUP_DOCUMENTS", 50)
    first, second = generated_board.board_parts(generated_board.BoardShape(100, 1, 5))
    for column in ("tokens", "topic", "signal_0"):
        assert first[column].to_pylist() != second[column].to_pylist()


def test_topics_follow_zipf_s_law(board):
    counts = np.bincount(board.topic_index)
    assert counts.size == 256
    assert board.topics[0] == "topic-000"
    # The harmonic number of 256 is 6.124; six standard deviations of a binomial count.
    for rank in (1, 2, 10, 100):
        expected = 20_000 / 6.124 / rank
        assert abs(counts[rank - 1] - expected) < 6 * np.sqrt(expected)


def test_lengths_are_log_normal(board):
    logs = np.log(board.tokens)
    assert board.tokens.min() >= 1
    assert np.median(board.tokens) == pytest.approx(150, rel=0.03)
    assert logs.std() == pytest.approx(0.8, rel=0.03)
    assert abs(np.mean((logs - logs.mean()) ** 3)) / 0.8**3 < 0.1  # the log has no skew


def test_signals_are_correlated_within_topics(board):
    found = np.corrcoef(scores(board), rowvar=False)
    assert found[0, 3] == pytest.approx(0.36, abs=0.03)
    assert found[4, 7] == pytest.approx(0.36, abs=0.03)


def test_signal_1_alone_has_heavy_tails(board):
    largest = np.abs(scores(board)).max(axis=0)
    assert largest[1] > 10
    assert np.delete(largest, 1).max() < 7


def test_signal_2_alone_is_far_from_zero(board):
    means = np.array([abs(values.mean()) for values in board.signals.values()])
    assert means[2] == pytest.approx(1e6, rel=1e-4)
    assert np.delete(means, 2).max() < 10

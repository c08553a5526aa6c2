"""Boards: what each market was cleared from, as immutable Parquet files beside the tables.

A board is named by the sha256 of its file, so the same market is stored once, a damaged file is
known by its name, and reading one needs no table: nobody waits for a refresh that holds the tables.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from databourse.digests import file_sha256
from databourse.errors import IntegrityError
from databourse.market.board import Board, board_of, board_table

FOLDER = "boards"
_STAGING_SUFFIX = ".staging"
_ROW_GROUP_DOCUMENTS = 262_144
_NAMES = ["source", "topic"]


def board_path(warehouse_root: Path, board_id: str) -> Path:
    """Return where the board of that id is, stored or not."""
    return warehouse_root / FOLDER / f"{board_id}.parquet"


def store_board(warehouse_root: Path, board: Board) -> str:
    """Write a board, unless it is there; return its id, the sha256 of the file.

    The file is complete under its name or absent: it is written elsewhere, flushed and renamed.
    """
    folder = warehouse_root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    table = board_table(board)
    staging = folder / f"{os.getpid()}{_STAGING_SUFFIX}"
    pq.write_table(
        table,
        staging,
        compression="none",  # half again as large as zstd, and read in a third of its time
        row_group_size=_ROW_GROUP_DOCUMENTS,
        use_dictionary=_NAMES,
        write_statistics=False,
    )
    with staging.open("rb") as stream:
        os.fsync(stream.fileno())
    board_id = file_sha256(staging)
    staging.replace(board_path(warehouse_root, board_id))
    return board_id


def load_board(warehouse_root: Path, board_id: str) -> Board:
    """Return a stored board.

    Raises:
        IntegrityError: its file is missing, truncated or edited; names it.
    """
    path = board_path(warehouse_root, board_id)
    remedy = "refresh the pool again: the board is written anew"
    if not path.is_file():
        raise IntegrityError(f"board {path} is missing; {remedy}")
    found = file_sha256(path)
    if found != board_id:
        raise IntegrityError(
            f"board {path} was truncated or edited: its sha256 is {found[:16]}...; {remedy}"
        )
    return board_of(_read(path))


def sweep_boards(warehouse_root: Path) -> None:
    """Remove what a killed writer left half-written."""
    for path in (warehouse_root / FOLDER).glob(f"*{_STAGING_SUFFIX}"):
        path.unlink()


def _read(path: Path) -> pa.Table:
    # not pq.read_table: that imports pyarrow.dataset and pandas, which takes longer than reading
    with pq.ParquetFile(path, read_dictionary=_NAMES, memory_map=True) as file:
        return file.read(use_threads=False)  # with threads their start takes longer than the work

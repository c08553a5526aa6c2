"""JSON lines on all cores: blocks of whole lines, parsed by worker processes, in file order.

One process reads (and unpacks) the file and cuts it at line ends into blocks of about 1 MiB; the
workers turn blocks into tables of rows. Row numbers are counted by the reader, so rows, numbers and
their order are those of `json_lines.json_rows` with any number of workers. At most two blocks per
worker are under way, and a line that is longer than the limit is skipped, not held: memory is
bounded by a few blocks and a few lines of the largest size allowed.

A line is parsed by orjson. Whatever it refuses, and what it may read otherwise than Python's parser
(numbers beyond 64 bits, zeros with a sign, lists and objects inside), is parsed again by the slow
way of `json_lines`, which decides: speed never changes a row.
"""

from __future__ import annotations

import io
import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import orjson
import pyarrow as pa

from databourse.errors import SourceError
from databourse.orphans import end_with_parent
from databourse.sources.json_lines import PROBED_ROWS, ColumnProbe, json_row, refuse_whole_document
from databourse.sources.row_tables import row_table
from databourse.sources.rows import RejectedRow, Row, RowShape, source_row
from databourse.sources.streams import DamagedStreamError, LongLine
from databourse.sources.template import RowRejectedError

BLOCK_BYTES = 1 << 20

_HEAD_BYTES = 1024
_BLOCKS_PER_WORKER = 2
_BEYOND_64_BITS = 2.0**63

Piece = bytes | LongLine


@dataclass(frozen=True, slots=True)
class LineRules:
    """How a line becomes a row: its shape, and the most bytes that a line may have."""

    shape: RowShape
    max_row_bytes: int


def json_tables(
    stream: io.BufferedReader,
    rules: LineRules,
    *,
    uri: str,
    start_row: int,
    workers: int,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[pa.Table]:
    """Yield the rows of a JSON lines stream from `start_row` on, as tables.

    Args:
        stream: UTF-8, without byte order mark.
        rules: how a line becomes a row.
        uri: the file, for messages.
        start_row: the first row that is yielded.
        workers: processes that parse; with one, this process does it itself.
        block_bytes: size of a block, which changes no row.

    Raises:
        SourceError: as `json_lines.json_rows`, or a worker was stopped.
        DamagedStreamError: the stream is damaged; every row before that was yielded.
    """
    blocks = line_blocks(stream, rules.max_row_bytes, block_bytes=block_bytes)
    pieces = _from_row(_numbered(blocks, rules), start_row, rules)
    if start_row == 0:
        yield from _head(pieces, rules, uri)
    if workers > 1:
        try:
            yield from _parsed_by_workers(pieces, rules, workers)
        except BrokenProcessPool:
            raise SourceError(
                f"a process that parsed {uri} was stopped: memory may have run out, or the script "
                "that started the run lacks `if __name__ == '__main__':`; run again with "
                "compute.threads 1"
            ) from None
    else:
        for number, piece in pieces:
            yield parsed_piece(number, piece, rules)


def line_blocks(
    stream: io.BufferedReader, max_row_bytes: int, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[Piece]:
    """Yield a stream in blocks of whole lines, and lines too long to be held as `LongLine`.

    Raises:
        DamagedStreamError: the stream is damaged; every whole line before that was yielded.
    """
    held, cut = bytearray(), 0  # held[:cut] is whole lines
    try:
        while data := stream.read1(block_bytes):
            end = data.rfind(b"\n") + 1
            if end:
                cut = len(held) + end
            held += data
            if cut and len(held) >= block_bytes:
                yield bytes(held[:cut])
                del held[:cut]
                cut = 0
            if not cut and len(held) > max_row_bytes + 2:  # with room for the line end
                head = bytes(held[: min(_HEAD_BYTES, max_row_bytes + 2)])
                n_bytes, held = _skipped(stream, len(held), block_bytes)
                cut = held.rfind(b"\n") + 1
                yield LongLine(head, n_bytes)
    except DamagedStreamError:
        if cut:
            yield bytes(held[:cut])
        raise
    if held:
        yield bytes(held)


def parsed_piece(first_row: int, piece: Piece, rules: LineRules) -> pa.Table:
    """Return the rows of a piece, the first of them numbered `first_row`."""
    rows: list[Row] = []
    for line in _lines(piece, rules.max_row_bytes):
        rows.append(_row(first_row + len(rows), line, rules))
    return row_table(rows)


def _skipped(stream: io.BufferedReader, n_bytes: int, size: int) -> tuple[int, bytearray]:
    """Skip the rest of a line; return its length, `n_bytes` of it read, and what came behind it."""
    while data := stream.read1(size):
        end = data.find(b"\n") + 1
        if end:
            return n_bytes + end, bytearray(data[end:])
        n_bytes += len(data)
    return n_bytes, bytearray()


def _lines(piece: Piece, max_bytes: int) -> Iterator[Piece]:
    """Yield the lines of a piece that are rows, as `streams.bounded_lines` does."""
    if isinstance(piece, LongLine):
        yield piece
        return
    last = len(piece)
    start = 0
    while start < last:
        end = piece.find(b"\n", start) + 1 or last
        line = piece[start:end]
        start = end
        if len(line) > max_bytes and not _is_within(line, max_bytes):
            yield LongLine(line[: min(_HEAD_BYTES, max_bytes + 2)], len(line))
        elif not line.isspace():
            yield line


def _is_within(line: bytes, max_bytes: int) -> bool:
    most = max_bytes + 2 if line.endswith(b"\n") else max_bytes + 1
    return len(line) <= most and len(line.rstrip(b"\r\n")) <= max_bytes


def _numbered(pieces: Iterable[Piece], rules: LineRules) -> Iterator[tuple[int, Piece]]:
    number = 0
    for piece in pieces:
        yield number, piece
        number += sum(1 for _ in _lines(piece, rules.max_row_bytes))


def _from_row(
    pieces: Iterable[tuple[int, Piece]], start_row: int, rules: LineRules
) -> Iterator[tuple[int, Piece]]:
    """Leave out the rows before `start_row`."""
    for number, piece in pieces:
        if number >= start_row:
            yield number, piece
            continue
        held: list[bytes] = []
        row = number
        for row, line in enumerate(_lines(piece, rules.max_row_bytes), start=number):
            if row < start_row:
                continue
            if isinstance(line, bytes):
                held.append(line)
                continue
            yield row - len(held), b"".join(held)
            held = []
            yield row, line
        yield row + 1 - len(held), b"".join(held)


def _head(pieces: Iterator[tuple[int, Piece]], rules: LineRules, uri: str) -> Iterator[pa.Table]:
    """Yield the rows of the first pieces, until each wanted column was seen once."""
    probe = ColumnProbe(uri, rules.shape.columns())
    held: list[Row] = []
    try:
        for first, piece in pieces:
            for number, line in enumerate(_lines(piece, rules.max_row_bytes), start=first):
                row = json_row(number, line, rules.shape, probe, rules.max_row_bytes)
                if isinstance(row, RejectedRow) and number == 0:
                    refuse_whole_document(uri, line)
                held.append(row)
                probe.check(held)
                if len(held) >= PROBED_ROWS:
                    yield row_table(held)
                    held = []
            if probe.is_settled:
                break
        else:
            probe.finish()
    except DamagedStreamError:
        if held:
            yield row_table(held)
        raise
    if held:
        yield row_table(held)


def _parsed_by_workers(
    pieces: Iterator[tuple[int, Piece]], rules: LineRules, workers: int
) -> Iterator[pa.Table]:
    """Yield the tables of pieces in their order; what was read before damage comes before it."""
    started = multiprocessing.get_context("spawn")  # threads of this process may hold locks
    pool = ProcessPoolExecutor(workers, mp_context=started, initializer=end_with_parent)
    waiting: deque[Future[pa.Table]] = deque()
    damage: DamagedStreamError | None = None
    try:
        while True:
            try:
                number, piece = next(pieces)
            except StopIteration:
                break
            except DamagedStreamError as error:
                damage = error
                break
            waiting.append(pool.submit(parsed_piece, number, piece, rules))
            if len(waiting) > _BLOCKS_PER_WORKER * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
    if damage is not None:
        raise damage


def _row(number: int, line: Piece, rules: LineRules) -> Row:
    if isinstance(line, bytes):
        values = _plain_object(line)
        if values is not None:
            try:
                return source_row(number, values, rules.shape)
            except RowRejectedError:
                pass  # the slow way says why
    return json_row(number, line, rules.shape, None, rules.max_row_bytes)


def _plain_object(line: bytes) -> dict[str, object] | None:
    """Return an object whose values are read alike by every parser; None for all else."""
    try:
        values = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if type(values) is not dict:
        return None
    for value in values.values():
        kind = type(value)
        if kind is list or kind is dict:
            return None
        if kind is float and not 0 < abs(value) < _BEYOND_64_BITS:
            return None
    return values

"""Byte streams of files: unpacked as they are read, checked against their name's ending.

Memory is bounded whatever a file unpacks to: bytes are unpacked piece by piece, and a line longer
than its limit is skipped, not held.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from databourse.errors import SourceError
from databourse.sources.files import FoundFile, reading

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FileFormat = Literal["jsonl", "csv", "parquet"]
Packing = Literal["", "gzip", "Zstandard"]

_FORMATS: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
_PACKINGS: dict[str, Packing] = {".gz": "gzip", ".zst": "Zstandard"}
_BUFFER_BYTES = 1 << 18
_PIECE_BYTES = 1 << 14
_BOM = b"\xef\xbb\xbf"
_MAGIC = (
    ("gzip", re.compile(rb"\x1f\x8b")),
    ("Zstandard", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")),
    ("Parquet", re.compile(rb"PAR[1E][\x00-\x1f]")),
    ("zip", re.compile(rb"PK\x03\x04")),
    ("xz", re.compile(rb"\xfd7zXZ\x00")),
    ("bzip2", re.compile(rb"BZh[1-9]1AY")),
    ("UTF-16 or UTF-32 text", re.compile(rb"\xff\xfe|\xfe\xff|[\x01-\x7f]\x00|\x00[\x01-\x7f]")),
)


class DamagedStreamError(Exception):
    """A compressed stream ends too early or does not match its checksum; caught by the reader."""


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line that was skipped because it is longer than the limit.

    Attributes:
        head: its first bytes.
        length: all its bytes.
    """

    head: bytes
    length: int


@dataclass(frozen=True, slots=True)
class FileKind:
    """What the ending of a file's name says about its content."""

    format: FileFormat
    packing: Packing
    ending: str


def kind_of(uri: str, file_format: Literal["auto", "jsonl", "csv", "parquet"]) -> FileKind:
    """Return how a file is to be read; `auto` goes by the ending that `.gz` or `.zst` leaves.

    Raises:
        SourceError: no format is known for the ending, or a Parquet file is packed once more.
    """
    name = uri.rpartition("/")[2].lower()
    packed = next((ending for ending in _PACKINGS if name.endswith(ending)), "")
    ending = next((each for each in _FORMATS if name.removesuffix(packed).endswith(each)), "")
    if file_format == "auto" and not ending:
        known = ", ".join(_FORMATS)
        raise SourceError(
            f"the format of {uri} is unknown: its name must end in one of {known}, with .gz or "
            ".zst behind it if packed; or set format to jsonl, csv or parquet"
        )
    chosen = _FORMATS[ending] if file_format == "auto" else file_format
    if chosen == "parquet" and packed:
        raise SourceError(f"{uri} is a packed Parquet file, which cannot be read; unpack it first")
    return FileKind(chosen, _PACKINGS.get(packed, ""), ending)


@dataclass(frozen=True, slots=True)
class OpenStreams:
    """A file opened for reading lines: what is read, and what must be closed."""

    lines: io.BufferedReader
    stored: BinaryIO

    def __enter__(self) -> io.BufferedReader:
        """Return the unpacked bytes."""
        return self.lines

    def __exit__(self, *_: object) -> None:
        """Close both streams."""
        self.lines.close()
        self.stored.close()


def open_text(file: FoundFile, packing: Packing) -> OpenStreams:
    """Return the unpacked bytes of a UTF-8 text file, without its byte order mark.

    Reading raises `DamagedStreamError` where the packed bytes are truncated or damaged.

    Raises:
        SourceError: the content is not what the name's ending says; names both.
    """
    stored = file.open()
    try:
        plain = _unpacked(file, stored, packing)
    except BaseException:
        stored.close()
        raise
    return OpenStreams(plain, stored)


def bounded_lines(stream: io.BufferedReader, max_bytes: int) -> Iterator[bytes | LongLine]:
    """Yield the lines of a stream with their line ends; those longer than `max_bytes` skipped.

    The line end does not count. At most `max_bytes` and a buffer are held at a time.
    """
    while line := stream.readline(max_bytes + 2):  # room for the line end
        yield line if is_whole_line(line, max_bytes) else _skipped(stream, line)


def is_whole_line(line: bytes, max_bytes: int) -> bool:
    """Tell whether what `readline(max_bytes + 2)` gave is a line within the limit."""
    is_complete = line.endswith(b"\n") or len(line) < max_bytes + 2
    return is_complete and len(line.rstrip(b"\r\n")) <= max_bytes


def _skipped(stream: io.BufferedReader, line: bytes) -> LongLine:
    head, length = line[:1024], len(line)
    while not line.endswith(b"\n"):
        line = stream.readline(_BUFFER_BYTES)
        if not line:
            break
        length += len(line)
    return LongLine(head, length)


def check_magic(uri: str, head: bytes, expected: str) -> None:
    """Check the first bytes of a file against what its ending says.

    Args:
        uri: the file, for the message.
        head: its first bytes.
        expected: "gzip", "Zstandard", "Parquet", or "" for UTF-8 text.

    Raises:
        SourceError: they disagree.
    """
    found = next((name for name, magic in _MAGIC if magic.match(head)), "")
    if found == expected:
        return
    if found.startswith("UTF-16"):
        raise SourceError(
            f"{uri} must be UTF-8, but looks like {found}; "
            "convert it, for example with: iconv -f UTF-16 -t UTF-8"
        )
    came = (found or "something else") if head else "nothing: it has 0 bytes"
    raise SourceError(
        f"{uri} should hold {expected or 'UTF-8 text'} by its ending, but it holds {came}; "
        "fetch it again, or give it the ending of what it is"
    )


class _Unpacker(io.RawIOBase):
    """Bytes as a raw stream; failures of the stored file and of the packing told apart."""

    def __init__(self, file: FoundFile, packed: BinaryIO, packing: Packing) -> None:
        self._file = file
        self._packing = packing
        self._stream = _decompressor(packed, packing)
        self._failure: DamagedStreamError | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        data = self._read(len(view))
        view[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        if self._failure is not None:  # a decompressor that failed once must not go on
            raise self._failure
        try:
            with reading(self._file):
                return self._unpacked(size)
        except DamagedStreamError as error:
            self._failure = error
            raise

    def _unpacked(self, size: int) -> bytes:
        # What comes before a truncation is given: read1 and small pieces keep it.
        read = getattr(self._stream, "read1", self._stream.read)
        try:
            return bytes(read(min(size, _PIECE_BYTES) if self._packing else size))
        except (EOFError, zlib.error) as error:
            raise DamagedStreamError(str(error)) from None
        except OSError as error:
            if self._packing and error.errno is None:  # the packing's own failure
                raise DamagedStreamError(str(error)) from None
            raise


def _decompressor(stored: BinaryIO, packing: Packing) -> BinaryIO:
    if packing == "gzip":
        return gzip.GzipFile(fileobj=stored, mode="rb")  # type: ignore[return-value]
    if packing == "Zstandard":
        import pyarrow as pa

        source = pa.PythonFile(stored, mode="r")
        return pa.CompressedInputStream(source, "zstd")  # type: ignore[no-any-return]
    return stored


def _unpacked(file: FoundFile, stored: BinaryIO, packing: Packing) -> io.BufferedReader:
    with reading(file):
        head = stored.read(8)
        stored.seek(0)
    if head or packing:
        check_magic(file.uri, head, packing)
    raw = _Unpacker(file, stored, packing)
    plain = cast("io.BufferedReader", io.BufferedReader(raw, _BUFFER_BYTES))
    if packing:
        check_magic(file.uri, _peeked(plain), "")
    if _peeked(plain)[:3] == _BOM:
        plain.read(3)
    return plain


def _peeked(stream: io.BufferedReader) -> bytes:
    try:
        return stream.peek(8)[:8]
    except DamagedStreamError:  # raised again, with its place, when the rows are read
        return b""

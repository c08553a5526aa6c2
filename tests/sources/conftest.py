import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest

from databourse.sources.files import find_files
from databourse.sources.reading import ReadRules, read_rows
from databourse.sources.rows import SourceRow, row_shape


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


@pytest.fixture
def store(tmp_path):
    """Write bytes, text, or objects as JSON lines; packed as the name says."""

    def write(name, content):
        if isinstance(content, list):
            content = "".join(json.dumps(each) + "\n" for each in content)
        data = content.encode() if isinstance(content, str) else content
        if name.endswith(".gz"):
            data = gzip.compress(data, compresslevel=1, mtime=0)
        elif name.endswith(".zst"):
            data = zstd(data)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def read(tmp_path):
    """All rows of one file; keywords are those of row_shape and of ReadRules."""

    def run(name, *, start_row=0, **settings):
        rules = {
            key: settings.pop(key)
            for key in ("file_format", "columns", "delimiter", "max_row_bytes")
            if key in settings
        }
        if not {"text", "prompt"} & set(settings):
            settings["text"] = "{text}"
        root = tmp_path if "://" not in str(name) else Path("/")
        (file,) = find_files([str(name)], root=root, data_roots=[".", "memory://"])
        return list(read_rows(file, row_shape(**settings), ReadRules(**rules), start_row=start_row))

    return run


@pytest.fixture
def outcomes():
    """What became of each row, in short: its text, or the reason in angle brackets."""

    def short(rows):
        assert [row.row_number for row in rows] == list(range(len(rows)))
        return [row.text if isinstance(row, SourceRow) else f"<{row.reason}>" for row in rows]

    return short

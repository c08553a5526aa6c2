import csv
import io
import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from databourse.digests import document_id
from databourse.errors import SourceError
from databourse.sources.files import find_files
from databourse.sources.reading import ReadRules, check_file, read_rows
from databourse.sources.rows import SourceRow, row_shape

SHAPE = row_shape(prompt="{q}: ", completion="{a}", label="y", metadata=["m"])
CELL = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
ROW = st.fixed_dictionaries({"q": CELL, "a": CELL, "y": CELL, "m": CELL})


def in_every_format(rows, folder):
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    sink = io.StringIO()
    writer = csv.DictWriter(sink, ["m", "q", "a", "y"], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    (folder / "x.csv").write_bytes(sink.getvalue().encode())
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in "aqym"}
    pq.write_table(pa.table(columns), folder / "x.parquet", row_group_size=3)


def rows_of(folder, name, start_row=0):
    (file,) = find_files([name], root=folder, data_roots=["."])
    return list(read_rows(file, SHAPE, ReadRules(), start_row=start_row))


def essence(row):
    return row if isinstance(row, SourceRow) else (row.row_number, row.reason, row.detail)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(rows=st.lists(ROW, min_size=1, max_size=8))
def test_the_same_rows_in_every_format_are_the_same_documents(tmp_path, rows):
    in_every_format(rows, tmp_path)

    found = {name: rows_of(tmp_path, name) for name in ("x.jsonl", "x.csv", "x.parquet")}

    essences = {name: [essence(row) for row in rows] for name, rows in found.items()}
    assert essences["x.jsonl"] == essences["x.csv"] == essences["x.parquet"]
    assert len(found["x.jsonl"]) == len(rows)
    ids = [
        {document_id(row.text) for row in rows if isinstance(row, SourceRow)}
        for rows in found.values()
    ]
    assert ids[0] == ids[1] == ids[2]


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet"])
def test_reading_from_any_row_gives_the_tail_of_a_whole_reading(tmp_path, name):
    rows = [{"q": "q" if n % 3 else "", "a": f"{n}\nb", "y": str(n), "m": ""} for n in range(10)]
    rows[4]["q"] = rows[4]["a"] = "\0"
    in_every_format(rows, tmp_path)
    whole = rows_of(tmp_path, name)

    assert [row.row_number for row in whole] == list(range(10))
    for start_row in range(12):
        assert rows_of(tmp_path, name, start_row) == whole[start_row:]


def test_reading_goes_on_behind_bad_rows_and_blank_lines(store, read):
    store("x.jsonl", '{"text": "a"}\n\nbroken\n{"text": 1}\n[]\n\n{"text": "z"}\n')
    store("x.csv", 'text,y\na,1\n\nbroken\n"x\ny",2\n"a"b,3\n\nz,4\n')

    for name in ("x.jsonl", "x.csv"):
        whole = read(name)
        assert len(whole) == 5
        assert [read(name, start_row=start) for start in range(6)] == [
            whole[start:] for start in range(6)
        ]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".csv.zst", ".parquet"])
def test_object_stores_are_read_like_local_files(tmp_path, store, ending):
    name = f"x{ending}"
    if ending == ".parquet":
        pq.write_table(pa.table({"text": ["ä", "b"]}), tmp_path / name)
    else:
        store(name, '{"text": "ä"}\n{"text": "b"}' if "json" in ending else "text\nä\nb\n")
    memory = fsspec.filesystem("memory")
    memory.pipe(f"/reading/{name}", (tmp_path / name).read_bytes())
    files = [
        *find_files([name], root=tmp_path, data_roots=["."]),
        *find_files([f"memory://reading/*{ending}"], root=tmp_path, data_roots=["memory://"]),
    ]

    shape = row_shape(text="{text}")
    local, remote = (list(read_rows(file, shape, ReadRules())) for file in files)
    memory.rm("/reading", recursive=True)

    assert local == remote
    assert [row.text for row in local] == ["ä", "b"]


def test_the_format_can_be_set_where_the_ending_says_none(store, read, outcomes):
    store("lines.txt.gz", [{"text": "a"}])

    assert outcomes(read("lines.txt.gz", file_format="jsonl")) == ["a"]


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet"])
def test_a_file_that_changes_while_it_is_read_is_one_error(tmp_path, name):
    rows = [{"q": "q", "a": str(number), "y": "", "m": ""} for number in range(5)]
    in_every_format(rows, tmp_path)
    (file,) = find_files([name], root=tmp_path, data_roots=["."])
    state = file.state()
    assert len(list(read_rows(file, SHAPE, ReadRules(), state=state))) == 5

    stream = read_rows(file, SHAPE, ReadRules(), state=state)
    next(stream)
    with (tmp_path / name).open("ab") as end:
        end.write(b" ")

    with pytest.raises(SourceError, match=f"{name} changed after its digest was taken"):
        list(stream)
    with pytest.raises(SourceError, match=f"{name} changed"):
        next(read_rows(file, SHAPE, ReadRules(), state=state))


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet"])
def test_a_check_finds_a_missing_column_and_passes_good_files(tmp_path, name):
    in_every_format([{"q": "q", "a": "a", "y": "", "m": ""}], tmp_path)
    (file,) = find_files([name], root=tmp_path, data_roots=["."])

    check_file(file, SHAPE, ReadRules())
    with pytest.raises(SourceError, match="column 'label'"):
        check_file(file, row_shape(text="{a}", label="label"), ReadRules())


def test_a_check_reads_only_the_beginning(store):
    path = store("x.jsonl.gz", [{"text": str(number)} for number in range(20_000)])
    path.write_bytes(path.read_bytes()[:-100])
    (file,) = find_files([path.name], root=path.parent, data_roots=["."])

    check_file(file, row_shape(text="{text}"), ReadRules())
    with pytest.raises(SourceError, match="truncated"):
        list(read_rows(file, row_shape(text="{text}"), ReadRules()))


def test_files_are_closed_when_reading_stops_early(store):
    path = store("x.jsonl.zst", [{"text": "a"}] * 1000)
    open_files = Path("/proc/self/fd")
    if not open_files.is_dir():
        pytest.skip("needs /proc to see open files")
    (file,) = find_files([path.name], root=path.parent, data_roots=["."])
    stream = read_rows(file, row_shape(text="{text}"), ReadRules())
    next(stream)

    stream.close()

    links = {str(link.readlink()) for link in open_files.iterdir() if link.is_symlink()}
    assert str(path) not in links

import io
import json
import subprocess
import tarfile
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest

from databourse.digests import document_id
from databourse.errors import InputError, IntegrityError, ManifestError, UnknownNameError
from databourse.manifests import export_manifest, open_manifest, withdraw
from databourse.manifests.seals import unseal

FORMATS = ("jsonl", "parquet", "webdataset", "mds")


def jsonl_rows(folder):
    return [
        json.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text().removesuffix("\n").split("\n")
    ]


def parquet_rows(folder):
    return [
        row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def webdataset_rows(folder):
    rows = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            names = tar.getnames()
            assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}
            for meta, text in zip(names[::2], names[1::2], strict=True):
                assert meta.removesuffix(".json") == text.removesuffix(".txt")
                row = json.load(tar.extractfile(meta))
                rows.append(row | {"text": tar.extractfile(text).read().decode()})
    return rows


def mds_rows(folder):
    """Take MDS apart as its format says: another reading than the writer's."""
    rows = []
    for shard in json.loads((folder / "index.json").read_text())["shards"]:
        data = (folder / shard["raw_data"]["basename"]).read_bytes()
        assert len(data) == shard["raw_data"]["bytes"]
        (count,) = np.frombuffer(data[:4], "<u4")
        assert count == shard["samples"]
        offsets = np.frombuffer(data[4 : 4 + 4 * (count + 1)], "<u4")
        head = json.loads(data[4 * (count + 2) : offsets[0]])
        assert {key: shard[key] for key in head} == head
        assert (head["version"], head["format"]) == (2, "mds")
        assert offsets[-1] == len(data)
        for start, end in pairwise(offsets):
            rows.append(mds_sample(io.BytesIO(data[start:end]), shard))
    return rows


def mds_sample(sample, shard):
    sizes = [size or int(np.frombuffer(sample.read(4), "<u4")[0]) for size in shard["column_sizes"]]
    read = {
        "str": lambda data: data.decode(),
        "json": json.loads,
        "int64": lambda data: int(np.frombuffer(data, "<i8")[0]),
        "float64": lambda data: float(np.frombuffer(data, "<f8")[0]),
    }
    named = zip(shard["column_names"], shard["column_encodings"], sizes, strict=True)
    return {name: read[encoding](sample.read(size)) for name, encoding, size in named}


READERS = {
    "jsonl": jsonl_rows,
    "parquet": parquet_rows,
    "webdataset": webdataset_rows,
    "mds": mds_rows,
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_holds_every_column_of_every_document(published, tmp_path, form):
    manifest = open_manifest(published)

    done = export_manifest(manifest, tmp_path / "out", format=form)

    assert READERS[form](done.path) == manifest.to_arrow().to_pylist()
    assert (done.documents, done.tokens, done.has_text) == (5, 55, True)


@pytest.mark.parametrize("form", FORMATS)
def test_files_are_cut_by_size_and_hold_the_same_rows_in_order(made, tmp_path, form):
    texts = [(f"{index} " + "word " * 200, "gazette", "0", 1, -1.0, None) for index in range(40)]
    path = made.publish(tmp_path, documents=made.documents(texts=texts), shard_rows=3).path
    manifest = open_manifest(path)

    done = export_manifest(manifest, tmp_path / "out", format=form, file_bytes=1 << 13)

    sizes = [(done.path / name).stat().st_size for name in done.files if name != "index.json"]
    assert len(sizes) > 4
    if form != "parquet":  # cut before compression, and with a footer of several kB
        assert max(sizes) <= (1 << 13) + 1024  # a tar file ends in two more blocks
    assert READERS[form](done.path) == manifest.to_arrow().to_pylist()


@pytest.mark.parametrize("form", FORMATS)
def test_two_exports_are_equal_byte_for_byte_and_pass_sha256sum(published, tmp_path, form):
    one, two = (
        export_manifest(open_manifest(published), tmp_path / name, format=form).path
        for name in ("one", "two")
    )

    contents = [{path.name: path.read_bytes() for path in each.iterdir()} for each in (one, two)]
    assert contents[0] == contents[1]
    subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=one, check=True)
    record = unseal((one / "export.json").read_bytes())
    assert record["manifest_id"] == open_manifest(published).info.manifest_id
    assert sorted(record["files"]) == sorted(
        {path.name for path in one.iterdir()} - {"export.json", "SHA256SUMS"}
    )


def test_chosen_columns_are_written_alone(published, tmp_path):
    columns = ["weight", "document_id", "text"]

    done = export_manifest(
        open_manifest(published), tmp_path / "out", format="mds", columns=columns
    )

    assert [set(row) for row in mds_rows(done.path)] == [set(columns)] * 5
    with pytest.raises(InputError, match="needs the column document_id"):
        export_manifest(open_manifest(published), tmp_path / "no", format="jsonl", columns=["text"])
    with pytest.raises(UnknownNameError, match="unknown column 'weigth'"):
        export_manifest(
            open_manifest(published),
            tmp_path / "no",
            format="jsonl",
            columns=["document_id", "weigth"],
        )


@pytest.mark.parametrize("kind", ["empty folder", "full folder", "file", "link"])
def test_what_is_there_is_never_overwritten(published, tmp_path, kind):
    to = tmp_path / "out"
    if kind == "file":
        to.write_text("mine")
    elif kind == "link":
        to.symlink_to(tmp_path / "nowhere")
    else:
        to.mkdir()
        if kind == "full folder":
            (to / "mine").write_text("mine")

    with pytest.raises(ManifestError, match="exists already; nothing was overwritten"):
        export_manifest(open_manifest(published), to, format="jsonl")
    assert {path.name for path in tmp_path.iterdir()} == {"manifests", "out"}


def test_a_damaged_manifest_is_not_exported_and_nothing_is_left_behind(published, tmp_path):
    manifest = open_manifest(published)
    (published / "report.html").write_text("another")

    with pytest.raises(IntegrityError, match=r"report\.html"):
        export_manifest(manifest, tmp_path / "out", format="jsonl")
    with pytest.raises(InputError, match="file_bytes must be >= 4,096"):
        export_manifest(manifest, tmp_path / "out", format="jsonl", file_bytes=1)
    assert {path.name for path in tmp_path.iterdir()} == {"manifests"}


def test_an_export_that_fails_half_way_leaves_nothing(published, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr("databourse.manifests.exports.write_durably", full)  # the disk, not us
    with pytest.raises(OSError, match="no space"):
        export_manifest(open_manifest(published), tmp_path / "out", format="jsonl")
    assert {path.name for path in tmp_path.iterdir()} == {"manifests"}


def test_without_texts_only_formats_of_numbers_are_written(made, tmp_path):
    path = made.publish(tmp_path, documents=made.documents(text=False)).path
    manifest = open_manifest(path)

    with pytest.raises(ManifestError, match="format mds needs texts"):
        export_manifest(manifest, tmp_path / "no", format="mds")
    done = export_manifest(manifest, tmp_path / "out", format="jsonl")
    assert not done.has_text
    assert "text" not in jsonl_rows(done.path)[0]


def test_the_export_of_a_withdrawn_version_says_so(published, tmp_path, made):
    withdraw(published.parent, 1, reason="goats", withdrawn_at=made.now)

    manifest = open_manifest(published, allow_withdrawn=True)
    done = export_manifest(manifest, tmp_path / "out", format="jsonl")

    assert unseal((done.path / "export.json").read_bytes())["withdrawn"] == "goats"


def test_texts_of_any_characters_survive_every_format(made, tmp_path):
    odd = ["tab\tand \\ and \"quotes\" and 'ticks'", "zero\u200bwidth 𝄞 \u2028 line", "a\nb\n\nc"]
    texts = [(text, "gazette", "0", 1, -1.0, 'l"a\nbel') for text in odd]
    path = made.publish(tmp_path, documents=made.documents(texts=texts)).path
    for form in FORMATS:
        done = export_manifest(open_manifest(path), tmp_path / form, format=form)
        rows = READERS[form](done.path)
        assert {row["text"] for row in rows} == set(odd), form
        assert all(row["document_id"] == document_id(row["text"]) for row in rows)
        assert {row["label"] for row in rows} == {'l"a\nbel'}

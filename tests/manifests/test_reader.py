import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest

import databourse
import databourse.manifests
from databourse.errors import IntegrityError, ManifestError, MissingExtraError, UnknownNameError
from databourse.manifests import Document, open_manifest


def test_documents_come_in_key_order_with_their_values(made, published):
    manifest = open_manifest(published.parent)

    documents = list(manifest.iter_documents())

    ids = [document.document_id for document in documents]
    assert ids == sorted(ids)
    assert len(manifest) == len(ids) == 5
    ferry = next(document for document in documents if document.rank == 3)
    assert ferry == Document(
        document_id="0f795b7019f5d6568cceec6bae6ba65c",
        source="letters",
        locator="news.csv#2",
        label=None,
        tokens=11,
        topic="1",
        price=0.1353352832366127,
        log_price=-2.0,
        price_per_token=pytest.approx(0.1353352832366127 / 11, rel=1e-14),
        log_price_per_token=pytest.approx(-4.397895272798371, rel=1e-15),
        rank=3,
        weight=1.0,
        prompt_characters=None,
        contributions={"rarity": -1.5, "uncertainty": -0.5},
        text="A ferry now crosses the bay twice a day.",
    )


def test_arrow_and_pandas_hold_all_rows_over_all_shards(published):
    manifest = databourse.open_manifest(str(published))

    table = manifest.to_arrow()
    frame = manifest.to_pandas(["tokens", "document_id"])

    assert table.num_rows == 5
    assert table.column_names[0] == "document_id"
    assert manifest.to_arrow(["rank", "topic"]).column_names == ["rank", "topic"]
    assert list(frame.columns) == ["tokens", "document_id"]
    assert frame["tokens"].sum() == 55
    assert manifest.verify().ok


def test_a_manifest_without_texts_gives_documents_without_text(made, tmp_path):
    result = made.publish(tmp_path, documents=made.documents(text=False))

    manifest = open_manifest(result.path)

    assert {document.text for document in manifest.iter_documents()} == {None}
    assert "text" not in manifest.to_arrow().column_names
    assert manifest.verify().ok


def test_an_unknown_column_is_named_with_its_nearest(published):
    with pytest.raises(UnknownNameError, match=r"unknown column 'tokenz'.*'tokens'"):
        open_manifest(published).to_arrow(["tokenz"])


def test_versions_are_opened_by_number(made, published):
    made.publish(published.parent.parent, documents=made.documents().slice(1))

    assert open_manifest(published.parent).info.version == 2
    assert open_manifest(published.parent, 1).info.version == 1
    assert open_manifest(published).info.version == 1
    with pytest.raises(ManifestError, match="has no version 3; there: 1, 2"):
        open_manifest(published.parent, 3)
    with pytest.raises(ManifestError, match="holds the pools gazette"):
        open_manifest(published.parent.parent)


def test_a_manifest_is_read_from_an_object_store(published):
    store = fsspec.filesystem("memory")
    store.put(str(published.parent), "/bucket/gazette", recursive=True)
    try:
        manifest = open_manifest("memory://bucket/gazette")
        assert manifest.to_arrow().num_rows == 5
        assert [document.tokens for document in manifest.iter_documents()].count(13) == 1
        assert manifest.location == "memory:///bucket/gazette/v000001"
    finally:
        store.rm("/bucket", recursive=True)


def test_a_missing_or_short_shard_is_noticed_when_opening(published):
    shard = published / "documents-00001.parquet"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    with pytest.raises(IntegrityError, match=r"documents-00001.parquet has 5,\d+ of 5,\d+ bytes"):
        open_manifest(published)
    shard.unlink()
    with pytest.raises(IntegrityError, match=r"documents-00001\.parquet is missing"):
        open_manifest(published)


def test_a_damaged_manifest_or_latest_json_is_noticed_when_opening(published):
    latest = published.parent / "latest.json"
    latest.write_bytes(latest.read_bytes()[:-2])
    with pytest.raises(IntegrityError, match=r"latest\.json does not match its own sha256"):
        open_manifest(published.parent)
    latest.unlink()
    with pytest.raises(ManifestError, match=r"has no latest\.json: nothing was published there"):
        open_manifest(published.parent)
    manifest = published / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"5eed", b"6eed"))
    with pytest.raises(IntegrityError, match=r"manifest\.json does not match its own sha256"):
        open_manifest(published)
    manifest.unlink()
    with pytest.raises(IntegrityError, match=r"manifest\.json is missing"):
        open_manifest(published.parent, 1)


def test_damage_of_the_same_size_is_found_by_verify_and_by_reading(published):
    shard = published / "documents-00000.parquet"
    shard.write_bytes(b"\0" * shard.stat().st_size)
    manifest = open_manifest(published)

    with pytest.raises(IntegrityError, match=r"documents-00000\.parquet: has other bytes"):
        manifest.verify()
    with pytest.raises(IntegrityError, match=r"documents-00000\.parquet cannot be read"):
        manifest.to_arrow()
    with pytest.raises(IntegrityError, match="manifest verify"):
        next(manifest.iter_documents())


def test_a_missing_datasets_package_is_named(published, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # what an absent package looks like

    with pytest.raises(MissingExtraError, match="to_hf_dataset needs the package datasets"):
        open_manifest(published).to_hf_dataset()


def test_a_hugging_face_dataset_holds_the_rows(published):
    pytest.importorskip("datasets", reason="the package datasets is not installed")

    dataset = open_manifest(published).to_hf_dataset(["document_id", "tokens"])

    assert sum(dataset["tokens"]) == 55


def test_importing_manifests_needs_none_of_the_heavy_packages():
    heavy = {"torch", "prefect", "transformers", "pandas", "pyarrow", "duckdb", "datasets"}
    code = (
        "import sys, databourse.manifests, flows.manifest_commands; "
        f"print(*sorted({heavy | {'cryptography', 'jinja2', 'tokenizers'}!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""


def test_importing_manifests_takes_less_than_a_second():
    code = (
        "import time; start = time.process_time(); import databourse.manifests; "
        "print(time.process_time() - start)"
    )
    took = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(2)
    )
    assert took < 1.0


def test_the_base_install_reads_compares_and_exports(published, tmp_path):
    """Packages of the extras are hidden, as in an environment that has the base install alone."""
    hidden = ["torch", "prefect", "transformers", "tokenizers", "sklearn", "scipy", "faiss"]
    hidden += ["great_expectations", "cryptography", "datasets", "zstandard", "sqlalchemy"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({hidden!r}))\n"
        "from pathlib import Path\n"
        "from databourse.manifests import *\n"
        "from databourse.manifests.difference_page import render_difference_page\n"
        f"manifest = open_manifest({str(published)!r})\n"
        "manifest.verify(); manifest.to_arrow(); manifest.to_pandas()\n"
        "assert len(list(manifest.iter_documents())) == 5\n"
        "render_difference_page(diff_manifests(manifest, manifest))\n"
        "for form in ('jsonl', 'parquet', 'webdataset', 'mds'):\n"
        f"    export_manifest(manifest, Path({str(tmp_path)!r}) / form, format=form)\n"
        f"list_manifests({str(published.parent)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.fixture
def web(published):
    """Serve the pool over http, listings included."""

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, directory=str(published.parent.parent), **options)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/gazette"
        server.shutdown()


def test_a_manifest_is_read_and_verified_over_http(published, web):
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp, which is not installed")

    manifest = open_manifest(web)

    assert manifest.location == f"{web}/v000001"
    assert manifest.verify().ok
    assert databourse.manifests.verify(web).ok
    assert manifest.to_arrow().equals(open_manifest(published).to_arrow())
    shard = published / "documents-00001.parquet"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] + b"x")
    report = databourse.manifests.verify(web)
    assert [problem.file for problem in report.problems] == [shard.name]
    shard.write_bytes(data[:-1])
    with pytest.raises(IntegrityError, match=r"documents-00001\.parquet has"):
        open_manifest(web)
    shard.unlink()
    with pytest.raises(IntegrityError, match=r"documents-00001\.parquet is missing"):
        open_manifest(web)

import json
import logging
import warnings

import pytest


@pytest.fixture
def croissant():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of mlcroissant's own dependencies
        yield pytest.importorskip("mlcroissant")


def records(croissant, path):
    logging.disable(logging.CRITICAL)
    try:
        dataset = croissant.Dataset(jsonld=path / "croissant.json")
        issues = dataset.metadata.ctx.issues
        return set(issues.errors), set(issues.warnings), list(dataset.records("documents"))
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("shard_rows", [2, 100])
def test_mlcroissant_reads_the_documents_of_one_or_more_shards(
    croissant, made, tmp_path, shard_rows
):
    path = made.publish(tmp_path, shard_rows=shard_rows).path

    errors, told, rows = records(croissant, path)

    assert (errors, told) == (set(), set())
    assert len(rows) == 5
    ferry = next(row for row in rows if row["documents/rank"] == 3)
    assert ferry["documents/document_id"] == b"0f795b7019f5d6568cceec6bae6ba65c"
    assert ferry["documents/tokens"] == 11
    assert ferry["documents/log_price"] == -2.0
    assert ferry["documents/contribution_rarity"] == -1.5


def test_mlcroissant_refuses_a_shard_that_was_changed(croissant, made, tmp_path):
    path = made.publish(tmp_path, shard_rows=100).path
    with (path / "documents-00000.parquet").open("ab") as stream:
        stream.write(b"x")

    with pytest.raises(croissant.GenerationError) as refusal:
        records(croissant, path)
    assert "is not identical with the reference" in str(refusal.value.__cause__)


def test_every_shard_is_described_with_its_digest(published):
    metadata = json.loads((published / "croissant.json").read_text())
    manifest = json.loads((published / "manifest.json").read_text())

    files = [part for part in metadata["distribution"] if part["@type"] == "cr:FileObject"]
    assert [(part["contentUrl"], part["sha256"]) for part in files] == [
        (shard["name"], shard["sha256"]) for shard in manifest["shards"]
    ]
    assert {part["encodingFormat"] for part in files} == {"application/x-parquet"}

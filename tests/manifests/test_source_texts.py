import json

import pytest

from databourse.errors import IntegrityError, ManifestError, SourceError
from databourse.manifests import export_manifest, open_manifest

SOURCES = [
    {"name": "gazette", "path": ["gazette/*.jsonl"], "text": "{text}"},
    {"name": "letters", "path": ["letters.jsonl"], "text": "{text}"},
    {"name": "unused", "path": ["nowhere.jsonl"], "text": "{text}"},
]


@pytest.fixture
def without_text(made, tmp_path):
    """Return a manifest without texts, whose sources lie in tmp_path / data."""
    data = tmp_path / "data"
    (data / "gazette").mkdir(parents=True)
    for index, (text, source, *_) in enumerate(made.texts):
        name = f"gazette/{index}.jsonl" if source == "gazette" else "letters.jsonl"
        with (data / name).open("a") as stream:
            for row in (f"not bought {index}", f"  {text} ", text):
                stream.write(json.dumps({"text": row}) + "\n")
    facts = made.facts(config={"pool": "gazette", "sources": SOURCES})
    documents = made.documents(text=False)
    return open_manifest(
        made.publish(tmp_path / "manifests", facts=facts, documents=documents).path
    )


def test_texts_are_joined_from_the_sources_by_their_digest(made, without_text, tmp_path):
    joined = without_text.with_source_texts(tmp_path / "data", to=tmp_path / "texts")

    found = {document.rank: document.text for document in joined.iter_documents()}
    assert found == {index + 1: text for index, (text, *_) in enumerate(made.texts)}
    assert joined.has_text
    assert not without_text.has_text
    assert joined.to_arrow(["text", "rank"]).column_names == ["text", "rank"]
    assert joined.to_arrow(["rank"]).column_names == ["rank"]
    assert joined.column_names[-1] == "text"


def test_kept_texts_are_read_again_without_the_sources(without_text, tmp_path):
    first = without_text.with_source_texts(tmp_path / "data", to=tmp_path / "texts")
    rows = first.to_arrow().to_pylist()

    again = without_text.with_source_texts(tmp_path / "nowhere", to=tmp_path / "texts")

    assert again.to_arrow().to_pylist() == rows
    assert {path.name for path in (tmp_path / "texts").iterdir()} == {
        "texts.json",
        *(shard.name for shard in without_text.info.shards),
    }


def test_an_edited_row_is_a_missing_text_and_leaves_nothing_behind(without_text, tmp_path):
    path = tmp_path / "data" / "letters.jsonl"
    path.write_text(path.read_text().replace("ferry", "canoe"))

    with pytest.raises(IntegrityError, match=r"texts of 1 of 5 documents, for example 0f795b70"):
        without_text.with_source_texts(tmp_path / "data", to=tmp_path / "texts")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "manifests"}


def test_damaged_or_foreign_texts_are_refused(made, without_text, tmp_path):
    texts = tmp_path / "texts"
    without_text.with_source_texts(tmp_path / "data", to=texts)
    shard = texts / "documents-00001.parquet"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"documents-00001\.parquet was truncated or edited"):
        without_text.with_source_texts(tmp_path / "data", to=texts)
    shard.write_bytes(data)
    other = made.publish(tmp_path / "b", documents=made.documents(text=False).slice(1))
    with pytest.raises(ManifestError, match="holds the texts of manifest id"):
        open_manifest(other.path).with_source_texts(tmp_path / "data", to=texts)
    (tmp_path / "mine").mkdir()
    with pytest.raises(ManifestError, match="holds no texts of a manifest"):
        without_text.with_source_texts(tmp_path / "data", to=tmp_path / "mine")


def test_sources_outside_the_root_are_not_read(made, without_text, tmp_path):
    with pytest.raises(SourceError):
        without_text.with_source_texts(tmp_path / "manifests", to=tmp_path / "texts")
    outside = [section | {"path": [str(tmp_path / "data/letters.jsonl")]} for section in SOURCES]
    facts = made.facts(config={"pool": "gazette", "sources": outside})
    path = made.publish(tmp_path / "b", facts=facts, documents=made.documents(text=False)).path
    with pytest.raises(SourceError, match="outside"):
        open_manifest(path).with_source_texts(tmp_path / "manifests", to=tmp_path / "texts")


def test_a_manifest_that_does_not_say_its_sources_is_refused(made, tmp_path):
    path = made.publish(tmp_path, documents=made.documents(text=False)).path

    with pytest.raises(ManifestError, match="does not say how to read source 'gazette'"):
        open_manifest(path).with_source_texts(tmp_path, to=tmp_path / "texts")


def test_joined_texts_are_exported(made, without_text, tmp_path):
    joined = without_text.with_source_texts(tmp_path / "data", to=tmp_path / "texts")

    done = export_manifest(joined, tmp_path / "out", format="webdataset")

    assert done.has_text


def test_a_manifest_with_texts_needs_no_sources(published, tmp_path):
    manifest = open_manifest(published)

    assert manifest.with_source_texts(tmp_path / "nowhere", to=tmp_path / "texts") is manifest
    assert not (tmp_path / "texts").exists()

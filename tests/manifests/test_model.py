import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from databourse.errors import ManifestError
from databourse.manifests import Budget, manifest_json_schema
from databourse.manifests.folders import parse_latest, parse_manifest
from databourse.manifests.seals import BrokenSealError, seal, unseal
from databourse.queries import contracts_root

SCHEMA = contracts_root() / "manifest.schema.json"


def changed(published: Path, **changes) -> bytes:
    return seal(unseal((published / "manifest.json").read_bytes()) | changes)


def test_the_published_schema_is_that_of_the_model():
    expected = json.dumps(manifest_json_schema(), indent=2) + "\n"
    assert SCHEMA.read_text(encoding="utf-8") == expected, (
        "write json.dumps(manifest_json_schema(), indent=2) and a newline to the file"
    )


def test_a_published_manifest_obeys_the_schema(published):
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    manifest = json.loads((published / "manifest.json").read_bytes())

    jsonschema.Draft202012Validator(schema).validate(manifest)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({**manifest, "version": "1"})


def test_keys_of_a_later_databourse_are_ignored(published):
    info = parse_manifest(changed(published, colour="blue"), "here")

    assert info == parse_manifest((published / "manifest.json").read_bytes(), "here")


def test_a_newer_schema_version_is_refused_by_name(published):
    with pytest.raises(ManifestError, match=r"here has schema version 2; .* reads up to 1"):
        parse_manifest(changed(published, schema_version=2), "here")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"version": "1"}, "version"),
        ({"version": 0}, "version"),
        ({"manifest_id": "abc"}, "manifest_id"),
        ({"created_at": "2026-11-25T12:00:00"}, "created_at"),
        ({"spent": {"documents": 5.5, "tokens": 1}}, "spent.documents"),
        ({"files": {"../evil": "0" * 64}}, "files"),
        ({"shards": []}, "shards"),
        ({"schema_version": None}, "schema_version"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(published, change, place):
    with pytest.raises(BrokenSealError, match=f"is not valid at {place}"):
        parse_manifest(changed(published, **change), "here")


def test_a_shard_cannot_lie_outside_the_manifest(published):
    shards = unseal((published / "manifest.json").read_bytes())["shards"]
    shards[0]["name"] = "../../etc/passwd"

    with pytest.raises(BrokenSealError, match=r"is not valid at shards\.0\.name"):
        parse_manifest(changed(published, shards=shards), "here")


def test_latest_cannot_point_outside_its_pool(published):
    latest = unseal((published.parent / "latest.json").read_bytes())

    assert parse_latest(seal(latest)).version == 1
    with pytest.raises(BrokenSealError, match="points at 'v000002', not at v000001"):
        parse_latest(seal(latest | {"path": "v000002"}))
    with pytest.raises(BrokenSealError, match="is not valid at path"):
        parse_latest(seal(latest | {"path": "../v000001"}))


@pytest.mark.parametrize(
    "limits",
    [
        {"kind": "tokens", "amount": 5},
        {"kind": "tokens", "amount": 5, "limit_documents": 5},
        {"kind": "documents", "amount": 5, "limit_tokens": 5, "limit_documents": 5},
        {"kind": "share", "amount": 0.5, "limit_documents": 5},
        {"kind": "tokens", "amount": 0, "limit_tokens": 0},
    ],
)
def test_a_budget_has_exactly_the_limit_of_its_kind(limits):
    with pytest.raises(ValidationError):
        Budget(**limits)

"""Croissant 1.1 metadata of a manifest: the same documents, described for outside tools.

Format: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from databourse.manifests.model import ManifestDraft, Shard
from databourse.manifests.shards import CONTRIBUTION_PREFIX

if TYPE_CHECKING:
    import pyarrow as pa

_PARQUET = "application/x-parquet"
_RECORD_SET = "documents"
_FILE_SET = "document-shards"
_TYPES = {"int64": "sc:Integer", "double": "sc:Float"}
_DESCRIPTIONS = {
    "document_id": "128-bit blake2b of the canonical text, in hex.",
    "source": "Name of the source that the document came from.",
    "locator": "File and row of the document in its source.",
    "label": "Label given by the source, if any.",
    "tokens": "Length in tokens of the manifest's tokenizer.",
    "topic": "Part of the snapshot that the document belongs to.",
    "price": "LMSR price of the document; prices of all candidates sum to 1.",
    "log_price": "Natural logarithm of the price.",
    "price_per_token": "Price divided by tokens to the power of the length bias.",
    "log_price_per_token": "Natural logarithm of the price per token.",
    "rank": "Place in the order of value per token; 1 is dearest.",
    "weight": "How much the document counts in training; 1 / inclusion_probability in a sample.",
    "inclusion_probability": "Probability with which the sample draws the document.",
    "prompt_characters": "Leading characters of the text that are prompt, if any.",
    "text": "The canonical text.",
}
_CONTEXT: dict[str, object] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant_metadata(
    draft: ManifestDraft, schema: pa.Schema, *, version: int
) -> dict[str, object]:
    """Return the JSON-LD of a manifest's documents: its files, their digests, their columns.

    Args:
        draft: the staged manifest.
        schema: columns of its shards.
        version: number under which it is published; Croissant wants three, so 2 is `2.0.0`.
    """
    distribution = [_file_object(shard) for shard in draft.shards]
    origin: dict[str, object] = {"fileObject": {"@id": draft.shards[0].name}}
    if len(draft.shards) > 1:
        # a field has one origin; readers of a file set do not check digests, so one file is named
        distribution.append(_file_set())
        origin = {"fileSet": {"@id": _FILE_SET}}
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": draft.pool,
        "description": (
            f"{draft.spent.documents} documents, {draft.spent.tokens} tokens, selected from "
            f"{draft.candidates.documents} candidates of the pool {draft.pool} by databourse."
        ),
        "url": f"urn:databourse:manifest:{draft.manifest_id}",
        "license": "the licences of the sources apply",
        "citeAs": f"databourse manifest {draft.manifest_id}",
        "version": f"{version}.0.0",
        "datePublished": draft.created_at.date().isoformat(),
        "distribution": distribution,
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": _RECORD_SET,
                "name": _RECORD_SET,
                "key": {"@id": f"{_RECORD_SET}/document_id"},
                "field": [_field(name, kind, origin) for name, kind in _columns(schema)],
            }
        ],
    }


def _file_object(shard: Shard) -> dict[str, object]:
    return {
        "@type": "cr:FileObject",
        "@id": shard.name,
        "name": shard.name,
        "contentUrl": shard.name,
        "contentSize": f"{shard.bytes} B",
        "encodingFormat": _PARQUET,
        "sha256": shard.sha256,
    }


def _file_set() -> dict[str, object]:
    return {
        "@type": "cr:FileSet",
        "@id": _FILE_SET,
        "name": _FILE_SET,
        "encodingFormat": _PARQUET,
        "includes": "documents-*.parquet",
    }


def _columns(schema: pa.Schema) -> list[tuple[str, str]]:
    return [(field.name, _TYPES.get(str(field.type), "sc:Text")) for field in schema]


def _field(name: str, kind: str, origin: dict[str, object]) -> dict[str, object]:
    trader = name.removeprefix(CONTRIBUTION_PREFIX)
    return {
        "@type": "cr:Field",
        "@id": f"{_RECORD_SET}/{name}",
        "name": name,
        "description": _DESCRIPTIONS.get(name, f"Part of the log price due to trader {trader}."),
        "dataType": kind,
        "source": {**origin, "extract": {"column": name}},
    }

"""Provenance: an in-toto statement about every file of a manifest, signed in a DSSE envelope.

Statement v1 (https://in-toto.io/Statement/v1) with the predicate SLSA provenance v1. Its subjects
are `manifest.json` and every file that it vouches for, with their sha256. The envelope is sealed as
the other JSON files of a manifest are: its first key, which readers of DSSE ignore, is its own
digest, so that damage shows without any key.

A manifest that was signed when it was published holds the envelope and says by whose key, in
`signer` of manifest.json. One that is signed later stays as it is: the envelope lies beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from databourse.digests import canonical_json
from databourse.manifests.folders import MANIFEST_FILE, Folder, version_name
from databourse.manifests.model import ManifestInfo
from databourse.manifests.seals import BrokenSealError, seal, unseal
from databourse.manifests.signatures import (
    BadSignatureError,
    body_of,
    key_ids,
    signed_body,
    signed_envelope,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

PROVENANCE_FILE = "provenance.dsse.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"


def signature_name(version: int) -> str:
    """Return the name of the envelope, beside a version, that signs it after its publication."""
    return f"{version_name(version)}.{PROVENANCE_FILE}"


def statement(info: ManifestInfo, digests: Mapping[str, str]) -> dict[str, object]:
    """Return what is said about a manifest.

    Args:
        info: the manifest.
        digests: sha256 by name, of manifest.json and of every file that it vouches for.
    """
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": digests[name]}} for name in sorted(digests)
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:databourse:refresh:1",
                "externalParameters": {"config": info.config},
                "internalParameters": {
                    "pool": info.pool,
                    "version": info.version,
                    "manifest_id": info.manifest_id,
                    "config_digest": info.config_digest,
                    "tokenizer_id": info.tokenizer.id,
                },
                "resolvedDependencies": [{"uri": f"urn:databourse:snapshot:{info.snapshot_id}"}],
            },
            "runDetails": {
                "builder": {
                    "id": "urn:databourse:refresh",
                    "version": {"databourse": info.databourse_version},
                },
                "metadata": {
                    "invocationId": info.run_id,
                    "finishedOn": info.model_dump(mode="json")["created_at"],
                },
            },
        },
    }


def envelope_bytes(info: ManifestInfo, digests: Mapping[str, str], key: Ed25519PrivateKey) -> bytes:
    """Return the content of provenance.dsse.json; equal inputs give equal bytes."""
    body = canonical_json(statement(info, digests)).encode("utf-8")
    return seal(signed_envelope(PAYLOAD_TYPE, body, key))


def is_envelope_of(data: bytes, info: ManifestInfo, manifest_sha256: str) -> bool:
    """Return whether bytes are the whole envelope that a manifest says it was published with."""
    try:
        envelope = unseal(data)
        subjects = _subjects(body_of(envelope))
    except (BrokenSealError, BadSignatureError):
        return False
    return subjects.get(MANIFEST_FILE) == manifest_sha256 and info.signer in key_ids(envelope)


def signature_problem(data: bytes, digests: Mapping[str, str], key: Ed25519PublicKey) -> str | None:
    """Return why an envelope does not say, by a key, that these are the files, or None if it does.

    Args:
        data: the envelope.
        digests: sha256 by name, of manifest.json and of every file that it vouches for.
        key: who must have signed.
    """
    try:
        subjects = _subjects(signed_body(unseal(data), PAYLOAD_TYPE, key))
    except (BrokenSealError, BadSignatureError) as error:
        return str(error)
    for name in sorted({*subjects, *digests}):
        if name not in digests or subjects.get(name) != digests[name]:
            return f"was signed for another manifest: {name} is not the file that was signed"
    return None


def seal_problem(folder: Folder, name: str) -> str | None:
    """Return what is wrong with the bytes of an envelope, whoever signed it, or None."""
    try:
        body_of(unseal(folder.read(name)))
    except (BrokenSealError, BadSignatureError) as error:
        return str(error)
    return None


def _subjects(body: bytes) -> dict[str, str]:
    """Return the sha256 of every file that a statement speaks of.

    Raises:
        BadSignatureError: it is no such statement.
    """
    try:
        said = json.loads(body)
        kinds = (said["_type"], said["predicateType"])
        subjects = {each["name"]: each["digest"]["sha256"] for each in said["subject"]}
    except (ValueError, KeyError, TypeError) as error:
        raise BadSignatureError(f"holds no in-toto statement: {error!r}") from error
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise BadSignatureError(f"holds a statement of the types {kinds}")
    return subjects

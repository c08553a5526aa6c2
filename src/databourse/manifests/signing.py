"""Signing a version after its publication: the envelope lies beside it, the version stays as is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from databourse.errors import ManifestError
from databourse.manifests.folders import MANIFEST_FILE, folder_at
from databourse.manifests.pool_changes import only_writer
from databourse.manifests.provenance import envelope_bytes, signature_name, signature_problem
from databourse.manifests.reader import open_manifest
from databourse.manifests.staging import sync, write_durably
from databourse.manifests.verification import Version, expected_digests

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sign_manifest(
    location: Path, key: Ed25519PrivateKey, *, version: Version = "latest", wait_seconds: float = 60
) -> Path:
    """Sign a version that is published, after verifying it; return the envelope's path.

    Args:
        location: folder of a version or of a pool; a local file system.
        key: who signs.
        version: which version of a pool.
        wait_seconds: how long to wait for a publication in the same pool.

    Raises:
        ManifestError: there is no such version, it was withdrawn, or another key signed it so.
        IntegrityError: the version is damaged.
    """
    manifest = open_manifest(location, version)
    manifest.verify()
    path = Path(manifest.folder.root)
    digests = {
        **expected_digests(manifest.info),
        MANIFEST_FILE: folder_at(path).sha256(MANIFEST_FILE),
    }
    target = path.parent / signature_name(manifest.info.version)
    with only_writer(path.parent, wait_seconds):
        if target.exists():
            problem = signature_problem(target.read_bytes(), digests, key.public_key())
            if problem:
                raise ManifestError(f"{target} exists already and {problem}; move it away first")
            return target
        draft = target.with_name(f".{target.name}.tmp")
        write_durably(draft, envelope_bytes(manifest.info, digests, key))
        draft.replace(target)
        sync(path.parent)
    return target

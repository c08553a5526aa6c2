"""The table `manifests` follows the folder of the pool, which alone says what is published.

Withdrawing needs the base install and the manifests' folder only, and may be done while a run
holds the warehouse: so it does not write the table. Every run does, before its first stage.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from databourse.manifests import ManifestInfo, VersionListing, list_manifests
from databourse.manifests.folders import folder_at, is_pool, version_name
from databourse.warehouse.store import Warehouse, append


def register_versions(warehouse: Warehouse, pool: Path) -> None:
    """Write versions that the table lacks, and the status of those that it has.

    A version lacks its row when a run was killed right after publishing; its status changes when
    it is withdrawn or reinstated. A version that was never published gets no row, and one that
    cannot be read keeps what the table says.

    Args:
        warehouse: where the table is.
        pool: folder of the pool, with its versions; it need not exist.

    Raises:
        OSError: the folder cannot be read.
    """
    if not is_pool(folder_at(pool)):
        return
    (listing,) = list_manifests(pool)
    with warehouse.transaction() as cursor:
        known = dict(
            cursor.execute(
                "select version, status from manifests where pool = $pool", {"pool": pool.name}
            ).fetchall()
        )
        for version in listing.versions:
            if version.info is None:
                continue  # damaged: what the table says of it stands
            row = _row(pool, version, version.info)
            if version.version in known:
                cursor.execute(
                    "update manifests set status = $status "
                    "where pool = $pool and version = $version and status != $status",
                    {key: row[key] for key in ("status", "pool", "version")},
                )
            elif version.state != "unpublished":
                append(cursor, "manifests", pa.Table.from_pylist([row]))


def _row(pool: Path, version: VersionListing, info: ManifestInfo) -> dict[str, object]:
    return {
        "pool": pool.name,
        "version": version.version,
        "manifest_id": info.manifest_id,
        "run_id": info.run_id,
        "parent": info.parent.manifest_id if info.parent else None,
        "path": str(pool / version_name(version.version)),
        "tokens": info.spent.tokens,
        "documents": info.spent.documents,
        "status": "published" if version.withdrawal is None else "withdrawn",
        "published_at": info.created_at.replace(tzinfo=None),
    }

"""Withdrawing a version: a record beside it says why, and `latest.json` leaves it.

The version itself stays as it was published, byte for byte, so that who trained on it can still
see what it was. Order of events, each on the disk before the next begins: the record is written;
then, if `latest.json` names the version, it is replaced by one that names the nearest ancestor
that is whole and not withdrawn, or removed where there is none. A process killed in between leaves
a `latest.json` that readers refuse; withdrawing again, or the next publication, completes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from databourse.digests import file_sha256
from databourse.errors import InputError, IntegrityError, ManifestError
from databourse.manifests.folders import (
    LATEST_FILE,
    MANIFEST_FILE,
    folder_at,
    read_latest,
    version_name,
    version_numbers,
    withdrawal_name,
    withdrawal_of,
)
from databourse.manifests.model import Withdrawal
from databourse.manifests.pool_changes import only_writer, remove_latest, swap_latest
from databourse.manifests.reader import read_info
from databourse.manifests.seals import seal
from databourse.manifests.staging import sync, write_durably
from databourse.manifests.verification import check_files


@dataclass(frozen=True)
class WithdrawalOutcome:
    """What withdrawing came to.

    `latest` is the version that `latest.json` names now, None if nothing is published any more;
    `passed_over` are ancestors that it could have named but for their damage.
    """

    record: Withdrawal
    record_path: Path
    is_new: bool
    latest: int | None
    passed_over: tuple[int, ...]


def withdraw(
    pool: Path, version: int, *, reason: str, withdrawn_at: datetime, wait_seconds: float = 60.0
) -> WithdrawalOutcome:
    """Withdraw a version of a pool: readers refuse it, `latest.json` does not name it.

    Withdrawing what is withdrawn keeps the first record.

    Args:
        pool: folder of the pool; a local file system.
        version: number of the version.
        reason: shown to everybody who opens it.
        withdrawn_at: now, with a time zone.
        wait_seconds: how long to wait for a publication in the same pool.

    Raises:
        InputError: the reason is empty.
        ManifestError: there is no such version, or a publication does not end.
        IntegrityError: its manifest.json, its record or latest.json is damaged.
    """
    if not reason.strip():
        raise InputError("a withdrawal needs a reason, for those who train on the version")
    folder = folder_at(pool / version_name(version))
    if not folder.entries():
        there = ", ".join(str(number) for number in version_numbers(folder_at(pool))) or "none"
        raise ManifestError(f"{pool} has no version {version}; there: {there}")
    with only_writer(pool, wait_seconds):
        info = read_info(folder)
        record = withdrawal_of(folder, info)
        is_new = record is None
        if record is None:
            record = Withdrawal(
                version=info.version,
                manifest_id=info.manifest_id,
                manifest_sha256=file_sha256(pool / folder.name / MANIFEST_FILE),
                reason=reason.strip(),
                withdrawn_at=withdrawn_at,
            )
            _write(pool, record)
        passed_over = leave_withdrawn(pool, withdrawn_at)
        has_latest = (pool / LATEST_FILE).exists()
        return WithdrawalOutcome(
            record=record,
            record_path=pool / withdrawal_name(version),
            is_new=is_new,
            latest=read_latest(folder_at(pool)).version if has_latest else None,
            passed_over=passed_over,
        )


def leave_withdrawn(pool: Path, now: datetime) -> tuple[int, ...]:
    """Point `latest.json` at the nearest good ancestor if it names a withdrawn version.

    The caller holds the lock of the pool.

    Returns:
        Damaged ancestors that were passed over, the newest first.

    Raises:
        IntegrityError: latest.json, the withdrawn version or a record is damaged.
    """
    if not (pool / LATEST_FILE).exists():
        return ()
    version = read_latest(folder_at(pool)).version
    folder = folder_at(pool / version_name(version))
    if not (pool / withdrawal_name(version)).exists():
        return ()
    info = read_info(folder)
    passed_over: list[int] = []
    while info.parent is not None:
        version = info.parent.version
        folder = folder_at(pool / version_name(version))
        good, problems = check_files(folder)
        if good is not None and not problems and withdrawal_of(folder, good) is None:
            swap_latest(pool, good, now)
            return tuple(passed_over)
        if problems:
            passed_over.append(version)
        if good is None:
            break  # it no longer says what came before it
        info = good
    remove_latest(pool)
    return tuple(passed_over)


def withdrawn_with(pool: Path, manifest_id: str) -> Withdrawal | None:
    """Return the withdrawal of a version that has some content, or None.

    Raises:
        IntegrityError: a record is damaged.
    """
    for version in version_numbers(folder_at(pool)):
        if not (pool / withdrawal_name(version)).exists():
            continue
        folder = folder_at(pool / version_name(version))
        try:
            info = read_info(folder)
        except IntegrityError:
            continue  # it cannot be told from any other content, and is no longer published
        record = withdrawal_of(folder, info)
        if record is not None and record.manifest_id == manifest_id:
            return record
    return None


def _write(pool: Path, record: Withdrawal) -> None:
    """Write a record all at once; half of one would be refused by every reader."""
    name = withdrawal_name(record.version)
    draft = pool / f".{name}.tmp"
    write_durably(draft, seal(record.model_dump(mode="json")))
    draft.replace(pool / name)
    sync(pool)

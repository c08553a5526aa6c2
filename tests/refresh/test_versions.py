import datetime as dt
import shutil
from pathlib import Path

import pytest

from databourse.manifests import withdraw
from databourse.refresh.versions import register_versions

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "manifest_v1"
KNOWN = "select version, status, run_id, documents, tokens, path from manifests"


@pytest.fixture
def pool(tmp_path):
    """Return a pool with one version: that of the repository."""
    return shutil.copytree(GOLDEN, tmp_path / "gazette")


@pytest.fixture
def states(warehouse, pool, query):
    """Return a function that registers the versions and gives the status of each."""

    def states():
        register_versions(warehouse, pool)
        return query("select version, status from manifests order by version")

    return states


def test_a_version_without_a_row_gets_one_and_keeps_it(states, query, pool):
    assert states() == states() == [(1, "published")]
    assert query(KNOWN) == [(1, "published", "run-1", 5, 55, str(pool / "v000001"))]


def test_the_status_follows_withdrawal_and_reinstatement(states, pool):
    states()
    at = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
    withdraw(pool, 1, reason="wrong licence", withdrawn_at=at)

    assert states() == [(1, "withdrawn")]
    (pool / "v000001.withdrawn.json").unlink()
    assert states() == [(1, "published")]  # though latest.json names no version


def test_a_version_that_was_never_published_gets_no_row(states, pool):
    (pool / "latest.json").unlink()

    assert states() == []


def test_a_version_that_cannot_be_read_keeps_its_row(states, pool):
    states()
    manifest = pool / "v000001" / "manifest.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:-9])

    assert states() == [(1, "published")]
    (pool / "v000001.withdrawn.json").write_text("{}")
    manifest.write_bytes(whole)
    assert states() == [(1, "published")]  # the record is damaged: it withdraws nothing


def test_another_pool_keeps_its_rows_and_no_pool_gives_none(states, warehouse, query, tmp_path):
    register_versions(warehouse, tmp_path / "nowhere")
    assert query(KNOWN) == []
    shutil.copytree(GOLDEN, tmp_path / "herald")
    register_versions(warehouse, tmp_path / "herald")
    at = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
    withdraw(tmp_path / "herald", 1, reason="a test", withdrawn_at=at)

    states()

    rows = query("select pool, status from manifests order by pool")
    assert rows == [("gazette", "published"), ("herald", "published")]

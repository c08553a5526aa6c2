"""tests/golden/manifest_v1 was published once and never changes: readers must open it for ever.

When the code must write something else, it is schema version 2 or a further key; the folder stays.
"""

import datetime as dt
from pathlib import Path

import pytest

from databourse.manifests import list_manifests, open_manifest, verify

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "manifest_v1"
MANIFEST_ID = "c6c8e1f68e687fdc8a3bfac847dcf06b2f2b005e492b9c1f72acc8c6a2326381"


def test_the_golden_manifest_opens_and_verifies():
    report = verify(GOLDEN)

    assert report.problems == ()
    assert report.info.manifest_id == MANIFEST_ID
    assert [pool.latest for pool in list_manifests(GOLDEN)] == [1]


def test_the_golden_manifest_says_what_was_bought():
    manifest = open_manifest(GOLDEN)

    info = manifest.info
    assert (info.pool, info.version, info.parent) == ("gazette", 1, None)
    assert info.created_at == dt.datetime(2026, 11, 25, 12, 0, tzinfo=dt.UTC)
    assert (info.spent.documents, info.spent.tokens) == (5, 55)
    assert info.budget.limit_tokens == 60
    assert info.market.weights == {"rarity": 0.75, "uncertainty": 0.25}
    assert info.dropped == {"exact duplicate": 2, "near duplicate": 1}
    assert info.decontamination is None
    by_rank = sorted(manifest.iter_documents(), key=lambda document: document.rank)
    assert [document.tokens for document in by_rank] == [10, 9, 11, 12, 13]
    assert by_rank[4].text == "Two goats escaped and ate the mayor's roses."
    assert by_rank[4].contributions == {"rarity": -0.09375, "uncertainty": -0.03125}
    assert by_rank[0].price == pytest.approx(0.36787944117144233, rel=1e-15)


def test_the_code_of_today_gives_the_golden_content_the_golden_id(made, tmp_path):
    result = made.publish(tmp_path, shard_rows=1)

    assert result.manifest_id == MANIFEST_ID
    today, then = open_manifest(result.path).info, open_manifest(GOLDEN).info
    same = {"topics", "sources", "signals", "market", "budget", "spent", "config", "dropped"}
    assert today.model_dump(include=same) == then.model_dump(include=same)
    columns = ["document_id", "locator", "label", "log_price", "contribution_rarity", "text"]
    rows, golden = open_manifest(result.path), open_manifest(GOLDEN)
    assert rows.to_arrow(columns).equals(golden.to_arrow(columns))

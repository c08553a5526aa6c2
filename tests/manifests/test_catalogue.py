import pytest

from databourse.errors import ManifestError
from databourse.manifests import list_manifests


def test_pools_and_versions_are_listed_in_order(made, tmp_path):
    made.publish(tmp_path)
    made.publish(tmp_path, documents=made.documents().slice(1))
    made.publish(tmp_path, facts=made.facts(pool="almanac"))
    (tmp_path / "empty").mkdir()

    pools = list_manifests(tmp_path)

    assert [(pool.pool, pool.latest) for pool in pools] == [("almanac", 1), ("gazette", 2)]
    assert [(v.version, v.state) for v in pools[1].versions] == [(1, "published"), (2, "latest")]
    assert [v.info.spent.documents for v in pools[1].versions] == [5, 4]
    assert list_manifests(tmp_path / "gazette") == (pools[1],)


def test_a_damaged_version_is_listed_with_its_problem(made, published):
    (published / "manifest.json").write_text("{}")

    (pool,) = list_manifests(published.parent)

    assert [(v.state, v.info) for v in pool.versions] == [("damaged", None)]
    assert "manifest.json does not begin with its own sha256" in pool.versions[0].problem


def test_a_damaged_latest_json_is_told_and_the_versions_are_listed(published):
    (published.parent / "latest.json").write_text("{}")

    (pool,) = list_manifests(published.parent)

    assert pool.latest is None
    assert "latest.json does not begin with its own sha256" in pool.problem
    assert [version.version for version in pool.versions] == [1]


def test_a_place_without_pools_is_one_clear_error(published, tmp_path):
    with pytest.raises(ManifestError, match="does not exist or is empty"):
        list_manifests(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="is one version"):
        list_manifests(published)

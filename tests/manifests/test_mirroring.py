"""Copies of a pool in an object store: whole or not seen, only what is new, and never another's."""

import json

import fsspec
import pytest

from databourse import manifests
from databourse.errors import ConfigError, ManifestError, TransientError
from databourse.manifests import check_mirror, mirror_pool, open_manifest, verify

TARGET = "memory://mirrored/manifests"


@pytest.fixture
def store():
    """Return an object store in memory that ends empty."""
    memory = fsspec.filesystem("memory")
    yield memory
    if memory.exists("/mirrored"):
        memory.rm("/mirrored", recursive=True)


@pytest.fixture
def pool(published):
    return published.parent


def stored(memory):
    return {name: memory.cat(name) for name in memory.find("/mirrored")}


def of_disk(pool):
    return {
        f"/mirrored/manifests/{each.relative_to(pool.parent).as_posix()}": each.read_bytes()
        for each in pool.rglob("*")
        if each.is_file() and not each.name.startswith(".")
    }


def test_a_copy_is_the_pool_byte_for_byte_and_verifies(pool, store):
    done = mirror_pool(pool, TARGET)

    wanted = {name: data for name, data in of_disk(pool).items() if not name.endswith(".lock")}
    assert stored(store) == wanted
    assert (done.versions, done.files) == ((1,), len(wanted))
    assert done.bytes == sum(map(len, wanted.values()))
    assert verify(f"{TARGET}/gazette").ok
    assert open_manifest(f"{TARGET}/gazette").to_arrow().num_rows == 5


def test_a_second_copy_writes_nothing(pool, store):
    mirror_pool(pool, f"{TARGET}/")

    assert mirror_pool(pool, TARGET) == manifests.Mirrored(
        "memory:///mirrored/manifests/gazette", (), 0, 0
    )


def test_the_latest_pointer_is_written_last_and_a_version_is_seen_whole(pool, store, monkeypatch):
    order = []
    usual = type(store).put_file

    def watched(self, here, there, **options):
        order.append(there.rpartition("gazette/")[2])
        return usual(self, here, there, **options)

    monkeypatch.setattr(type(store), "put_file", watched)
    mirror_pool(pool, TARGET)

    assert order[-2:] == ["v000001/manifest.json", "latest.json"]
    assert len(order) == len(set(order)) > 5


def test_an_interrupted_copy_is_not_a_version_and_the_next_one_finishes_it(
    pool, store, monkeypatch
):
    usual = type(store).put_file

    def fails_at_the_third(self, here, there, **options):
        if len(self.find("/mirrored")) == 2:
            raise ConnectionError("the store went away")
        return usual(self, here, there, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "put_file", fails_at_the_third)
        with pytest.raises(TransientError, match=r"the store went away.*run again to copy it"):
            mirror_pool(pool, TARGET)
    with pytest.raises(ManifestError):
        open_manifest(f"{TARGET}/gazette")

    assert mirror_pool(pool, TARGET).versions == (1,)
    assert verify(f"{TARGET}/gazette").ok


def test_a_new_version_sends_that_version_alone(pool, store, made):
    mirror_pool(pool, TARGET)
    made.publish(pool.parent, documents=made.documents(texts=made.texts[:4]))

    done = mirror_pool(pool, TARGET)

    assert done.versions == (2,)
    assert open_manifest(f"{TARGET}/gazette").info.version == 2
    assert open_manifest(f"{TARGET}/gazette", version=1).info.version == 1


def test_a_withdrawal_reaches_the_copy(pool, store, made):
    mirror_pool(pool, TARGET)
    manifests.withdraw(pool, version=1, reason="leaked", withdrawn_at=made.now)

    done = mirror_pool(pool, TARGET)

    assert done.versions == ()
    with pytest.raises(ManifestError, match="every version of it was withdrawn"):
        open_manifest(f"{TARGET}/gazette")
    with pytest.raises(ManifestError, match="leaked"):
        open_manifest(f"{TARGET}/gazette", version=1)


def test_another_pool_of_that_name_is_not_overwritten(pool, store, made, tmp_path):
    mirror_pool(pool, TARGET)
    other = made.publish(tmp_path / "other", documents=made.documents(texts=made.texts[:4])).path

    before = stored(store)
    with pytest.raises(ManifestError, match="two pools of one name"):
        mirror_pool(other.parent, TARGET)
    assert stored(store) == before


def test_a_folder_of_a_disk_may_be_the_target(pool, tmp_path):
    mirror_pool(pool, str(tmp_path / "backup"))

    assert verify(tmp_path / "backup" / "gazette").ok
    assert json.loads((tmp_path / "backup/gazette/latest.json").read_text())["version"] == 1


def test_what_cannot_be_copied_is_refused(tmp_path, store):
    with pytest.raises(ManifestError, match="holds no version"):
        mirror_pool(tmp_path, TARGET)
    with pytest.raises(ConfigError, match=r"manifest\.mirror 'nowhere://bucket' cannot be reached"):
        check_mirror("nowhere://bucket")

import datetime as dt
import shutil

import fsspec
import pytest

from databourse.errors import InputError, IntegrityError, ManifestError
from databourse.manifests import list_manifests, open_manifest, verify, withdraw
from databourse.manifests.folders import folder_at
from databourse.manifests.seals import seal, unseal
from databourse.manifests.verification import check_files

LATER = dt.datetime(2026, 12, 1, 8, 0, tzinfo=dt.UTC)


@pytest.fixture
def three(made, tmp_path):
    """Return a pool with three versions, each with a document less than the one before."""
    for start in range(3):
        made.publish(tmp_path, documents=made.documents().slice(start))
    return tmp_path / "gazette"


def withdrawn(pool, version, reason="wrong licence"):
    return withdraw(pool, version, reason=reason, withdrawn_at=LATER)


def states(pool):
    (listing,) = list_manifests(pool)
    return {version.version: version.state for version in listing.versions}


def test_latest_goes_back_to_the_version_before(three):
    outcome = withdrawn(three, 3)

    assert (outcome.latest, outcome.is_new, outcome.passed_over) == (2, True, ())
    assert open_manifest(three).info.version == 2
    assert verify(three).ok
    assert verify(three).withdrawal is None
    assert states(three) == {1: "published", 2: "latest", 3: "withdrawn"}


def test_a_withdrawn_version_opens_only_on_demand_and_is_unchanged(three):
    before = {path.name: path.read_bytes() for path in (three / "v000003").iterdir()}
    withdrawn(three, 3)

    for location, version in ((three, 3), (three / "v000003", "latest"), (f"file://{three}", 3)):
        with pytest.raises(ManifestError, match=r"was withdrawn on 2026-12-01: wrong licence"):
            open_manifest(location, version)
    manifest = open_manifest(three, 3, allow_withdrawn=True)
    assert manifest.withdrawal.reason == "wrong licence"
    assert manifest.verify().ok
    report = verify(three, version=3)
    assert report.ok
    assert report.withdrawal.reason == "wrong licence"
    assert {path.name: path.read_bytes() for path in (three / "v000003").iterdir()} == before


def test_an_older_version_can_be_withdrawn_and_latest_stays(three):
    assert withdrawn(three, 2).latest == 3
    assert states(three) == {1: "published", 2: "withdrawn", 3: "latest"}
    assert withdrawn(three, 3).latest == 1


def test_nothing_is_latest_when_all_is_withdrawn(three):
    assert [withdrawn(three, version).latest for version in (1, 2, 3)] == [3, 3, None]
    with pytest.raises(ManifestError, match="every version of it was withdrawn"):
        open_manifest(three)
    assert set(states(three).values()) == {"withdrawn"}


def test_a_damaged_version_never_becomes_latest(three):
    (three / "v000002" / "validation.json").write_text("{}")

    outcome = withdrawn(three, 3)

    assert (outcome.latest, outcome.passed_over) == (1, (2,))


def test_withdrawing_twice_keeps_the_first_reason_and_finishes_what_was_interrupted(three):
    latest = (three / "latest.json").read_bytes()
    withdrawn(three, 3)
    (three / "latest.json").write_bytes(latest)  # as if killed between record and latest.json
    with pytest.raises(ManifestError, match="wrong licence"):
        open_manifest(three)
    assert verify(three).withdrawal.reason == "wrong licence"

    again = withdrawn(three, 3, reason="another")

    assert (again.is_new, again.record.reason, again.latest) == (False, "wrong licence", 2)


def test_withdrawn_content_is_neither_published_again_nor_adopted(made, three):
    withdrawn(three, 3)

    with pytest.raises(ManifestError, match=r"the same content was withdrawn .* as version 3"):
        made.publish(three.parent, documents=made.documents().slice(2))
    assert open_manifest(three).info.version == 2
    other = made.publish(three.parent, documents=made.documents().slice(3))
    assert (other.version, open_manifest(three).info.parent.version) == (4, 2)
    (three / "v000003.withdrawn.json").unlink()  # reinstated
    assert made.publish(three.parent, documents=made.documents().slice(2)).version == 5


def test_a_publication_completes_an_interrupted_withdrawal(made, three):
    latest = (three / "latest.json").read_bytes()
    withdrawn(three, 3)
    (three / "latest.json").write_bytes(latest)

    result = made.publish(three.parent, documents=made.documents().slice(3))

    assert open_manifest(three).info.parent.version == 2
    assert result.version == 4


def test_a_damaged_record_is_refused_wherever_a_byte_is_flipped(three):
    withdrawn(three, 3)
    path = three / "v000003.withdrawn.json"
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(IntegrityError, match=r"v000003\.withdrawn\.json"):
            open_manifest(three, 3, allow_withdrawn=True)
    assert [problem.file for problem in verify(three, version=3).problems] == [path.name]
    assert states(three)[3] == "damaged"


def test_the_record_of_another_manifest_is_refused(three):
    withdrawn(three, 3)
    path = three / "v000003.withdrawn.json"
    path.write_bytes(seal(unseal(path.read_bytes()) | {"manifest_id": "0" * 64}))

    with pytest.raises(IntegrityError, match="withdraws version 3, manifest id 0000"):
        open_manifest(three, 3)


def test_a_copied_pool_keeps_its_withdrawals(three):
    withdrawn(three, 3)
    store = fsspec.filesystem("memory")
    store.put(str(three), "/bucket/gazette", recursive=True)
    try:
        with pytest.raises(ManifestError, match="wrong licence"):
            open_manifest("memory://bucket/gazette/v000003")
        assert open_manifest("memory://bucket/gazette").info.version == 2
    finally:
        store.rm("/bucket", recursive=True)


def test_a_reason_and_an_existing_whole_version_are_needed(three):
    with pytest.raises(InputError, match="needs a reason"):
        withdrawn(three, 3, reason=" \n")
    with pytest.raises(ManifestError, match="has no version 9; there: 1, 2, 3"):
        withdrawn(three, 9)
    (three / "v000002" / "manifest.json").unlink()
    with pytest.raises(IntegrityError, match=r"manifest\.json is missing"):
        withdrawn(three, 2)
    assert not list(three.glob("*.withdrawn.json"))


def test_digests_of_the_version_do_not_know_of_the_withdrawal(three, tmp_path):
    withdrawn(three, 3)
    copy = shutil.copytree(three / "v000003", tmp_path / "elsewhere")

    assert check_files(folder_at(copy))[1] == []

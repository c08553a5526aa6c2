import datetime as dt
import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from databourse.errors import InputError, IntegrityError, ManifestError
from databourse.manifests import (
    abandon,
    add_file,
    list_manifests,
    load_staged,
    open_manifest,
    stage,
    sweep_staging,
    verify,
)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_version_holds_its_files_and_latest_names_it(made, tmp_path):
    result = made.publish(tmp_path, extra={"report.html": b"<p>bought</p>"})

    assert (result.outcome, result.published, result.version) == ("published", True, 1)
    assert result.path == tmp_path / "gazette" / "v000001"
    assert (result.documents, result.tokens) == (5, 55)
    assert names_in(result.path) == [
        "SHA256SUMS",
        "croissant.json",
        "documents-00000.parquet",
        "documents-00001.parquet",
        "documents-00002.parquet",
        "manifest.json",
        "report.html",
        "validation.json",
    ]
    latest = made.latest(tmp_path)
    assert latest["path"] == "v000001"
    assert latest["manifest_id"] == result.manifest_id
    assert latest["published_at"] == "2026-11-25T12:00:00Z"
    assert names_in(tmp_path / "gazette") == [".publish.lock", "latest.json", "v000001"]


def test_totals_of_topics_and_sources_come_from_the_rows(made, tmp_path):
    info = open_manifest(made.publish(tmp_path).path).info

    topics = {part.topic: (part.selected_documents, part.selected_tokens) for part in info.topics}
    sources = {
        part.source: (part.selected_documents, part.selected_tokens) for part in info.sources
    }
    assert topics == {"0": (2, 22), "1": (3, 33), "2": (0, 0)}
    assert sources == {"gazette": (3, 32), "letters": (2, 23)}
    assert list(topics) == sorted(topics)
    assert (info.spent.documents, info.spent.tokens) == (5, 55)


def test_sha256sum_accepts_the_sums(published):
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=published,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK\n") == 7


def test_the_same_content_is_published_once(made, tmp_path):
    first = made.publish(tmp_path)
    before = (tmp_path / "gazette" / "latest.json").read_bytes()

    later = made.facts(run_id="run-2", created_at=made.now + dt.timedelta(days=1))
    again = made.publish(
        tmp_path, facts=later, documents=made.documents(locators="moved.csv"), shard_rows=3
    )

    assert (again.outcome, again.published, again.version) == ("unchanged", False, 1)
    assert again.manifest_id == first.manifest_id
    assert (tmp_path / "gazette" / "latest.json").read_bytes() == before
    assert names_in(tmp_path / "gazette") == [".publish.lock", "latest.json", "v000001"]


def test_other_content_becomes_the_next_version_with_its_parent(made, tmp_path):
    first = made.publish(tmp_path)
    second = made.publish(tmp_path, documents=made.documents().slice(1))

    assert (second.outcome, second.version) == ("published", 2)
    parent = open_manifest(tmp_path / "gazette").info.parent
    assert (parent.version, parent.manifest_id) == (1, first.manifest_id)
    assert open_manifest(first.path).info.parent is None
    assert verify(first.path).ok
    assert verify(second.path).ok


def test_going_back_to_old_content_is_a_new_version(made, tmp_path):
    first = made.publish(tmp_path)
    made.publish(tmp_path, documents=made.documents().slice(1))
    third = made.publish(tmp_path)

    assert (third.outcome, third.version) == ("published", 3)
    assert third.manifest_id == first.manifest_id


def test_a_failed_contract_publishes_nothing(made, tmp_path):
    made.publish(tmp_path)
    before = (tmp_path / "gazette" / "latest.json").read_bytes()
    staged = made.stage(tmp_path, snapshot_id="other")
    failed = made.contracts[0].model_copy(update={"success": False})

    with pytest.raises(ManifestError, match="contract manifest_documents failed"):
        made.finish(staged, contracts=[failed])

    assert (tmp_path / "gazette" / "latest.json").read_bytes() == before
    abandon(staged)
    abandon(staged)
    assert names_in(tmp_path / "gazette") == [".publish.lock", "latest.json", "v000001"]


def test_a_staged_manifest_can_be_handed_over_by_its_path(made, tmp_path):
    staged = made.stage(tmp_path)

    other = load_staged(staged.path)

    assert other == staged
    assert [path.name for path in other.shard_paths] == [
        f"documents-0000{i}.parquet" for i in range(3)
    ]
    assert made.finish(other).published
    with pytest.raises(ManifestError, match="holds no staged manifest"):
        load_staged(staged.path)


def test_a_shard_changed_after_staging_is_not_published(made, tmp_path):
    staged = made.stage(tmp_path)
    path = staged.shard_paths[1]
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    with pytest.raises(IntegrityError, match=r"documents-00001\.parquet: has other bytes"):
        made.finish(staged)

    assert not (tmp_path / "gazette" / "latest.json").exists()


def test_rows_that_break_the_budget_are_not_published(made, tmp_path):
    tight = {"kind": "tokens", "amount": 54, "limit_tokens": 54}

    with pytest.raises(IntegrityError, match="spends 55 of 54 tokens"):
        made.publish(tmp_path, facts=made.facts(budget=tight))


def test_a_budget_of_documents_is_held_too(made, tmp_path):
    limit = {"kind": "documents", "amount": 4, "limit_documents": 4}

    with pytest.raises(IntegrityError, match="spends 5 of 4 documents"):
        made.publish(tmp_path, facts=made.facts(budget=limit))


def test_a_text_that_is_not_the_document_is_not_published(made, tmp_path):
    documents = made.documents()
    swapped = documents.set_column(
        documents.column_names.index("text"), "text", [["a", "b", "c", "d", "e"]]
    )

    with pytest.raises(IntegrityError, match="has a text whose id is"):
        made.publish(tmp_path, documents=swapped)


def test_documents_of_a_topic_that_is_not_for_sale_cannot_be_staged(made, tmp_path):
    with pytest.raises(InputError, match="documents of topic '0' were selected"):
        made.stage(tmp_path, topics=[])

    assert names_in(tmp_path / "gazette") == []


def test_a_pool_cannot_be_named_like_a_version(made, tmp_path):
    with pytest.raises(InputError, match="'v000001'"):
        made.stage(tmp_path, pool="v000001")


@pytest.mark.parametrize(
    "name", ["manifest.json", "documents-00009.parquet", "../x", "a/b", "", ".hidden", "draft.json"]
)
def test_a_further_file_cannot_take_a_name_of_the_manifest(made, tmp_path, name):
    with pytest.raises(InputError, match="further file"):
        add_file(made.stage(tmp_path), name, b"")


def test_a_refresh_killed_before_latest_was_swapped_is_adopted_by_the_next(made, tmp_path):
    other = made.documents().slice(1)
    made.publish(tmp_path)
    before = (tmp_path / "gazette" / "latest.json").read_bytes()
    made.publish(tmp_path, documents=other)
    (tmp_path / "gazette" / "latest.json").write_bytes(before)  # as the kill leaves it

    again = made.publish(tmp_path, documents=other)

    assert (again.outcome, again.published, again.version) == ("adopted", True, 2)
    assert verify(tmp_path / "gazette").ok
    assert open_manifest(tmp_path / "gazette").info.version == 2
    assert names_in(tmp_path / "gazette") == [".publish.lock", "latest.json", "v000001", "v000002"]


def test_a_first_refresh_killed_before_latest_was_written_is_adopted(made, tmp_path):
    made.publish(tmp_path)
    (tmp_path / "gazette" / "latest.json").unlink()

    assert made.publish(tmp_path).outcome == "adopted"
    assert verify(tmp_path / "gazette").ok


def test_other_content_is_numbered_after_the_version_left_over(made, tmp_path):
    first = made.publish(tmp_path)
    before = (tmp_path / "gazette" / "latest.json").read_bytes()
    made.publish(tmp_path, documents=made.documents().slice(1))
    (tmp_path / "gazette" / "latest.json").write_bytes(before)

    third = made.publish(tmp_path, documents=made.documents().slice(2))

    assert (third.outcome, third.version) == ("published", 3)
    assert open_manifest(third.path).info.parent.manifest_id == first.manifest_id
    states = [version.state for version in list_manifests(tmp_path)[0].versions]
    assert states == ["published", "unpublished", "latest"]


def test_a_damaged_version_left_over_is_never_adopted(made, tmp_path):
    made.publish(tmp_path)
    (tmp_path / "gazette" / "latest.json").unlink()
    (tmp_path / "gazette" / "v000001" / "croissant.json").write_bytes(b"{}")

    again = made.publish(tmp_path)

    assert (again.outcome, again.version) == ("published", 2)


def test_a_damaged_latest_version_is_published_again(made, tmp_path):
    first = made.publish(tmp_path)
    (first.path / "documents-00000.parquet").write_bytes(b"")

    again = made.publish(tmp_path)

    assert (again.outcome, again.version) == ("published", 2)
    assert "v000001 is damaged (documents-00000.parquet: has 0 of" in again.note
    assert verify(tmp_path / "gazette").ok


def test_a_damaged_latest_json_stops_publication_and_names_the_file(made, tmp_path):
    made.publish(tmp_path)
    latest = tmp_path / "gazette" / "latest.json"
    latest.write_bytes(latest.read_bytes().replace(b"v000001", b"v000002"))

    with pytest.raises(IntegrityError, match=r"latest\.json does not match its own sha256"):
        made.publish(tmp_path, documents=made.documents().slice(1))

    latest.unlink()  # the remedy that the message names
    assert made.publish(tmp_path).outcome == "adopted"


def test_an_existing_folder_is_never_overwritten(made, tmp_path):
    (tmp_path / "gazette" / "v000001").mkdir(parents=True)
    (tmp_path / "gazette" / "v000002").write_text("a file in the way")

    result = made.publish(tmp_path)

    assert result.version == 3
    assert names_in(tmp_path / "gazette" / "v000001") == []
    assert (tmp_path / "gazette" / "v000002").read_text() == "a file in the way"


def test_a_full_disk_at_any_write_leaves_latest_good_and_the_next_run_repairs(
    made, tmp_path, monkeypatch
):
    other = made.documents().slice(1)
    wanted = made.publish(tmp_path / "wanted", documents=other).manifest_id
    real, outcomes = os.fsync, []
    for failing in range(30):
        root = tmp_path / str(failing)
        first = made.publish(root)
        staged = stage(root, made.facts(), other, shard_rows=2)
        calls = iter(range(1000))

        def full(descriptor, calls=calls, failing=failing):
            if next(calls) == failing:
                raise OSError(28, "No space left on device")
            real(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        try:
            made.finish(staged)
            monkeypatch.setattr(os, "fsync", real)
            break
        except OSError:
            monkeypatch.setattr(os, "fsync", real)
        report = verify(root / "gazette")
        assert report.ok
        assert report.info.manifest_id in {first.manifest_id, wanted}
        outcomes.append(made.publish(root, documents=other).outcome)
        assert verify(root / "gazette").info.manifest_id == wanted
    # 4 files, 2 shards, their folder; then the pool, latest.json and the pool again
    assert outcomes == ["published"] * 7 + ["adopted"] * 2 + ["unchanged"]


def test_kill_9_between_rename_and_latest_frees_the_lock_and_is_repaired(made, tmp_path):
    made.publish(tmp_path)
    code = f"""
        import os, pathlib, runpy, signal
        made = runpy.run_path({str(Path(__file__).parent / "conftest.py")!r})
        pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        documents = made["make_documents"]().slice(1)
        made["publish_into"](pathlib.Path({str(tmp_path)!r}), documents=documents)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert made.latest(tmp_path)["version"] == 1
    assert verify(tmp_path / "gazette").ok

    again = made.publish(tmp_path, documents=made.documents().slice(1))

    assert (again.outcome, again.version) == ("adopted", 2)
    assert verify(tmp_path / "gazette").ok


def test_publications_at_the_same_time_get_different_versions(made, tmp_path):
    staged = [
        stage(tmp_path, made.facts(), made.documents().slice(start), shard_rows=2)
        for start in range(4)
    ]
    results = []
    threads = [
        threading.Thread(target=lambda one=one: results.append(made.finish(one))) for one in staged
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    versions = list_manifests(tmp_path)[0].versions
    assert sorted(result.version for result in results) == [1, 2, 3, 4]
    assert [version.info.parent and version.info.parent.version for version in versions] == [
        None,
        1,
        2,
        3,
    ]
    assert made.latest(tmp_path)["version"] == 4


def test_waiting_for_another_publication_ends_with_a_clear_error(made, tmp_path):
    staged = made.stage(tmp_path)
    with (tmp_path / "gazette" / ".publish.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ManifestError, match=r"another process .* for 0.1 seconds"):
            made.finish(staged, wait_seconds=0.1)

    assert made.finish(staged).published


def test_only_staging_folders_that_are_old_are_swept(made, tmp_path):
    made.publish(tmp_path)
    old, young = made.stage(tmp_path), made.stage(tmp_path, snapshot_id="other")
    for path in (*old.path.iterdir(), old.path):
        os.utime(path, (1_000_000_000, 1_000_000_000))

    moment = dt.datetime(2010, 1, 1, tzinfo=dt.UTC)
    removed = sweep_staging(tmp_path, "gazette", before=moment)

    assert removed == [old.path.name]
    assert young.path.is_dir()
    assert verify(tmp_path / "gazette").ok
    assert sweep_staging(tmp_path, "no_such_pool", before=moment) == []


def test_validation_is_published_as_it_came(made, published):
    assert json.loads((published / "validation.json").read_text()) == made.validation

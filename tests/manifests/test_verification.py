import shutil

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from databourse.errors import IntegrityError, ManifestError
from databourse.manifests import open_manifest, verify
from databourse.manifests.seals import seal, unseal
from databourse.manifests.verification import sums_text


def bad_files(location, **which):
    return [problem.file for problem in verify(location, **which).problems]


def files_of(folder):
    return sorted(path for path in folder.iterdir() if path.is_file())


def forged(published, **changes):
    """Rewrite manifest.json and SHA256SUMS consistently, as a careful forger would."""
    manifest = published / "manifest.json"
    content = unseal(manifest.read_bytes()) | changes
    manifest.write_bytes(seal(content))
    digests = {path.name: sha256(path) for path in files_of(published) if path.name != "SHA256SUMS"}
    (published / "SHA256SUMS").write_bytes(sums_text(digests))


def sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_published_manifest_verifies(published):
    report = verify(published)

    assert report.ok
    assert report.problems == ()
    assert report.info.version == 1
    report.require_ok()


@pytest.mark.parametrize("mask", [0x01, 0x20, 0xFF])
def test_a_flipped_byte_at_many_places_of_every_file_is_pinned_on_that_file(published, mask):
    for path in files_of(published):
        data = path.read_bytes()
        step = max(1, len(data) // 23)
        for position in {0, len(data) - 1, *range(0, len(data), step)}:
            damaged = bytearray(data)
            damaged[position] ^= mask
            path.write_bytes(bytes(damaged))
            assert bad_files(published) == [path.name], position
        path.write_bytes(data)
    assert verify(published).ok


def test_a_flipped_byte_anywhere_in_the_sums_is_pinned_on_the_sums(published):
    path = published / "SHA256SUMS"
    data = path.read_bytes()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x04
        path.write_bytes(bytes(damaged))
        assert bad_files(published) == ["SHA256SUMS"], position


def test_a_flipped_byte_anywhere_in_latest_json_is_pinned_on_it(published):
    path = published.parent / "latest.json"
    data = path.read_bytes()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x01
        path.write_bytes(bytes(damaged))
        assert bad_files(published.parent) == ["latest.json"], position
    assert verify(published.parent, version=1).ok
    path.unlink()
    assert bad_files(published.parent) == ["latest.json"]


def test_every_truncated_file_is_named(published):
    for path in files_of(published):
        data = path.read_bytes()
        for size in (0, 1, len(data) - 1):
            path.write_bytes(data[:size])
            assert bad_files(published) == [path.name], size
        path.write_bytes(data)
    (published / "documents-00001.parquet").write_bytes(b"PAR1")
    assert "has 4 of 5,3" in str(verify(published).problems[0])


def test_every_deleted_file_is_named(published):
    for path in files_of(published):
        data = path.read_bytes()
        path.unlink()
        assert bad_files(published) == [path.name]
        path.write_bytes(data)


def test_every_renamed_file_is_named_with_its_new_name(published):
    for path in files_of(published):
        moved = path.rename(published / f"x-{path.name}")
        assert bad_files(published) == sorted([path.name, moved.name])
        moved.rename(path)
    (published / "report.html").rename(published / "x.html")
    first, second = verify(published).problems
    assert str(first) == "report.html: is missing; its bytes are in x.html"
    assert str(second) == "x.html: is not part of the manifest"


def test_any_two_files_with_swapped_contents_are_named(published):
    files = files_of(published)
    for index, one in enumerate(files):
        for other in files[index + 1 :]:
            mine, theirs = one.read_bytes(), other.read_bytes()
            one.write_bytes(theirs)
            other.write_bytes(mine)
            assert bad_files(published) == sorted([one.name, other.name])
            one.write_bytes(mine)
            other.write_bytes(theirs)


def test_added_files_and_folders_are_named(published):
    (published / "notes.txt").write_text("mine")
    (published / "more").mkdir()
    (published / "more" / "documents-00000.parquet").write_text("")

    assert bad_files(published) == ["more/", "more/documents-00000.parquet", "notes.txt"]


def test_several_damaged_files_are_all_named(published):
    (published / "documents-00002.parquet").write_bytes(b"")
    (published / "manifest.json").write_bytes(b"{}")
    (published / "croissant.json").unlink()

    assert bad_files(published) == ["croissant.json", "documents-00002.parquet", "manifest.json"]
    with pytest.raises(IntegrityError, match=r"croissant.json: is missing; documents-00002"):
        verify(published).require_ok()


def test_without_manifest_json_and_sums_both_are_named(published):
    (published / "manifest.json").unlink()
    (published / "SHA256SUMS").write_bytes(b"nonsense\n")

    first, second = verify(published).problems
    assert str(first) == "SHA256SUMS: is not a list of sha256 sums; no other file can be checked"
    assert str(second) == "manifest.json: is missing"


def test_a_whole_manifest_json_of_another_version_is_the_one_that_is_named(made, published):
    root = published.parent.parent
    other = made.publish(root, documents=made.documents().slice(1))
    shutil.copy(other.path / "manifest.json", published / "manifest.json")

    report = verify(published)

    assert [problem.file for problem in report.problems if problem.file == "manifest.json"]
    assert "belongs to another manifest" in str(report.problems)
    assert "SHA256SUMS" not in bad_files(published)
    assert "documents-00000.parquet" not in bad_files(published)


def test_a_version_exchanged_for_another_is_noticed_through_latest(made, published):
    root = published.parent.parent
    other = made.publish(root, documents=made.documents().slice(1)).path
    shutil.rmtree(other)
    shutil.copytree(published, other)

    assert bad_files(root / "gazette") == ["manifest.json"]


def test_latest_that_points_at_nothing_is_named(made, published):
    shutil.rmtree(published)
    (published.parent / "v000007").mkdir()

    report = verify(published.parent)

    assert [problem.file for problem in report.problems] == ["v000001"]
    with pytest.raises(ManifestError, match="has no version 1"):
        open_manifest(published.parent)


def test_a_manifest_copied_elsewhere_verifies(published, tmp_path):
    copy = shutil.copytree(published, tmp_path / "usb stick" / "renamed")
    pool = shutil.copytree(published.parent, tmp_path / "other name")

    assert verify(copy).ok
    assert verify(pool).ok
    assert verify(f"file://{pool}").ok


def test_a_manifest_in_an_object_store_verifies_and_its_damage_is_named(published):
    store = fsspec.filesystem("memory")
    store.put(str(published.parent), "/bucket/gazette", recursive=True)
    try:
        assert verify("memory://bucket/gazette").ok
        assert verify("memory://bucket/gazette", version=1).ok
        with store.open("/bucket/gazette/v000001/documents-00001.parquet", "ab") as stream:
            stream.write(b"x")
        report = verify("memory://bucket/gazette/v000001")
        assert [problem.file for problem in report.problems] == ["documents-00001.parquet"]
        assert report.location == "memory:///bucket/gazette/v000001"
    finally:
        store.rm("/bucket", recursive=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spent": {"documents": 5, "tokens": 54}}, "says 5 documents and 54 tokens, but its rows"),
        ({"snapshot_id": "forged"}, "manifest_id is .* but its rows give"),
        ({"sources": []}, "does not say what its rows say about source 'gazette'"),
        ({"topics": []}, "does not say what its rows say about topic '0'"),
        (
            {"budget": {"kind": "tokens", "amount": 9, "limit_tokens": 9, "limit_documents": None}},
            "spends 55 of 9 tokens",
        ),
    ],
)
def test_totals_that_the_rows_contradict_are_found_behind_right_digests(
    published, changes, message
):
    forged(published, **changes)

    report = verify(published)

    assert {problem.file for problem in report.problems} == {"manifest.json"}
    with pytest.raises(IntegrityError, match=message):
        report.require_ok()


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (lambda table: table.take([1, 0]), "rows are not sorted"),
        (lambda table: table.take([0, 0]), "is there twice"),
        (lambda table: table.slice(1), "has 1 rows, not 2"),
        (lambda table: table.drop_columns(["rank"]), "has no column rank"),
        (
            lambda table: table.set_column(4, "tokens", table.column("tokens").cast("int32")),
            "has column tokens of type int32, not int64",
        ),
        (
            lambda table: table.set_column(4, "tokens", [[0, 0]]),
            "tokens must be >= 1",
        ),
        (
            lambda table: table.set_column(
                table.column_names.index("text"), "text", table.column("text").take([1, 0])
            ),
            "has a text whose id is",
        ),
        (None, "is not a Parquet file"),
    ],
)
def test_rows_that_break_the_format_are_found_behind_right_digests(published, forge, message):
    path = published / "documents-00000.parquet"
    if forge is None:
        path.write_bytes(b"PAR1 but nothing else PAR1")
    else:
        pq.write_table(forge(pq.read_table(path)), path)
    shards = unseal((published / "manifest.json").read_bytes())["shards"]
    shards[0] |= {"bytes": path.stat().st_size, "sha256": sha256(path)}
    forged(published, shards=shards)

    with pytest.raises(IntegrityError, match=f"documents-00000.parquet: .*{message}"):
        verify(published).require_ok()


def test_a_duplicate_across_two_shards_is_found(published):
    shutil.copy(published / "documents-00000.parquet", published / "documents-00001.parquet")
    shards = unseal((published / "manifest.json").read_bytes())["shards"]
    shards[1] = shards[0] | {"name": "documents-00001.parquet"}
    forged(published, shards=shards)

    with pytest.raises(IntegrityError, match=r"documents-00001\.parquet: rows are not sorted"):
        verify(published).require_ok()


def test_a_missing_place_version_or_protocol_is_one_clear_error(published, tmp_path):
    with pytest.raises(ManifestError, match="does not exist or is empty"):
        verify(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="has no version 9; there: 1"):
        verify(published.parent, version=9)
    with pytest.raises(ManifestError, match="is one version, not version 2"):
        verify(published, version=2)
    with pytest.raises(ManifestError, match="holds the pools gazette"):
        verify(published.parent.parent)
    with pytest.raises(ManifestError, match="cannot open nope://x"):
        verify("nope://x")
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").write_bytes(b"")
    with pytest.raises(ManifestError, match="holds no manifest"):
        verify(tmp_path / "holiday")


def limits_in(parts, limits):
    """Return topics or sources with floors and caps by name."""
    return [part | limits.get(part.get("topic", part.get("source")), {}) for part in parts]


def limited(made, root, limits, *, kind="tokens"):
    """Publish, and forge floors and caps by name of topic or source into the manifest."""
    budget = {"kind": kind, "amount": 60, f"limit_{kind}": 60}
    path = made.publish(root, facts=made.facts(budget=budget)).path
    content = unseal((path / "manifest.json").read_bytes())
    forged(path, **{key: limits_in(content[key], limits) for key in ("topics", "sources")})
    return path


def problems_of(path):
    return [str(problem) for problem in verify(path).problems]


# Bought: topic 0 22 tokens in 2 documents, topic 1 33 in 3, topic 2 none;
# source gazette 32 tokens in 3 documents, source letters 23 in 2.
@pytest.mark.parametrize(
    ("kind", "limits", "problem"),
    [
        ("tokens", {"0": {"floor": 23}}, "spends 22 on '0', below its floor of 23"),
        ("tokens", {"0": {"floor": 22, "cap": 22}}, None),
        ("tokens", {"1": {"cap": 32}}, "spends 33 on '1', above its cap of 32"),
        ("tokens", {"2": {"floor": 1}}, "spends 0 on '2', below its floor of 1"),
        ("tokens", {"2": {"floor": 0, "cap": 0}}, None),
        ("tokens", {"1": {"cap": 0}}, "spends 33 on '1', above its cap of 0"),
        (
            "tokens",
            {"letters": {"floor": 24}},
            "spends 23 on 'letters', below its floor of 24",
        ),
        (
            "tokens",
            {"gazette": {"cap": 31}},
            "spends 32 on 'gazette', above its cap of 31",
        ),
        ("tokens", {"gazette": {"floor": 32, "cap": 32}}, None),
        ("documents", {"0": {"floor": 3}}, "spends 2 on '0', below its floor of 3"),
        ("documents", {"0": {"floor": 2, "cap": 2}}, None),
        (
            "documents",
            {"gazette": {"cap": 2}},
            "spends 3 on 'gazette', above its cap of 2",
        ),
    ],
)
def test_floors_and_caps_that_do_not_hold_are_found(made, tmp_path, kind, limits, problem):
    path = limited(made, tmp_path, limits, kind=kind)

    assert problems_of(path) == ([] if problem is None else [f"manifest.json: {problem}"])


def test_every_broken_limit_is_named(made, tmp_path):
    limits = {"0": {"floor": 30}, "1": {"cap": 1}, "letters": {"cap": 9}}

    assert len(problems_of(limited(made, tmp_path, limits))) == 3


def test_what_breaks_a_limit_is_not_published(made, tmp_path):
    topics = limits_in(made.facts().model_dump()["topics"], {"0": {"floor": 23}})

    with pytest.raises(IntegrityError, match="spends 22 on '0', below its floor of 23"):
        made.publish(tmp_path, facts=made.facts(topics=topics))
    assert not (tmp_path / "gazette" / "v000001").exists()


def test_settings_of_the_selection_cannot_be_forged(made, tmp_path):
    selection = {
        "method": "greedy",
        "rule": "skip",
        "best_single": False,
        "diversity": 0.0,
        "topic_floor": 0.5,
        "topic_cap": None,
        "source_floor": 0.0,
        "source_cap": None,
    }
    path = made.publish(tmp_path, facts=made.facts(selection=selection)).path
    assert verify(path).ok
    for change in ({"topic_floor": 0.25}, {"method": "sample"}, {"topic_cap": 2.0}):
        forged(path, selection=selection | change)
        assert "manifest_id is" in problems_of(path)[0]
    forged(path, selection=None)
    assert "manifest_id is" in problems_of(path)[0]
    forged(path, selection=selection)
    assert verify(path).ok


def test_a_probability_out_of_range_is_found_behind_right_digests(made, tmp_path):
    given = made.documents()
    given = given.append_column("inclusion_probability", pa.array([0.5] * 5))
    given = given.append_column("weight", pa.array([2.0] * 5))
    path = made.publish(tmp_path, documents=given).path
    assert verify(path).ok

    shard = path / "documents-00000.parquet"
    table = pq.read_table(shard)
    place = table.column_names.index("inclusion_probability")
    field = table.schema.field("inclusion_probability")
    pq.write_table(table.set_column(place, field, pa.array([0.5, 1.5])), shard)
    shards = unseal((path / "manifest.json").read_bytes())["shards"]
    shards[0] |= {"bytes": shard.stat().st_size, "sha256": sha256(shard)}
    forged(path, shards=shards)

    assert "inclusion_probability must be in (0, 1], got 1.5" in problems_of(path)[0]

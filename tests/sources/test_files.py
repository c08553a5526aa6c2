import hashlib
import os
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

from databourse.errors import SourceError, TransientError
from databourse.sources.files import find_files


@pytest.fixture
def tree(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "deep/er/c.jsonl", "deep/d.csv", "deep/.hidden.jsonl"):
        path = tmp_path / "root" / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jsonl").write_text("secret")
    return tmp_path / "root"


@pytest.fixture
def memory():
    file_system = fsspec.filesystem("memory")
    file_system.pipe({"/bucket/data/b.jsonl": b"b", "/bucket/data/a.jsonl": b"a"})
    file_system.pipe({"/bucket/database/x.jsonl": b"x"})
    yield file_system
    file_system.rm("/bucket", recursive=True)


def uris(root, *patterns, data_roots=(".",)):
    return [file.uri for file in find_files(patterns, root=root, data_roots=data_roots)]


def refusal(root, pattern, data_roots=(".",)):
    with pytest.raises(SourceError) as caught:
        find_files([pattern], root=root, data_roots=data_roots)
    return str(caught.value)


def test_files_come_in_order_of_name_whatever_the_order_of_the_patterns(tree):
    expected = ["data/a.jsonl", "data/b.jsonl", "data/deep/er/c.jsonl"]

    assert uris(tree, "data/**/*.jsonl") == expected
    assert uris(tree, "data/deep/*/*", "data/b.jsonl", "data/a.jsonl") == expected


def test_a_file_that_two_patterns_match_is_read_once(tree):
    absolute = str(tree / "data" / "a.jsonl")

    assert uris(tree, "data/a*", "data/[a]*", "./data/../data/a.jsonl", absolute) == [
        "data/a.jsonl"
    ]


def test_hidden_files_and_folders_are_not_matched(tree):
    assert uris(tree, "data/deep/*") == ["data/deep/d.csv"]


def test_a_name_with_glob_characters_can_be_written_out(tree):
    (tree / "data" / "x[1].jsonl").write_text("")

    assert uris(tree, "data/x[1].jsonl") == ["data/x[1].jsonl"]


def test_names_do_not_depend_on_how_the_root_is_written(tree):
    link = tree.parent / "link"
    link.symlink_to(tree)

    assert uris(link, "data/a.jsonl") == uris(tree / "data" / "..", "data/a.jsonl")
    assert uris(link, str(tree / "data" / "a.jsonl")) == ["data/a.jsonl"]


def test_a_file_below_another_root_is_named_as_written(tree):
    pattern = "../outside/*.jsonl"

    assert uris(tree, pattern, data_roots=["../outside"]) == ["../outside/secret.jsonl"]


@pytest.mark.parametrize(
    "pattern",
    ["../outside/secret.jsonl", "../outside/*.jsonl", "data/../../outside/*", "/etc/passwd", "/**"],
)
def test_a_path_outside_the_roots_is_refused(tree, pattern):
    message = refusal(tree, pattern)

    assert repr(pattern) in message
    assert "data_roots allows '.'" in message
    assert "secret.jsonl'" not in message or "secret" in pattern


def test_a_link_out_of_the_roots_is_refused(tree):
    (tree / "data" / "z.jsonl").symlink_to(tree.parent / "outside" / "secret.jsonl")
    (tree / "data" / "zz").symlink_to(tree.parent / "outside")

    assert "'data/z.jsonl' is outside" in refusal(tree, "data/z.jsonl")
    assert "'data/z.jsonl' is outside" in refusal(tree, "data/*.jsonl")
    assert "'data/zz/secret.jsonl' is outside" in refusal(tree, "data/*/*.jsonl")


def test_a_root_that_only_starts_alike_allows_nothing(tree):
    (tree / "data2").mkdir()
    (tree / "data2" / "x.jsonl").write_text("")

    assert "is outside" in refusal(tree, "data2/x.jsonl", data_roots=["data"])


def test_a_loop_of_links_is_one_clear_error(tree):
    (tree / "data" / "loop.jsonl").symlink_to("loop.jsonl")

    assert "'data/loop.jsonl'" in refusal(tree, "data/loop.jsonl")


def test_a_missing_file_names_the_nearest(tree):
    assert "did you mean 'a.jsonl'" in refusal(tree, "data/a.jsnl")
    assert "matches no file; did you mean" in refusal(tree, "data/*.jsnl")
    assert "'data' holds: a.jsonl, b.jsonl, deep" in refusal(tree, "data/qqqqqq.parquet.zzz")
    assert "did you mean 'data'" in refusal(tree, "dta/a.jsonl")


def test_a_long_listing_is_cut(tree):
    for number in range(30):
        (tree / f"file{number:02}").write_text("")

    message = refusal(tree, "zzz")

    assert "file06 and 23 more" in message


def test_folders_pipes_and_blank_paths_are_refused(tree):
    os.mkfifo(tree / "pipe.jsonl")

    assert "is a folder; name its files, such as data/*.jsonl" in refusal(tree, "data/")
    assert "matches only folders" in refusal(tree, "*a")
    assert "no regular file" in refusal(tree, "pipe.jsonl")
    assert "is no path" in refusal(tree, "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_one_clear_error(tree):
    (tree / "data" / "a.jsonl").chmod(0)
    (file,) = find_files(["data/a.jsonl"], root=tree, data_roots=["."])

    with pytest.raises(SourceError, match=r"data/a\.jsonl may not be read"):
        file.digest()


def test_a_file_that_goes_away_is_one_clear_error(tree):
    (file,) = find_files(["data/a.jsonl"], root=tree, data_roots=["."])
    (tree / "data" / "a.jsonl").unlink()

    with pytest.raises(SourceError, match=r"data/a\.jsonl is gone"):
        file.digest()


def test_the_digest_is_that_of_the_stored_bytes(tree):
    content = os.urandom(3_000_000)
    (tree / "data" / "a.jsonl").write_bytes(content)
    (file,) = find_files(["data/a.jsonl"], root=tree, data_roots=["."])

    assert file.digest() == (hashlib.sha256(content).hexdigest(), 3_000_000)


def test_the_state_changes_with_the_file(tree, memory):
    path = tree / "data" / "a.jsonl"
    files = find_files(
        ["data/a.jsonl", "memory://bucket/data/a.jsonl"], root=tree, data_roots=[".", "memory://"]
    )
    before = [file.state() for file in files]

    assert before == [file.state() for file in files]
    path.write_text("other")
    memory.pipe("/bucket/data/a.jsonl", b"other")
    assert all(file.state() != state for file, state in zip(files, before, strict=True))


def test_file_uris_are_local_paths(tree):
    pattern = f"file://{tree}/data/*.jsonl"

    assert uris(tree, pattern) == ["data/a.jsonl", "data/b.jsonl"]
    assert uris(tree, pattern, data_roots=[f"file://{tree}/data"]) == [
        "data/a.jsonl",
        "data/b.jsonl",
    ]
    assert "is outside" in refusal(tree, "file:///etc/passwd")


def test_globs_work_on_object_stores(memory):
    root = Path("/nowhere")
    expected = ["memory://bucket/data/a.jsonl", "memory://bucket/data/b.jsonl"]

    found = find_files(["memory://bucket/data/*.jsonl"], root=root, data_roots=["memory://bucket"])

    assert [file.uri for file in found] == expected
    assert found[0].digest() == (hashlib.sha256(b"a").hexdigest(), 1)
    assert uris(root, expected[1], data_roots=["memory://bucket/data/"]) == expected[1:]


@pytest.mark.parametrize(
    ("pattern", "data_roots"),
    [
        ("memory://bucket/data/a.jsonl", ["."]),
        ("memory://bucket/database/x.jsonl", ["memory://bucket/data"]),
        ("memory://bucket/data*/*.jsonl", ["memory://bucket/data"]),
        ("gs://bucket/data/a.jsonl", ["memory://bucket"]),
    ],
)
def test_uri_prefixes_are_compared_at_a_path_boundary(memory, pattern, data_roots):
    assert "is outside" in refusal(Path("/"), pattern, data_roots)


@pytest.mark.parametrize(
    "pattern",
    [
        "memory://bucket/data/../database/x.jsonl",
        "memory://bucket/data/%2E%2e/x.jsonl",
        "simplecache::memory://bucket/data/a.jsonl",
        "zip://x::file:///etc/y.zip",
    ],
)
def test_uris_that_could_leave_their_prefix_are_refused(memory, pattern):
    assert "one plain URI" in refusal(
        Path("/"), pattern, ["memory://bucket/data", "zip://x::file:"]
    )


def test_a_password_in_a_uri_is_refused_and_not_repeated():
    message = refusal(Path("/"), "ftp://me:hunter2@host/x.jsonl", ["ftp://me:hunter2@host"])

    assert "password" in message
    assert "hunter2" not in message


def test_a_missing_object_names_the_nearest(memory):
    roots = ["memory://bucket"]

    assert "did you mean 'a.jsonl'" in refusal(Path("/"), "memory://bucket/data/a.jsnl", roots)
    assert "did you mean" in refusal(Path("/"), "memory://bucket/data/*.jsnl", roots)
    assert "is a folder" in refusal(Path("/"), "memory://bucket/data", roots)
    assert "folder does not exist" in refusal(Path("/"), "memory://bucket/no/a.jsonl", roots)


def test_a_protocol_without_its_package_or_unknown_is_one_clear_error(monkeypatch):
    known = {"class": "no_such_package.FileSystem", "err": "Install no-such-package"}
    monkeypatch.setitem(known_implementations, "absent", known)

    assert "Install no-such-package" in refusal(Path("/"), "absent://x/y", ["absent://x"])
    assert "'unheard://x/y' cannot be read" in refusal(Path("/"), "unheard://x/y", ["unheard://x"])


def test_a_network_failure_can_be_tried_again(memory):
    class Flaky(MemoryFileSystem):
        protocol = "flaky"

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(path.replace("flaky://", "memory://"))

        def _open(self, *args, **kwargs):
            raise ConnectionResetError("reset by peer")

    fsspec.register_implementation("flaky", Flaky, clobber=True)
    (file,) = find_files(
        ["flaky://bucket/data/a.jsonl"], root=Path("/"), data_roots=["flaky://bucket"]
    )

    with pytest.raises(TransientError, match=r"flaky://bucket/data/a\.jsonl .* reset by peer"):
        file.digest()

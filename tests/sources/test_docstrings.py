import warnings

import pytest

from databourse.digests import document_id
from databourse.errors import SourceError
from databourse.sources import SourceRow, check_source, open_source
from databourse.sources.docstrings import find_packages

MODULE = '''\
"""The module's own
    words.
"""
import os

def first(a):
    """First function."""
    def inner():
        """Inside of first."""

class Shape:
    """A shape."""

    @property
    def area(self):
        """Area of it."""

    @area.setter
    def area(self, value):
        """Set the area."""

if os:
    async def late():
        """Found below if."""
elif 1:
    def late():
        """Found below elif."""
try:
    pass
except ImportError:
    def handler():
        """Found in a handler."""
finally:
    def final():
        """Found in finally."""
match os:
    case 1:
        def matched():
            """Found in a case."""

def bare():
    "not triple quoted"

def without():
    return """no docstring"""

X = """no docstring either"""
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution on the path, as installers do."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def run(name, files, version="1.0"):
        for path, content in files.items():
            target = site / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode())
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))
        return site

    return run


def source(*packages, limit=None, min_characters=1):
    return open_source(
        name="docs",
        root=".",
        data_roots=[],
        kind="docstrings",
        packages=packages,
        limit=limit,
        min_characters=min_characters,
    )


def all_rows(*packages, **settings):
    return [
        (part.locator(row), row)
        for part in source(*packages, **settings).parts()
        for row in part.rows()
    ]


def test_docstrings_come_in_order_of_place_with_names_as_python_has_them(install):
    install("Toy_Pack", {"toypack/sub/mod.py": MODULE})

    rows = all_rows("toy-pack")

    place = "toy-pack-1.0/toypack/sub/mod.py"
    assert [(locator, row.text) for locator, row in rows] == [
        (f"{place}#<module>", "The module's own\nwords."),
        (f"{place}#first", "First function."),
        (f"{place}#first.<locals>.inner", "Inside of first."),
        (f"{place}#Shape", "A shape."),
        (f"{place}#Shape.area", "Area of it."),
        (f"{place}#Shape.area~2", "Set the area."),
        (f"{place}#late", "Found below if."),
        (f"{place}#late~2", "Found below elif."),
        (f"{place}#handler", "Found in a handler."),
        (f"{place}#final", "Found in finally."),
        (f"{place}#matched", "Found in a case."),
        (f"{place}#bare", "not triple quoted"),
    ]
    assert [row.row_number for _, row in rows] == list(range(12))
    assert rows[3][1].label is None
    assert rows[3][1].metadata == {
        "package": "toy-pack",
        "version": "1.0",
        "module": "toypack.sub.mod",
        "qualname": "Shape",
        "kind": "class",
        "locator": f"{place}#Shape",
    }
    assert [row.metadata["kind"] for _, row in rows[:3]] == ["module", "function", "function"]


def test_packages_are_found_by_what_they_import_as(install):
    install("toy-pack", {"toypack/__init__.py": '"""Words."""'})

    ((_, row),) = all_rows("toypack", "toy.pack", "Toy_Pack")

    assert row.metadata["module"] == "toypack"


def test_files_are_in_order_of_path_and_packages_in_order_of_name(install):
    install("zeta", {"zeta/b.py": '"""zb"""', "zeta/a.py": '"""za"""'})
    install("alpha", {"alpha.py": '"""a"""'})

    assert [row.text for _, row in all_rows("zeta", "alpha")] == ["a", "za", "zb"]
    assert check_source(source("zeta", "alpha")) == ["alpha-1.0", "zeta-1.0"]


def test_nothing_is_imported_and_tests_scripts_and_data_are_left_out(install):
    site = install(
        "toy",
        {
            "toy/__init__.py": '"""Words."""\nraise SystemExit("imported")',
            "toy/tests/test_a.py": '"""Of a test."""',
            "toy/test/more.py": '"""Of a test."""',
            "toy/data.txt": '"""Data."""',
            "../bin/script.py": '"""Script."""',
        },
    )
    (site.parent / "bin" / "script.py").write_text('"""Script."""')

    assert [row.text for _, row in all_rows("toy")] == ["Words."]


def test_all_installed_packages_but_databourse_are_read_by_default(install):
    install("toy", {"toy.py": '"""Words."""'})
    install("empty-one", {"empty.txt": ""})

    names = [package.name for package in find_packages([])]

    assert {"toy", "numpy"} <= set(names)
    assert not {"databourse", "empty-one"} & set(names)
    assert names == sorted(names)


def test_a_package_that_is_not_installed_names_the_nearest():
    with pytest.raises(
        SourceError, match=r"package 'nunpy' is not installed; did you mean .*numpy"
    ):
        source("nunpy").parts()
    with pytest.raises(SourceError, match="'qqqqzzzz' is not installed; see: pip list"):
        check_source(source("qqqqzzzz"))


def test_a_package_without_python_files_is_one_clear_error(install):
    install("toy", {"toy/tests/a.py": '"""Of a test."""'})

    with pytest.raises(SourceError, match=r"toy-1\.0 lists no Python files"):
        source("toy").parts()


def test_files_that_cannot_be_parsed_are_counted_and_warnings_are_not_shown(install):
    install(
        "toy",
        {
            "toy/a_syntax.py": "def broken(:\n",
            "toy/b_nul.py": b'"""a"""\0',
            "toy/c_encoding.py": b'"""caf\xe9"""',
            "toy/d_latin.py": b'# coding: latin-1\n"""caf\xe9"""',
            "toy/e_escape.py": 'def f():\n    """a \\d escape"""\n',
            "toy/f_deep.py": "x = " + "(" * 5000 + ")" * 5000,
            "toy/g_surrogate.py": '"""half \\ud800"""',
            "toy/h_nul_text.py": '"""nul \\0 inside"""',
            "toy/i_blank.py": '"""  """',
        },
    )

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        rows = [row for _, row in all_rows("toy")]

    assert [row.text if isinstance(row, SourceRow) else row.reason for row in rows] == [
        "broken_python",
        "broken_python",
        "broken_python",
        "café",
        "a \\d escape",
        "broken_python",
        "wrong_encoding",
        "nul_character",
        "too_short",
    ]
    assert rows[0].excerpt.startswith("toy/a_syntax.py")
    assert rows[0].detail.startswith("SyntaxError")
    assert shown == []


def test_short_docstrings_are_rejected_by_the_same_rule_as_rows(install):
    install("toy", {"toy.py": '"""abcd"""\ndef f():\n    """abc"""\n'})

    (_, kept), (locator, rejected) = all_rows("toy", min_characters=4)

    assert kept.text == "abcd"
    assert rejected.detail == "expected at least 4 characters, got 3"
    assert rejected.excerpt == "toy.py#f: abc"
    assert locator == "toy-1.0#1"


def functions(texts):
    return "".join(f'def f{n}():\n    """{text}"""\n' for n, text in enumerate(texts))


def test_a_limit_keeps_the_texts_with_the_smallest_ids_and_their_duplicates(install):
    long = [f"text number {number}" for number in range(40)]
    short = [f"s{number}" for number in range(20)]
    install("one", {"one.py": functions([*long[:25], *short])})
    install("two", {"two.py": functions([*reversed(long[15:]), "a\0b".replace("\0", "\\0")])})
    kept = sorted(long, key=document_id)[:10]
    cutoff = document_id(kept[-1])

    rows = all_rows("one", "two", limit=10, min_characters=5)

    texts = [row.text for _, row in rows if isinstance(row, SourceRow)]
    expected = [text for text in [*long[:25], *reversed(long[15:])] if text in kept]
    assert texts == expected
    assert len(set(texts)) == 10 < len(texts)
    rejected = [row.excerpt.split(": ")[1] for _, row in rows if not isinstance(row, SourceRow)]
    assert rejected[:-1] == [text for text in short if document_id(text) <= cutoff]
    assert rejected[-1] == "a\\x00b"


def test_a_limit_above_what_there_is_keeps_everything(install):
    install("one", {"one.py": functions(["aa", "bb", "aa", "c"])})

    assert all_rows("one", limit=99) == all_rows("one")


def test_a_sample_does_not_depend_on_the_names_of_files_and_packages(install):
    long = [f"text number {number}" for number in range(60)]
    install("one", {"one/a.py": functions(long[:30]), "one/b.py": functions(long[30:])})
    install("zwei", {"zwei/x.py": functions(reversed(long))})

    first, second = ({row.text for _, row in all_rows(name, limit=7)} for name in ("one", "zwei"))

    assert first == second
    assert len(first) == 7


def test_reading_from_any_row_gives_the_tail_of_a_whole_reading(install):
    install("toy", {"toy/a.py": MODULE, "toy/b.py": "broken(", "toy/c.py": MODULE})

    for limit in (None, 5):
        (part,) = source("toy", limit=limit).parts()
        whole = list(part.rows())
        for start_row in range(len(whole) + 1):
            assert list(part.rows(start_row)) == whole[start_row:]


def test_the_file_id_follows_content_and_settings_and_not_the_place(install):
    def ids(*packages, **settings):
        return [part.file_id for part in source(*packages, **settings).parts()]

    install("toy", {"toy/a.py": MODULE})
    install("other", {"other.py": '"""Words."""'})
    before = ids("toy")

    assert ids("toy") == before
    assert ids("other", "toy")[1:] == before
    assert ids("toy", min_characters=2) != before
    assert ids("toy", limit=5) != before
    assert ids("other", "toy", limit=5)[1:] != ids("toy", limit=5)
    install("toy", {"toy/a.py": MODULE + "\n"})
    assert ids("toy") != before


def test_the_digest_covers_the_paths_of_files(install):
    install("toy", {"toy/a.py": "1", "toy/b.py": "2"})
    (before,) = source("toy").parts()
    install("toy", {"toy/a.py": "2", "toy/b.py": "1"})
    (after,) = source("toy").parts()

    assert before.bytes == after.bytes == 2
    assert before.sha256 != after.sha256


def test_locators_of_a_real_package_are_unique_and_hold_no_path_of_this_machine():
    rows = all_rows("fsspec", min_characters=40)

    locators = [locator for locator, _ in rows]
    assert len(rows) > 300
    assert len(set(locators)) == len(locators)
    assert all(locator.startswith("fsspec-") for locator in locators)
    assert "/site-packages/" not in "".join(locators)

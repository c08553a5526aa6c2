"""Every SQL file says what it makes and what it reads, and does just that.

A query opens with a sentence, then `-- grain:`, `-- reads:` and, where it has any, `-- params:`. A
check has no grain, because each of its rows is a violation; a table has nothing but a grain.
"""

import json
import re

import duckdb
import pytest

from databourse.queries import query_files

KEYS = ("grain", "reads", "params")
FILES = list(query_files().values())
TABLES = [path for path in FILES if path.parent.name == "tables"]
QUERIES = [path for path in FILES if path.parent.name != "tables"]
CHECKS = [path for path in QUERIES if path.parent.name == "checks"]
PREFIXES = {
    "staging": r"stg_[a-z_]+__[a-z_]+",
    "intermediate": r"int_[a-z_]+",
    "marts": r"mart_[a-z_]+",
    "checks": r"assert_[a-z_]+",
    "tables": r"[a-z_]+",
}
# What Python hands to a query on its cursor; every other relation is a table or a query.
HANDED_OVER = {
    "batch_documents",
    "contaminated",
    "contract_rows",
    "market_documents",
    "market_makers",
    "market_traders",
    "near_duplicates",
    "semantic_duplicates",
    "new_answers",
    "selection_outcomes",
    "wanted_documents",
    "wanted_parts",
}
NAME = re.compile(r"\b(?:from|join)\s+([a-z_][a-z0-9_]*)\b(?!\s*\()")
CTE = re.compile(r"(?:\bwith|\),)\s*(?:--[^\n]*\n\s*)*([a-z_][a-z0-9_]*) as (?:materialized )?\(")
PARAMETER = re.compile(r"\$([a-z_]+)")


def by_name(path):
    return path.stem


def parts(path):
    """Return the header's sentence, its keys with their text, and the statement below."""
    lines = path.read_text(encoding="utf-8").splitlines()
    length = next(
        (number for number, line in enumerate(lines) if not line.startswith("--")), len(lines)
    )
    sentence, found, key = [], {}, None
    for line in (line.removeprefix("--").strip() for line in lines[:length]):
        match = re.match(r"(\w+):\s*(.*)", line)
        if match and match[1] in KEYS:
            key = match[1]
            found[key] = match[2]
        elif key is None:
            sentence.append(line)
        else:
            found[key] += " " + line
    return " ".join(sentence), found, "\n".join(lines[length:])


def without_comments(body):
    return re.sub(r"--[^\n]*", "", body)


def relations_read(body):
    body = without_comments(body)
    return set(NAME.findall(body)) - set(CTE.findall(body))


def names(text):
    """Return the names in a header's list; what stands in brackets explains the name before."""
    text = re.sub(r"\([^()]*\)", "", text).strip(" .")
    return set() if text in {"", "none"} else {name.strip() for name in text.split(",")}


def columns_of_final_select(body):
    """Return the names that the outermost select gives its columns."""
    tree = duckdb.execute("select json_serialize_sql($1)", [PARAMETER.sub("null", body)])
    statement = json.loads(tree.fetchall()[0][0])["statements"][0]["node"]
    return [
        column["alias"] or column.get("column_names", [""])[-1]
        for column in statement["select_list"]
    ]


@pytest.mark.parametrize("path", FILES, ids=by_name)
def test_a_file_opens_with_a_sentence_and_the_keys_of_its_kind_in_order(path):
    sentence, found, _ = parts(path)
    expected = {"tables": ["grain"], "checks": ["reads"]}.get(path.parent.name, ["grain", "reads"])
    optional = [] if path.parent.name == "tables" else ["params"]

    assert re.match(r"[A-Z'$].*\.$", sentence), f"no sentence: {sentence!r}"
    assert list(found) in (expected, expected + optional)
    if "grain" in found:
        assert re.match(r"one row per |one row$", found["grain"])


@pytest.mark.parametrize("path", FILES, ids=by_name)
def test_a_file_is_named_like_its_kind_and_holds_one_statement(path):
    statements = duckdb.extract_statements(path.read_text(encoding="utf-8"))

    assert re.fullmatch(PREFIXES[path.parent.name], path.stem)
    assert len(statements) == 1
    expected = "CREATE" if path.parent.name == "tables" else "SELECT"
    assert statements[0].type.name == expected


@pytest.mark.parametrize("path", QUERIES, ids=by_name)
def test_a_query_reads_the_relations_it_says(path):
    _, found, body = parts(path)

    assert relations_read(body) == names(found["reads"])


@pytest.mark.parametrize("path", QUERIES, ids=by_name)
def test_a_query_takes_the_parameters_it_says(path):
    _, found, body = parts(path)
    said = {name.removeprefix("$") for name in names(found.get("params", ""))}

    assert set(PARAMETER.findall(without_comments(body))) == said


@pytest.mark.parametrize("path", sorted(set(QUERIES) - set(CHECKS)), ids=by_name)
def test_a_query_returns_the_columns_of_its_grain(path):
    _, found, body = parts(path)
    grain = names(found["grain"].removeprefix("one row per").removeprefix("one row"))

    assert grain <= set(columns_of_final_select(body))


@pytest.mark.parametrize("path", QUERIES, ids=by_name)
def test_a_query_names_each_column_it_returns_once(path):
    columns = columns_of_final_select(parts(path)[2])

    assert all(columns), f"a column without a name, or a star: {columns}"
    assert len(set(columns)) == len(columns)


@pytest.mark.parametrize("path", TABLES, ids=by_name)
def test_the_primary_key_of_a_table_is_its_grain(path):
    _, found, body = parts(path)
    connection = duckdb.connect()
    connection.execute(body).fetchall()
    keys = connection.execute("""
        select constraint_column_names from duckdb_constraints()
        where constraint_type = 'PRIMARY KEY'
    """).fetchall()
    connection.close()

    assert path.stem in body
    assert [set(key) for (key,) in keys] == [names(found["grain"].removeprefix("one row per"))]


@pytest.mark.parametrize("path", QUERIES, ids=by_name)
def test_a_query_reads_only_what_a_file_makes_or_python_hands_over(path):
    assert relations_read(parts(path)[2]) <= {file.stem for file in FILES} | HANDED_OVER


@pytest.mark.parametrize("path", QUERIES, ids=by_name)
def test_a_query_selects_no_star(path):
    assert not re.search(r"select\s+(?:\w+\.)?\*", without_comments(parts(path)[2]))

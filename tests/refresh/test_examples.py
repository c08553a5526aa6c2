"""Targets and protected texts: read beside the pool, never part of it."""

import json

import numpy as np
import pytest

from databourse.config import RefreshConfig, load_config
from databourse.errors import ConfigError, SourceError
from databourse.progress import silent
from databourse.refresh.context import RunContext
from databourse.refresh.decontamination import protected_examples
from databourse.refresh.examples import (
    embed_examples,
    protected_sections,
    read_examples,
    target_sets,
    targets_id,
)


def config_of(**more):
    return RefreshConfig(
        **{
            "pool": "p",
            "seed": 1,
            "sources": [{"name": "s", "path": "pool.jsonl", "text": "{text}"}],
            "encoder": "hashing",
            "signals": ["length"],
            "budget": {"tokens": 10},
        }
        | more
    )


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def run(tmp_path, warehouse):
    write(
        tmp_path / "qa.jsonl",
        [
            {"q": "two and two?", "a": "four", "y": "sum"},
            {"q": "two and two?", "a": "four", "y": "again"},
            {"q": "one and one?", "a": "two", "y": None},
        ],
    )
    write(tmp_path / "plain.jsonl", [{"text": "a plain example"}])
    targets = [
        {"name": "qa", "path": "qa.jsonl", "prompt": "{q}", "completion": "{a}", "label": "y"},
        {"name": "plain", "path": "plain.jsonl", "text": "{text}"},
    ]
    config = config_of(warehouse=str(warehouse.root), targets=targets)
    return RunContext("run-1", "p", str(tmp_path), config)


def test_examples_come_in_the_order_of_the_config_then_of_their_ids_once_each(run, warehouse):
    assert read_examples(warehouse, run, kind="target", advance=silent) == 4
    qa, plain = target_sets(warehouse, run, encoder_id=None)
    assert (qa.name, plain.name) == ("qa", "plain")
    assert sorted(qa.texts) == ["one and one?\ntwo", "two and two?\nfour"]
    assert dict(zip(qa.texts, qa.labels.tolist(), strict=True)) == {
        "two and two?\nfour": "sum",  # of two that are equal, the first
        "one and one?\ntwo": None,
    }
    assert qa.prompt_characters.tolist() == [13, 13]
    assert plain.prompt_characters.tolist() == [0]
    assert plain.embeddings is None


def test_targets_are_no_source_of_the_run_and_no_document_of_the_pool(run, warehouse):
    read_examples(warehouse, run, kind="target", advance=silent)
    assert warehouse.rows("stg_run__sources", {"run_id": "run-1"}).num_rows == 0
    assert warehouse.rows("stg_run__pool_documents", {"run_id": "run-1"}).num_rows == 0


def test_examples_are_embedded_once_and_by_the_encoder_of_the_pool(run, warehouse):
    read_examples(warehouse, run, kind="target", advance=silent)
    assert embed_examples(warehouse, run, kind="target", advance=silent) == 3
    assert embed_examples(warehouse, run, kind="target", advance=silent) == 0
    encoder_id = warehouse.cursor().execute("select any_value(encoder_id) from embeddings")
    qa, _ = target_sets(warehouse, run, encoder_id=encoder_id.fetchall()[0][0])
    assert qa.embeddings.shape[0] == 2
    assert np.allclose(np.linalg.norm(qa.embeddings, axis=1), 1)


def test_the_id_of_targets_changes_with_a_label_and_not_with_the_run(run, warehouse, tmp_path):
    read_examples(warehouse, run, kind="target", advance=silent)
    first = targets_id(warehouse, "run-1")
    again = RunContext("run-2", "p", run.root, run.config)
    read_examples(warehouse, again, kind="target", advance=silent)
    assert targets_id(warehouse, "run-2") == first
    write(tmp_path / "plain.jsonl", [{"text": "a plain example", "more": 1}])
    third = RunContext("run-3", "p", run.root, run.config)
    read_examples(warehouse, third, kind="target", advance=silent)
    assert targets_id(warehouse, "run-3") == first  # the same examples in another file
    write(tmp_path / "qa.jsonl", [{"q": "two and two?", "a": "four", "y": "product"}])
    fourth = RunContext("run-4", "p", run.root, run.config)
    read_examples(warehouse, fourth, kind="target", advance=silent)
    assert targets_id(warehouse, "run-4") != first


def test_a_set_without_one_example_is_refused_with_the_reason(run, warehouse, tmp_path):
    (tmp_path / "plain.jsonl").write_text('{"text": ""}\n', encoding="utf-8")
    with pytest.raises(SourceError, match="plain"):
        read_examples(warehouse, run, kind="target", advance=silent)


def test_a_row_that_cannot_be_read_would_not_be_protected_and_is_refused(run, warehouse, tmp_path):
    (tmp_path / "plain.jsonl").write_text('{"text": "good"}\n{"text": \n', encoding="utf-8")
    with pytest.raises(SourceError, match=r"target 'plain' has 1 of 2 rows that cannot be read"):
        read_examples(warehouse, run, kind="target", advance=silent)


def test_a_protected_path_alone_is_read_as_the_first_source_is(tmp_path, warehouse):
    write(tmp_path / "test.jsonl", [{"text": "keep me out"}])
    config = config_of(warehouse=str(warehouse.root), decontaminate={"against": "test.jsonl"})
    (section,) = protected_sections(config)
    assert (section.name, section.path, section.text) == ("protected", ("test.jsonl",), "{text}")
    run = RunContext("run-1", "p", str(tmp_path), config)
    assert read_examples(warehouse, run, kind="protected", advance=silent) == 1
    (found,) = protected_examples(warehouse, run.run_id, batch_documents=10)
    assert (found.set_name, found.text) == ("protected", "keep me out")


def test_a_protected_path_without_a_source_of_files_is_refused():
    config = config_of(
        sources=[{"name": "d", "kind": "docstrings"}], decontaminate={"against": "test.jsonl"}
    )
    with pytest.raises(ConfigError, match="no source of files says how"):
        protected_sections(config)


def test_protected_texts_are_those_of_targets_too(run, warehouse):
    read_examples(warehouse, run, kind="target", advance=silent)
    found = protected_examples(warehouse, run.run_id, batch_documents=10)
    assert sorted(each.set_name for each in found) == ["plain", "qa", "qa"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("targets: [{name: t, text: '{x}'}]", "target 't' has no path"),
        ("targets: [{name: t, path: f}]", "target 't' needs either text or prompt"),
        ("targets: [{name: t, path: f, text: a}, {name: t, path: f, text: a}]", "used twice"),
        ("decontaminate: {ngram: 9, long_ngram: 8}", "long_ngram must be at least ngram"),
        ("decontaminate: {against: [{name: t, path: f}]}", "'t' needs either text or prompt"),
        ("signals: [dsir]", "signal 'dsir' needs examples of the tasks"),
    ],
)
def test_a_wrong_section_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    base = "pool: p\nseed: 1\nbudget: {tokens: 5}\nsources: [{name: s, path: f, text: '{text}'}]\n"
    path.write_text(base + ("" if "signals" in text else "signals: [length]\n") + text + "\n")
    with pytest.raises(ConfigError, match=message) as error:
        load_config(path)
    assert "\n" not in str(error.value)


def test_two_parts_of_one_file_give_targets_and_tests_that_share_no_text(tmp_path, warehouse):
    rows = [{"text": f"example {number % 40}", "y": number % 2 + 1} for number in range(60)]
    write(tmp_path / "exam.jsonl", rows)
    shape = {"path": "exam.jsonl", "text": "{text}", "label": "y", "labels": {1: "odd"}}
    config = config_of(
        warehouse=str(warehouse.root),
        targets=[{"name": "dev", "part": {"of": 3, "take": 0}, **shape}],
        compare={"test": {"name": "exam", "part": {"of": 3, "take": [1, 2]}, **shape}},
    )
    run = RunContext("run-1", "p", str(tmp_path), config)
    found = {}
    for kind in ("target", "test"):
        read_examples(warehouse, run, kind=kind, advance=silent)
        (one,) = target_sets(warehouse, run, encoder_id=None, kind=kind)
        found[kind] = set(one.texts)
        assert set(one.labels) == {"odd", "2"}
    assert not found["target"] & found["test"]
    assert found["target"] | found["test"] == {row["text"] for row in rows}
    assert len(found["target"]) > 5


def test_protected_paths_are_read_whole_though_the_first_source_is_not():
    source = {
        "name": "s",
        "path": "pool.jsonl",
        "text": "{text}",
        "label": "y",
        "labels": {"1": "a"},
        "part": {"of": 2, "take": 0},
    }
    config = config_of(sources=[source], decontaminate={"against": "test.jsonl"})
    (section,) = protected_sections(config)
    assert (section.part, section.labels, section.label) == (None, {}, None)

"""What the report is told of models and signals, from rows of the warehouse."""

import json
from types import SimpleNamespace

import pyarrow as pa
import pytest

from databourse.refresh.reporting import signal_versions, training_sections
from databourse.warehouse.store import append

RUN = SimpleNamespace(run_id="run")  # all that is asked of a run here
CURVE = [
    {"step": 0, "tokens": 0, "train_loss": None, "held_out_loss": 8.5},
    {"step": 10, "tokens": 40_960, "train_loss": 6.0, "held_out_loss": 5.25},
    {"step": 20, "tokens": 81_920, "train_loss": 5.0, "held_out_loss": 5.5},
]


def store(warehouse, table, *rows):
    with warehouse.transaction() as cursor:
        append(cursor, table, pa.Table.from_pylist(list(rows)))


def model(fingerprint, fold, **changes):
    return {
        "model_fingerprint": fingerprint,
        "pool": "pool",
        "run_id": "run",
        "fold": fold,
        "folds": 2,
        "documents": 40 + fold,
        "settings": json.dumps({"evaluations": 8, "patience": 1}),
        "curve": json.dumps(CURVE),
        "seconds": 2.0,
        "cpu_seconds": 3.0,
        **changes,
    }


def version(signal_id, signal):
    return {
        "signal_id": signal_id,
        "signal": signal,
        "scope": "pool",
        "parameters": '{"k":10}',
        "model_fingerprint": "",
        "orientation": "larger",
        "revision": 1,
        "seconds": 1.0,
        "cpu_seconds": 1.0,
        "gpu_seconds": 0.0,
        "model_calls": 0,
    }


def details(signal_id, snapshot_id, **found):
    return {"signal_id": signal_id, "snapshot_id": snapshot_id, "details": json.dumps(found)}


def test_a_run_without_reference_models_has_no_section(warehouse):
    store(warehouse, "language_models", model("f0", 0))
    assert training_sections(warehouse, RUN, ()) == ()


def test_the_section_is_about_the_models_of_this_run_alone(warehouse):
    store(
        warehouse,
        "language_models",
        model("f1", 1, run_id="past"),
        model("f0", 0),
        model("unused", 0, documents=99),
    )

    (section,) = training_sections(warehouse, RUN, ("f0", "f1"))

    rows = [[cell.replace("\u00a0", " ") for cell in row] for row in section.tables[0].rows]
    assert rows == [
        ["fold 1", "40", "81,920", "yes", "5.250", "40,960", "2.0 s", "3.0 s", "in this run"],
        ["fold 2", "41", "81,920", "yes", "5.250", "40,960", "2.0 s", "3.0 s", "earlier"],
    ]
    assert "1 of 2 was trained in this run" in section.paragraphs[0]


def test_a_model_found_without_its_record_was_not_trained_in_this_run(warehouse):
    store(warehouse, "language_models", model("f0", 0, seconds=0.0, cpu_seconds=0.0))

    (section,) = training_sections(warehouse, RUN, ("f0",))

    assert section.tables[0].rows[0][-1] == "earlier"


@pytest.mark.parametrize("snapshot_id", ["now", "past"])
def test_a_signal_tells_what_it_found_on_this_snapshot_or_on_all_documents(warehouse, snapshot_id):
    store(warehouse, "signal_versions", *(version(f"{each}@1", each) for each in "abc"))
    store(
        warehouse,
        "signal_details",
        details("a@1", "now", held_out_spearman=0.5),
        details("a@1", "past", held_out_spearman=0.25),
        details("b@1", "-", count=3, is_new=True, missing=None),
        details("d@1", "now", count=4),
    )

    found = signal_versions(warehouse, ["a@1", "b@1", "c@1"], snapshot_id)

    assert {each.signal: each.details for each in found} == {
        "a": {"held_out_spearman": 0.5 if snapshot_id == "now" else 0.25},
        "b": {"count": 3, "is_new": True, "missing": None},
        "c": {},
    }
    assert [each.parameters for each in found] == ["k 10"] * 3

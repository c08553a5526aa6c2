import json
import subprocess
import sys

import pytest

from databourse.errors import ConfigError, UnknownNameError
from databourse.signals.registry import (
    SIGNALS,
    parse_signal,
    signal_id,
    signal_names,
    signal_spec,
)


def test_importing_the_registry_loads_neither_numpy_nor_any_heavy_package():
    heavy = "{'numpy', 'sklearn', 'faiss', 'torch', 'pandas', 'pyarrow', 'scipy', 'duckdb'}"
    code = f"import sys, databourse.signals.registry; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_reading_every_entry_loads_neither_sklearn_nor_faiss():
    code = (
        "import sys\nfrom databourse.signals.registry import *\n"
        "[parse_signal(name) for name in signal_names()]\n"
        "print(sorted({'sklearn', 'faiss', 'torch', 'scipy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", signal_names())
def test_a_signal_declares_all_that_a_reader_needs(name):
    spec = signal_spec(name)
    assert spec.name == name
    assert spec.revision >= 1
    assert all([spec.summary, spec.orientation, spec.cost, spec.needs])
    assert "\n" not in spec.summary + spec.orientation + spec.cost
    for field in spec.parameters.model_fields.values():
        assert not field.is_required()
        assert field.description
    text = sys.modules[SIGNALS[name]].__doc__
    assert all(word in text for word in ("Source:", "Cost:", "Caveat:"))


def test_a_name_alone_takes_every_default():
    spec, parameters = parse_signal("rarity")
    assert (spec.name, parameters.k) == ("rarity", 10)


def test_a_mapping_gives_the_name_and_parameters_beside_it():
    spec, parameters = parse_signal({"name": "rarity", "k": 20})
    assert (spec.name, parameters.k) == ("rarity", 20)


def test_an_unknown_signal_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown signal 'rarety'; did you mean 'rarity'\?"):
        parse_signal("rarety")


def test_an_unknown_parameter_names_the_signal_and_the_nearest():
    message = r"unknown parameter 'mesure' in signal 'uncertainty'; did you mean 'measure'\?"
    with pytest.raises(UnknownNameError, match=message):
        parse_signal({"name": "uncertainty", "mesure": "margin"})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"name": "rarity", "k": 0},
            "signal 'rarity': k must be an integer >= 1 and <= 1000, got 0",
        ),
        (
            {"name": "rarity", "k": "20"},
            "signal 'rarity': k must be an integer >= 1 and <= 1000, got '20'",
        ),
        (
            {"name": "rarity", "k": True},
            "signal 'rarity': k must be an integer >= 1 and <= 1000, got True",
        ),
        (
            {"name": "uncertainty", "inverse_penalty": float("nan")},
            "signal 'uncertainty': inverse_penalty must be a number > 0 and <= 1000000.0, got nan",
        ),
        (
            {"name": "uncertainty", "measure": "entrpy"},
            (
                "signal 'uncertainty': measure must be one of 'entropy', 'margin', "
                "'least_confidence', got 'entrpy'; did you mean 'entropy'?"
            ),
        ),
    ],
)
def test_a_wrong_value_is_told_in_one_line_with_its_range(entry, message):
    with pytest.raises(ConfigError) as caught:
        parse_signal(entry)
    assert str(caught.value) == message


@pytest.mark.parametrize("entry", [{"rarity": {"k": 20}}, {}, {"name": 3}])
def test_another_form_of_entry_is_refused_with_an_example(entry):
    with pytest.raises(ConfigError, match=r"such as rarity or \{name: rarity, k: 20\}"):
        parse_signal(entry)


def version(entry="rarity", model="none", **input_ids):
    spec, parameters = parse_signal(entry)
    return signal_id(spec, parameters, model_fingerprint=model, input_ids=input_ids)


def test_a_signal_id_is_the_name_and_sixteen_hex_digits_and_stays_what_it_was():
    assert version(neighbours="n1") == "rarity:416751090464c47d"


def test_a_signal_id_changes_with_each_thing_that_decides_the_values():
    ids = [
        version(neighbours="n1"),
        version({"name": "rarity", "k": 11}, neighbours="n1"),
        version(neighbours="n2"),
        version(model="other", neighbours="n1"),
        version("length", neighbours="n1"),
    ]
    assert len(set(ids)) == len(ids)


def test_a_default_written_out_is_the_same_version():
    assert version({"name": "rarity", "k": 10}) == version("rarity")


@pytest.mark.parametrize("name", signal_names())
def test_parameters_are_json(name):
    _, parameters = parse_signal(name)
    assert json.loads(json.dumps(parameters.model_dump(mode="json"))) is not None

import dataclasses

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.signals.computation import compute_signal, model_fingerprint
from databourse.signals.inputs import SignalInputs, SignalResult
from databourse.signals.registry import parse_signal
from databourse.signals.specification import SignalParameters, SignalSpec


def giving(values):
    return SignalSpec(
        name="test",
        scope="document",
        needs=frozenset(),
        parameters=SignalParameters,
        compute=lambda parameters, inputs: SignalResult(values=np.asarray(values)),
        revision=1,
        summary="s",
        orientation="o",
        cost="c",
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_with_signal_and_documents(bad):
    inputs = SignalInputs(document_ids=list("abcdef"), seed=1)
    message = "signal 'test': 4 of 6 documents got a value that is not finite, first b, c, d$"
    with pytest.raises(InputError, match=message):
        compute_signal(giving([1, bad, bad, bad, 1, bad]), SignalParameters(), inputs)


@pytest.mark.parametrize("values", [[1.0], [[1.0, 2.0]], [1, 2]])
def test_values_of_the_wrong_shape_or_type_are_refused(values):
    with pytest.raises(InputError, match="signal 'test': it must give 2 float64 values"):
        compute_signal(
            giving(values), SignalParameters(), SignalInputs(document_ids=["a", "b"], seed=1)
        )


def test_no_documents_are_refused(score):
    with pytest.raises(InputError, match="at least one document"):
        score("length", SignalInputs(document_ids=[], seed=1))


def test_missing_inputs_are_named(score):
    with pytest.raises(InputError, match="'diversity': it needs embeddings and topics, not among"):
        score("diversity", SignalInputs(document_ids=["a"], seed=1))


def test_an_embedding_that_is_not_finite_is_refused_with_its_document(score, pool, unit):
    inputs = pool(unit(np.eye(3)))
    broken = inputs.embeddings.copy()
    broken[1, 1] = np.nan
    with pytest.raises(InputError, match=r"'diversity': 1 of 3 documents have .*, first 00001"):
        score("diversity", dataclasses.replace(inputs, embeddings=broken))


@pytest.mark.parametrize("field", ["positions", "similarities"])
def test_neighbours_outside_the_pool_or_not_finite_are_refused(score, pool, unit, field):
    inputs = pool(unit(np.eye(3)), k=1)
    broken = getattr(inputs.neighbours, field).copy()
    broken[2, 0] = 3 if field == "positions" else np.nan
    neighbours = dataclasses.replace(inputs.neighbours, **{field: broken})
    with pytest.raises(InputError, match=r"'rarity': 1 of 3 documents have a .*, first 00002"):
        score("rarity", dataclasses.replace(inputs, neighbours=neighbours))


def test_arrays_of_another_length_are_refused(score, pool, unit):
    inputs = pool(unit(np.eye(3)), k=1)
    with pytest.raises(InputError, match=r"labels must cover 3 documents, got shape \(2,\)"):
        score(
            "neighbour_agreement", dataclasses.replace(inputs, labels=np.array(["a", "b"], object))
        )
    with pytest.raises(InputError, match="tokens must cover 3 documents"):
        score("length", dataclasses.replace(inputs, tokens=np.array([1, 2])))
    with pytest.raises(InputError, match="embeddings must cover 3 documents"):
        score("diversity", dataclasses.replace(inputs, embeddings=inputs.embeddings[:2]))


def test_labels_that_are_not_text_are_refused(score, pool, unit):
    with pytest.raises(InputError, match="2 of 3 documents have a label that is neither"):
        score("neighbour_agreement", pool(unit(np.eye(3)), labels=["a", 1, float("nan")]))


def test_a_fingerprint_needs_nothing_but_ids_and_labels():
    spec, parameters = parse_signal("uncertainty")
    bare = SignalInputs(document_ids=["a"], seed=1, labels=np.array([None]))
    assert model_fingerprint(spec, parameters, bare).startswith("byte-5-gram")
    with pytest.raises(InputError, match="labels"):
        model_fingerprint(spec, parameters, SignalInputs(document_ids=["a"], seed=1))
    spec, parameters = parse_signal("rarity")
    assert model_fingerprint(spec, parameters, bare) == "none"

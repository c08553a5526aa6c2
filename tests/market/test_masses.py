"""Topic masses."""

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.market.masses import PowerMass, topic_masses

COUNTS = np.array([1, 4, 9, 2])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("proportional", np.array([1, 4, 9, 2]) / 16),
        ("balanced", np.full(4, 0.25)),
        (PowerMass(0.5), np.array([1, 2, 3, 2**0.5]) / (6 + 2**0.5)),
    ],
)
def test_masses_are_those_worked_by_hand(rule, expected):
    np.testing.assert_allclose(topic_masses(COUNTS, rule), expected, rtol=1e-15)


def test_power_spans_balanced_to_proportional():
    np.testing.assert_array_equal(
        topic_masses(COUNTS, PowerMass(1.0)), topic_masses(COUNTS, "proportional")
    )
    np.testing.assert_array_equal(
        topic_masses(COUNTS, PowerMass(0.0)), topic_masses(COUNTS, "balanced")
    )


@pytest.mark.parametrize("rule", ["proportional", "balanced", PowerMass(0.3)])
def test_relabelling_topics_moves_masses_bit_for_bit(rule):
    counts = np.random.default_rng(0).integers(1, 1000, 50)
    order = np.random.default_rng(1).permutation(50)

    assert topic_masses(counts[order], rule).tolist() == topic_masses(counts, rule)[order].tolist()


@pytest.mark.parametrize("power", [-0.1, 1.1, float("nan")])
def test_powers_outside_0_to_1_are_refused(power):
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        PowerMass(power)


@pytest.mark.parametrize(("counts", "rule"), [([], "balanced"), ([3, 0], "balanced"), ([3], "any")])
def test_empty_topics_and_unknown_rules_are_refused(counts, rule):
    with pytest.raises(InputError):
        topic_masses(np.array(counts, dtype=int), rule)

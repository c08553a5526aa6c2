import math

import pytest

from databourse.ask_llm import Cost, Interval, QualityScore


def score(yes, no):
    return QualityScore("d", Interval(*yes), Interval(*no), truncated=False)


def test_probability_and_share_by_hand():
    exact = score((math.log(0.3), math.log(0.3)), (math.log(0.1), math.log(0.1)))
    assert exact.p_yes.low == pytest.approx(0.3, abs=1e-15)
    assert exact.p_yes.is_exact
    assert exact.yes_share.low == pytest.approx(0.75, abs=1e-15)
    assert exact.yes_share.is_exact


def test_share_bounds_are_those_of_all_pairs_within_the_bounds():
    yes, no = (0.2, 0.4), (0.1, 0.3)
    found = score([math.log(p) for p in yes], [math.log(p) for p in no]).yes_share
    corners = [a / (a + b) for a in yes for b in no]
    assert (found.low, found.high) == pytest.approx((min(corners), max(corners)), abs=1e-15)


def test_a_share_is_known_where_both_probabilities_underflow():
    tiny = score((-2000.0, -2000.0), (-2000.0 + math.log(3), -2000.0 + math.log(3)))
    assert tiny.p_yes.high == 0
    assert tiny.yes_share.low == pytest.approx(0.25, abs=1e-12)


@pytest.mark.parametrize(
    ("yes", "no", "expected"),
    [
        ((-math.inf, -math.inf), (-math.inf, -math.inf), (0.0, 1.0)),  # nothing is known
        ((-math.inf, -5.0), (-math.inf, -5.0), (0.0, 1.0)),
        ((-1.0, -1.0), (-math.inf, -math.inf), (1.0, 1.0)),
        ((-math.inf, -math.inf), (-1.0, -1.0), (0.0, 0.0)),
    ],
)
def test_shares_where_an_answer_has_no_mass(yes, no, expected):
    found = score(yes, no).yes_share
    assert (found.low, found.high) == expected


def test_costs_add_up_field_by_field():
    assert Cost(1, 10, 100, 1000) + Cost(2, 20, 200, 2000) == Cost(3, 30, 300, 3000)

import math

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.language_models.losses import TokenLosses


def losses(counts, means):
    counts = np.array(counts, dtype=np.int64)
    return TokenLosses(
        token_counts=counts,
        loss_sums=counts * np.array(means, dtype=np.float64),
        entropy_sums=np.zeros(len(counts)),
    )


def instructions(pool, conditioned, unconditioned, *, counts=None, with_prompt=None):
    """Return the inputs of a pool of completions with these mean losses."""
    n = len(conditioned)
    counts = np.array([4] * n if counts is None else counts)
    asked = np.ones(n, dtype=int) if with_prompt is None else np.array(with_prompt, dtype=int)
    return pool(
        n=n,
        conditioned_losses=losses(counts * asked, conditioned),
        completion_losses=losses(counts, unconditioned),
    )


E = math.e


@pytest.mark.parametrize(
    ("ratio", "above_one", "expected"),
    [
        # s(A | Q) of 1, 2, 3, 2.5 over s(A) of 2, 2, 2, 2.5; the fifth has no prompt
        ("loss", "lowest", [0.5, 1.0, 0.0, 1.0, 0.625]),
        ("loss", "keep", [0.5, 1.0, 1.5, 1.0, 1.0]),
        ("perplexity", "lowest", [1 / E, 1.0, 0.0, 1.0, (2 + 1 / E) / 4]),
        ("perplexity", "keep", [1 / E, 1.0, E, 1.0, (2 + 1 / E + E) / 4]),
    ],
)
def test_values_are_those_computed_by_hand(score, pool, ratio, above_one, expected):
    inputs = instructions(pool, [1, 2, 3, 2.5, 0], [2, 2, 2, 2.5, 3], with_prompt=[1, 1, 1, 1, 0])
    result = score({"name": "ifd", "ratio": ratio, "above_one": above_one}, inputs)
    np.testing.assert_allclose(result.values, expected, rtol=1e-15)
    assert result.details == {"judged_documents": 4, "above_one_documents": 1}


def test_by_default_it_is_the_perplexity_ratio_and_a_misleading_prompt_is_worth_nothing(
    score, pool
):
    values = score("ifd", instructions(pool, [1, 3], [2, 2])).values
    assert values.tolist() == [math.exp(-1), 0.0]


def test_the_two_ratios_rank_documents_differently(score, pool):
    inputs = instructions(pool, [0.1, 3.0], [0.2, 4.0])  # 0.5, 0.75 and e^-0.1, e^-1
    quotient = score({"name": "ifd", "ratio": "loss"}, inputs).values
    perplexities = score({"name": "ifd", "ratio": "perplexity"}, inputs).values
    assert quotient[0] < quotient[1]
    assert perplexities[0] > perplexities[1]


@pytest.mark.parametrize("ratio", ["loss", "perplexity"])
def test_values_equal_a_slow_twin_over_tokens(score, pool, ratio):
    rng = np.random.default_rng(9)
    counts = rng.integers(1, 8, 25)
    with_q = [rng.uniform(0.01, 1, count) for count in counts]
    without = [rng.uniform(0.01, 1, count) for count in counts]
    expected = []
    for p, q in zip(with_q, without, strict=True):
        if ratio == "perplexity":
            each = (math.prod(q.tolist()) / math.prod(p.tolist())) ** (1 / len(p))
        else:
            each = sum(math.log(x) for x in p) / sum(math.log(x) for x in q)
        expected.append(0.0 if each > 1 else each)
    inputs = instructions(
        pool,
        [-np.log(each).mean() for each in with_q],
        [-np.log(each).mean() for each in without],
        counts=counts,
    )
    values = score({"name": "ifd", "ratio": ratio}, inputs).values
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    assert 0 < (values == 0).sum() < 25


def test_a_misleading_prompt_is_never_worth_more_than_a_telling_one(score, pool):
    rng = np.random.default_rng(1)
    with_q, without = rng.uniform(0.1, 5, 200), rng.uniform(0.1, 5, 200)
    for ratio in ("loss", "perplexity"):
        inputs = instructions(pool, with_q, without)
        values = score({"name": "ifd", "ratio": ratio}, inputs).values
        assert values[with_q > without].max() < values[with_q <= without].min()
        assert 0 <= values.min() <= values.max() <= 1


@pytest.mark.parametrize("ratio", ["loss", "perplexity"])
def test_an_infinite_ratio_is_worth_nothing_or_the_largest_finite_one(score, pool, ratio):
    # the first is a loss over none, and e to the power of 999
    inputs = instructions(pool, [999.0, 1.0, 3.0], [0.0, 2.0, 2.0])
    lowest = score({"name": "ifd", "ratio": ratio}, inputs)
    assert (lowest.values[0], lowest.values[2]) == (0.0, 0.0)
    assert lowest.details["above_one_documents"] == 2
    kept = score({"name": "ifd", "ratio": ratio, "above_one": "keep"}, inputs).values
    assert kept[0] == kept[2] > 1


def test_nothing_over_nothing_cannot_be_judged_and_gets_the_mean(score, pool):
    inputs = instructions(pool, [0.0, 1.0, 3.0], [0.0, 4.0, 4.0])
    result = score({"name": "ifd", "ratio": "loss"}, inputs)
    assert result.values.tolist() == [0.5, 0.25, 0.75]
    assert result.details["judged_documents"] == 2
    # as perplexities the two are equal
    equal = score({"name": "ifd", "ratio": "perplexity"}, inputs)
    assert equal.values[0] == 1.0


def test_a_completion_without_tokens_cannot_be_judged(score, pool):
    inputs = instructions(pool, [0.0, 1.0], [0.0, 2.0], counts=[0, 4])
    assert score({"name": "ifd", "ratio": "loss"}, inputs).values.tolist() == [0.5, 0.5]


def test_a_pool_in_which_every_ratio_is_infinite_is_refused_where_ratios_are_kept(score, pool):
    inputs = instructions(pool, [1.0, 2.0, 0.0], [0.0, 0.0, 1.0], with_prompt=[1, 1, 0])
    entry = {"name": "ifd", "ratio": "loss"}
    assert score(entry, inputs).values.tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(InputError, match=r"signal 'ifd': .* a finite value for none of 3$"):
        score({**entry, "above_one": "keep"}, inputs)


def test_completions_of_other_tokens_are_refused_with_the_document(score, pool):
    inputs = pool(
        n=3,
        conditioned_losses=losses([0, 4, 5], [0, 1, 1]),
        completion_losses=losses([3, 4, 6], [1, 1, 1]),
    )
    with pytest.raises(InputError, match="got 5 and 6 in document 00002; score completions again"):
        score("ifd", inputs)

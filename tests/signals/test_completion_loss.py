import numpy as np
import pytest

from databourse.errors import ConfigError, InputError
from databourse.language_models.losses import TokenLosses


def losses(counts, loss_sums):
    return TokenLosses(
        token_counts=np.array(counts, dtype=np.int64),
        loss_sums=np.array(loss_sums, dtype=np.float64),
        entropy_sums=np.full(len(counts), 1e6),  # must not matter
    )


# mean losses 2, none, 1, 6
FOUR = losses([4, 0, 3, 1], [8.0, 0.0, 3.0, 6.0])


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"prefer": "low"}, [-2.0, -3.0, -1.0, -6.0]),
        ({"prefer": "high"}, [2.0, 3.0, 1.0, 6.0]),
        # ranks 1/2, 1/6, 5/6
        ({}, [0.0, -2 / 9, -1 / 3, -1 / 3]),
    ],
)
def test_values_are_those_computed_by_hand(score, pool, entry, expected):
    # losses without prompts and of whole texts must not matter
    others = {"completion_losses": losses([1] * 4, [9.0] * 4), "text_losses": None}
    inputs = pool(n=4, conditioned_losses=FOUR, **others)
    result = score({"name": "completion_loss", **entry}, inputs)
    np.testing.assert_allclose(result.values, expected, rtol=1e-15)
    assert result.details == {"judged_documents": 3}


@pytest.mark.parametrize("prefer", ["low", "middle", "high"])
def test_documents_without_a_prompt_change_no_value_of_the_others(score, pool, prefer):
    rng = np.random.default_rng(6)
    counts, sums = rng.integers(1, 9, 20), rng.uniform(1, 9, 20)
    entry = {"name": "completion_loss", "prefer": prefer}
    alone = score(entry, pool(n=20, conditioned_losses=losses(counts, sums))).values
    mixed = losses(np.r_[0, counts, 0], np.r_[0, sums, 0])
    found = score(entry, pool(n=22, conditioned_losses=mixed)).values
    np.testing.assert_array_equal(found[1:-1], alone)
    np.testing.assert_allclose(found[[0, -1]], alone.mean(), rtol=1e-12)


@pytest.mark.parametrize("name", ["completion_loss", "ifd"])
def test_a_pool_without_any_prompt_is_refused_with_the_remedy(score, pool, name):
    none = losses([0, 0], [0.0, 0.0])
    inputs = pool(n=2, conditioned_losses=none, completion_losses=losses([3, 4], [1.0, 1.0]))
    message = (
        f"signal '{name}' needs documents with a prompt and a completion; none of 2 has both: "
        "give a source prompt and completion templates, or leave the signal out"
    )
    with pytest.raises(ConfigError) as caught:
        score(name, inputs)
    assert str(caught.value) == message


def test_losses_that_are_missing_are_refused(score, pool):
    with pytest.raises(InputError, match="'completion_loss': it needs conditioned_losses, not"):
        score("completion_loss", pool(n=2))

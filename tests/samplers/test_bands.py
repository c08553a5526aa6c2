import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError
from databourse.samplers.bands import nearest_rank_first
from databourse.samplers.interface import Candidates, sample
from databourse.samplers.registry import sampler_spec
from databourse.signals.preference import oriented


def test_the_middle_grows_outwards_from_the_median(candidates, buy):
    # ranks of documents 0 .. 4: 9/10, 1/10, 5/10, 3/10, 7/10
    documents = candidates([10] * 5, mean_token_loss=[9.0, 1.0, 3.0, 2.0, 4.0])
    assert buy("perplexity_middle", documents, 10) == [2]
    assert buy("perplexity_middle", documents, 30) == [2, 3, 4]  # equally far: by document_id
    assert buy("perplexity_middle", documents, 99) == [2, 3, 4, 0, 1]


def test_the_middle_is_that_of_documents_and_not_of_tokens(candidates, buy):
    # nearly all the tokens are in the document of the highest loss
    documents = candidates([1, 1, 1000], mean_token_loss=[1.0, 2.0, 3.0])
    assert buy("perplexity_middle", documents, 1) == [1]


def test_equal_losses_share_one_rank(candidates, buy):
    # ranks 3/10 three times, 7/10, 9/10
    documents = candidates([10] * 5, mean_token_loss=[5.0, 1.0, 7.0, 1.0, 1.0])
    assert buy("perplexity_middle", documents, 50) == [0, 1, 3, 4, 2]


losses = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=20).map(np.array)


@given(losses, st.sampled_from([0.0, 0.25, 0.5, 0.8, 1.0]))
def test_the_order_is_that_of_the_signal(values, centre):
    documents = Candidates(
        document_ids=[f"{i:05d}" for i in range(len(values))],
        costs=np.ones(len(values), dtype=np.int64),
        measures={"loss": values},
    )
    sampler = nearest_rank_first("loss", centre=centre)
    bought = sampler(documents, len(values), rng=np.random.default_rng(0)).tolist()
    worth = oriented(values, prefer="middle", centre=centre).tolist()
    assert bought == sorted(range(len(values)), key=lambda i: (-worth[i], i))


@given(losses)
def test_the_middle_stays_when_the_measure_is_turned_round(values):
    picks = []
    for each in (values, -values):
        documents = Candidates(
            document_ids=[f"{i:05d}" for i in range(len(values))],
            costs=np.ones(len(values), dtype=np.int64),
            measures={"loss": each},
        )
        sampler = nearest_rank_first("loss", centre=0.5)
        picks.append(sampler(documents, len(values), rng=np.random.default_rng(0)).tolist())
    assert picks[0] == picks[1]


def test_an_infinite_loss_has_no_rank_and_is_refused(candidates, buy):
    documents = candidates([1, 1], mean_token_loss=[1.0, math.inf])
    with pytest.raises(InputError, match=r"sampler 'perplexity_middle': .* finite numbers"):
        buy("perplexity_middle", documents, 2)


@pytest.mark.parametrize(
    ("name", "members"),
    [
        # document i has the (i + 1)-th lowest loss of ten: ranks 1/20, 3/20, ..., 19/20
        ("ccnet_head", {0, 1, 2}),
        ("ccnet_middle", {3, 4, 5}),
        ("ccnet_tail", {6, 7, 8, 9}),
    ],
)
def test_the_buckets_are_cut_at_30_and_60_percent(candidates, buy, name, members):
    documents = candidates([1] * 10, mean_token_loss=list(range(10)))
    picks = [buy(name, documents, 10, seed) for seed in range(20)]
    assert all(set(pick) == members for pick in picks)
    assert len({tuple(pick) for pick in picks}) > 1  # in a random order


def test_a_rank_on_a_cut_belongs_to_the_bucket_above(candidates, buy):
    # five documents: ranks 1/10, 3/10, 5/10, 7/10, 9/10, the second on the cut of the head
    documents = candidates([1] * 5, mean_token_loss=[1.0, 2.0, 3.0, 4.0, 5.0])
    assert set(buy("ccnet_head", documents, 5)) == {0}
    assert set(buy("ccnet_middle", documents, 5)) == {1, 2}


@given(losses, st.integers(0, 9))
def test_the_buckets_part_the_pool(values, seed):
    documents = Candidates(
        document_ids=[f"{i:05d}" for i in range(len(values))],
        costs=np.ones(len(values), dtype=np.int64),
        measures={"mean_token_loss": values},
    )
    from_buckets = []
    for name in ("ccnet_head", "ccnet_middle", "ccnet_tail"):
        try:
            from_buckets += _buy(name, documents, seed)
        except InputError:  # an empty bucket
            continue
    assert sorted(from_buckets) == list(range(len(values)))


def _buy(name, documents, seed):
    rng = np.random.default_rng(seed)
    return sample(sampler_spec(name), documents, len(documents.costs), rng=rng).tolist()

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.targets import TargetSet

TARGETS = [
    TargetSet(
        name="task",
        texts=["example"],
        labels=np.array([None], dtype=object),
        prompt_characters=np.zeros(1, dtype=np.int64),
    )
]


@pytest.fixture(name="planted")
def _planted(pool):
    """Return inputs of 6 topics of 60 documents whose influence goes up with the topic's number."""
    rng = np.random.default_rng(0)
    topic = np.repeat(np.arange(6), 60)
    influence = (topic - 2.5) + 0.3 * rng.normal(size=360)
    asked = []

    def influence_of(positions):
        asked.extend(positions.tolist())
        return influence[positions]

    inputs = pool(
        n=360,
        topics=[f"topic-{each:03d}" for each in topic],
        vectors=None,
        tokens=np.full(360, 10, dtype=np.int64),
        targets=TARGETS,
        influence_of=influence_of,
    )
    return inputs, topic, influence, asked


def test_documents_of_better_clusters_are_worth_more_and_few_are_measured(score, planted):
    inputs, topic, _, asked = planted
    result = score({"name": "quad", "most_evaluated": 0.2}, inputs)
    assert len(asked) == len(set(asked)) <= 72
    assert result.model_calls == len(asked) == result.details["evaluated_documents"]
    means = [np.median(result.values[topic == each]) for each in range(6)]
    assert means == sorted(means)
    # per token: a tenth of the influence
    assert means[5] == pytest.approx(0.25, abs=0.05)


def test_a_measured_document_is_half_way_between_its_cluster_and_itself(score, planted):
    inputs, topic, influence, asked = planted
    values = score({"name": "quad", "most_evaluated": 0.2}, inputs).values
    unmeasured = sorted(set(range(360)) - set(asked))
    for place in asked[:20]:
        same = [each for each in unmeasured if topic[each] == topic[place]]
        cluster = values[same[0]]
        assert values[place] == pytest.approx((cluster + influence[place] / 10) / 2)


def test_clusters_of_its_own_are_made_of_embeddings(score, pool, unit):
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 3, 300)
    vectors = unit(np.eye(8)[kind] * 3 + 0.3 * rng.normal(size=(300, 8)))
    inputs = pool(
        vectors,
        tokens=np.full(300, 5, dtype=np.int64),
        targets=TARGETS,
        influence_of=lambda positions: kind[positions].astype(np.float64),
    )
    values = score({"name": "quad", "clusters": 3}, inputs).values
    assert values[kind == 2].min() > values[kind == 1].max() > values[kind == 0].max()


def test_an_influence_that_is_no_number_is_refused(score, pool):
    inputs = pool(
        n=40,
        topics=["t"] * 40,
        vectors=None,
        tokens=np.ones(40, dtype=np.int64),
        targets=TARGETS,
        influence_of=lambda positions: np.full(len(positions), np.nan),
    )
    with pytest.raises(InputError, match="finite"):
        score("quad", inputs)

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from databourse.errors import ConfigError, InputError, UnknownNameError
from databourse.language_models.losses import TokenLosses
from databourse.signals.computation import compute_signal, model_fingerprint
from databourse.signals.euds import held_out_accuracy
from databourse.signals.folds import document_folds
from databourse.signals.inputs import GenerationGroups, SignalInputs
from databourse.signals.registry import parse_signal

GENERATIVE = {"name": "euds", "entropies": ["generative"]}
IGSE = ["information", "generative", "semantic"]


def losses(mean_entropies):
    """Return losses of which the generative entropies are those given; NaN has no token."""
    entropies = np.asarray(mean_entropies, dtype=np.float64)
    return TokenLosses(
        token_counts=np.where(np.isnan(entropies), 0, 2),
        loss_sums=np.zeros(entropies.shape),
        entropy_sums=np.where(np.isnan(entropies), 0.0, 2 * entropies),
    )


def generations(groups):
    groups = np.array(groups)
    return GenerationGroups(groups=groups, log_likelihoods=np.zeros(groups.shape))


@pytest.fixture(name="mixed", scope="module")
def _mixed():
    """Return 500 documents with texts, losses and generations, ties in each of their entropies."""
    rng = np.random.default_rng(4)
    sizes = rng.integers(4, 60, 500)
    texts = [" ".join(f"w{each}" for each in rng.integers(0, n, 40)) for n in sizes]
    return {
        "texts": texts,
        "text_losses": losses(rng.integers(0, 300, 500) / 64),
        "generations": generations(rng.integers(0, 9, (500, 12))),
    }


def slow_entropies(mixed):
    """Return the three entropies of each document by their definitions."""
    found = {"information": [], "generative": [], "semantic": []}
    for text in mixed["texts"]:
        found["information"].append(slow_nats(text.split()) / math.log(len(text.split())))
    for total in mixed["text_losses"].entropy_sums:
        found["generative"].append(total / 2)
    for groups in mixed["generations"].groups:
        found["semantic"].append(slow_nats(groups.tolist()))
    return {name: [round(each, 12) for each in values] for name, values in found.items()}


def slow_nats(names):
    shares = [count / len(names) for count in sorted(Counter(names).values())]
    return -sum(share * math.log(share) for share in shares)


def slow_rank(values, value):
    below = sum(each < value for each in values)
    return (below + sum(each == value for each in values) / 2) / len(values)


def slow_euds(columns, combine, low, high):
    """Return the value of each document; low and high are hundredths."""
    n = len(columns[0])
    ranks = [[slow_rank(column, value) for value in column] for column in columns]
    if combine == "rank_mean":
        columns = ranks = [[sum(each) / len(ranks) for each in zip(*ranks, strict=True)]]
    values = [0.0] * n
    for column, ranked in zip(columns, ranks, strict=True):
        ordered = sorted(column)
        ends = ordered[-(-low * (n - 1) // 100)], ordered[high * (n - 1) // 100]
        first, last = (ranked[column.index(end)] for end in ends)
        for i in range(n):
            if not ends[0] <= column[i] <= ends[1]:
                outside = first - ranked[i] if column[i] < ends[0] else ranked[i] - last
                values[i] = min(values[i], -outside)
    return values


def test_values_are_the_shares_of_the_pool_between_a_document_and_the_interval(score, pool):
    result = score(GENERATIVE, pool(n=100, text_losses=losses(np.arange(100) / 8)))
    # 40 are kept, from the 31st to the 70th
    expected = [-(30 - i) / 100 for i in range(30)] + [0.0] * 40
    expected += [-(i - 69) / 100 for i in range(70, 100)]
    np.testing.assert_allclose(result.values, expected, atol=1e-15)
    assert result.details == {
        "model": "none",
        "uses_labels": False,
        "unjudged_documents": 0,
        "generative_low_nats": 30 / 8,
        "generative_high_nats": 69 / 8,
        "kept_documents": 40,
        "kept_share": 0.4,
    }


def test_the_entropies_are_the_golden_ones_and_the_whole_range_keeps_all(score, pool):
    texts = ["a a a a", "a b c d", *["a b a c"] * 38]
    groups = [[0, 0, 0, 0, 0], [0, 1, 2, 3, 4], *[[0, 0, 1, 1, 1]] * 38]
    inputs = pool(texts=texts, generations=generations(groups))
    entry = {"name": "euds", "entropies": ["information", "semantic"]}
    everything = score({**entry, "low": 0.0, "high": 1.0}, inputs)
    assert everything.values.tolist() == [0.0] * 40
    assert not np.signbit(everything.values).any()
    ends = {"information_low": 0.0, "information_high": 1.0}
    ends |= {"semantic_low_nats": 0.0, "semantic_high_nats": pytest.approx(math.log(5))}
    assert ends.items() <= everything.details.items()
    middle = score(entry, inputs)
    ends = {"information_low": 0.75, "information_high": 0.75}  # 1.5 of 2 bits
    ends |= {
        f"semantic_{end}_nats": pytest.approx(0.6730116670, abs=1e-10) for end in ("low", "high")
    }
    assert ends.items() <= middle.details.items()
    assert np.flatnonzero(middle.values < 0).tolist() == [0, 1]


@pytest.mark.parametrize("combine", ["intersection", "rank_mean"])
@pytest.mark.parametrize("entropies", [["information", "generative"], IGSE, ["semantic"]])
def test_values_equal_a_slow_twin(score, pool, mixed, combine, entropies):
    known = slow_entropies(mixed)
    entry = {"name": "euds", "entropies": entropies, "combine": combine}
    for low, high in [(30, 70), (0, 55), (21, 100)]:
        result = score({**entry, "low": low / 100, "high": high / 100}, pool(**mixed))
        expected = slow_euds([known[each] for each in entropies], combine, low, high)
        np.testing.assert_allclose(result.values, expected, atol=1e-12)
        kept = sum(each == 0 for each in expected)
        assert np.flatnonzero(result.values == 0).size == result.details["kept_documents"] == kept
        assert result.details["kept_share"] == kept / 500


def test_entropies_that_are_equal_but_for_rounding_are_equals(score, pool):
    # 8 + 1 + 1 + 1 + 1 and 4 + 4 + 4 generations or words have entropy ln 3
    groups = [[0] * 8 + [1, 2, 3, 4], [0, 1, 2] * 4] * 20
    for sizes in ([10, 2], [2, 10]):  # and others that lie on either side
        documents = groups + [[each % size for each in range(12)] for size in sizes]
        texts = [" ".join(f"w{each}" for each in row) for row in documents]
        inputs = pool(texts=texts, generations=generations(documents))
        for name in ("information", "semantic"):
            values = score({"name": "euds", "entropies": [name]}, inputs).values
            assert set(values[:40].tolist()) == {0.0}


def test_information_and_generative_are_the_default_and_meet_in_an_intersection(score, pool, mixed):
    inputs = pool(**{**mixed, "generations": None})
    chosen = {"entropies": ["generative", "information"], "combine": "intersection"}
    chosen |= {"interval": "quantile", "low": 0.3, "high": 0.7}
    np.testing.assert_array_equal(
        score("euds", inputs).values, score({"name": "euds", **chosen}, inputs).values
    )


def test_an_intersection_is_the_worst_of_its_entropies(score, pool, mixed):
    inputs = pool(**mixed)
    single = [score({"name": "euds", "entropies": [each]}, inputs).values for each in IGSE]
    both = score({"name": "euds", "entropies": IGSE}, inputs).values
    np.testing.assert_array_equal(both, np.min(single, axis=0))
    for each in single:
        assert set(np.flatnonzero(both == 0)) < set(np.flatnonzero(each == 0))


shares = st.tuples(*[st.integers(0, 6)] * 4).map(lambda four: [each / 20 for each in four])


@settings(max_examples=40)
@given(shares, st.sampled_from(["intersection", "rank_mean"]))
def test_widening_an_interval_never_lowers_a_value(ends, combine):
    rng = np.random.default_rng(3)
    inputs = SignalInputs(
        document_ids=[f"{i:04d}" for i in range(300)],
        seed=1,
        labels=np.full(300, None),
        text_losses=losses(rng.integers(0, 40, 300) / 8),
        generations=generations(rng.integers(0, 5, (300, 6))),
    )
    low, high, down, up = ends
    entry = {"name": "euds", "entropies": ["generative", "semantic"], "combine": combine}
    narrow, wide = (
        values_of({**entry, "low": first, "high": last}, inputs)
        for first, last in ((low, 1 - high), (max(low - down, 0.0), min(1 - high + up, 1.0)))
    )
    assert (wide >= narrow).all()
    assert (wide[narrow == 0] == 0).all()


def values_of(entry, inputs):
    spec, parameters = parse_signal(entry)
    return compute_signal(spec, parameters, inputs).values


@settings(max_examples=25)
@given(st.lists(st.integers(-400, 400), min_size=80, max_size=100), st.data())
def test_only_the_order_of_an_entropy_matters_between_quantiles(numbers, data):
    n = len(numbers)
    entropies = np.array(numbers) / 64
    combine = data.draw(st.sampled_from(["intersection", "rank_mean"]))
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=n, max_size=n))
    inputs = SignalInputs(
        document_ids=[f"{i:04d}" for i in range(n)],
        seed=1,
        labels=np.full(n, None),
        text_losses=losses(entropies),
        generations=generations([[each % size for each in range(5)] for size in sizes]),
    )
    entry = {"name": "euds", "entropies": ["generative", "semantic"], "combine": combine}
    entry |= {"low": 0.1, "high": 0.9}
    expected = values_of(entry, inputs)
    for increasing in (np.exp, lambda x: x**3 - 5, lambda x: 1e6 * x):
        changed = dataclasses.replace(inputs, text_losses=losses(increasing(entropies)))
        np.testing.assert_array_equal(values_of(entry, changed), expected)


def test_a_document_without_a_token_is_not_kept_and_gets_the_mean_of_the_others(score, pool):
    entropies = np.random.default_rng(1).integers(0, 900, 200) / 64
    entropies[::8] = np.nan
    judged = ~np.isnan(entropies)
    labels = np.where(judged, "full", "empty").astype(object)
    result = score(GENERATIVE, pool(n=200, text_losses=losses(entropies), labels=labels))
    alone = score(GENERATIVE, pool(n=175, text_losses=losses(entropies[judged])))
    np.testing.assert_array_equal(result.values[judged], alone.values)
    np.testing.assert_allclose(result.values[~judged], alone.values.mean(), rtol=1e-14)
    assert result.details["kept_documents"] == alone.details["kept_documents"]
    assert result.details["unjudged_documents"] == 25
    assert result.details["label_with_lowest_kept_share"] == "empty"
    assert result.details["lowest_kept_share_of_a_label"] == 0.0


def test_a_pool_in_which_no_document_has_a_token_is_refused(score, pool):
    with pytest.raises(InputError, match="none of 40 documents has the entropies generative"):
        score(GENERATIVE, pool(n=40, text_losses=losses([np.nan] * 40)))


def test_classes_that_the_interval_loses_are_told(score, pool):
    entropies = np.arange(100) / 8  # the 31st to the 70th are kept
    labels = np.array(["middle"] * 100, dtype=object)
    labels[:20], labels[60:80], labels[90:] = "low", "edge", None
    result = score(GENERATIVE, pool(n=100, text_losses=losses(entropies), labels=labels))
    told = {key: each for key, each in result.details.items() if "label" in key}
    assert told == {
        "uses_labels": False,
        "lowest_kept_share_of_a_label": 0.0,
        "label_with_lowest_kept_share": "low",
        "labels_of_which_none_is_kept": 1,
    }
    labels[:20] = "edge"  # 10 of 40; and 30 of 50 of the others
    result = score(GENERATIVE, pool(n=100, text_losses=losses(entropies), labels=labels))
    assert result.details["lowest_kept_share_of_a_label"] == 0.25
    assert result.details["label_with_lowest_kept_share"] == "edge"
    assert result.details["labels_of_which_none_is_kept"] == 0


def test_labels_change_no_value_between_quantiles(score, pool, mixed):
    bare = score("euds", pool(**mixed)).values
    labels = [f"class {i % 3}" for i in range(500)]
    np.testing.assert_array_equal(score("euds", pool(**mixed, labels=labels)).values, bare)


def test_an_interval_that_keeps_too_little_is_refused_with_the_remedy(score, pool):
    n = 79  # of which the 25th to the 55th lie between the default quantiles
    with pytest.raises(InputError, match=r"^signal 'euds': at least 32 of 79 .* got 31; widen it"):
        score(GENERATIVE, pool(n=n, text_losses=losses(np.arange(n))))
    n = 81
    kept = score(GENERATIVE, pool(n=n, text_losses=losses(np.arange(n)))).details
    assert kept["kept_documents"] == 33


def test_a_pool_below_the_least_that_is_kept_is_refused(score, pool):
    entry = {**GENERATIVE, "low": 0.0, "high": 1.0}
    assert score(entry, pool(n=32, text_losses=losses(np.arange(32)))).values.tolist() == [0.0] * 32
    with pytest.raises(InputError, match="at least 32 documents, the pool has 31; remove"):
        score(entry, pool(n=31, text_losses=losses(np.arange(31))))


def test_an_entropy_that_all_documents_share_keeps_all(score, pool):
    result = score(GENERATIVE, pool(n=40, text_losses=losses([2.5] * 40)))
    assert result.values.tolist() == [0.0] * 40


def test_progress_adds_up_to_the_documents(score, pool, mixed):
    for entropies in (IGSE, ["information"], ["generative"], ["semantic", "generative"]):
        told = []
        score({"name": "euds", "entropies": entropies}, pool(**mixed, progress=told.append))
        assert sum(told) == 500


@pytest.mark.parametrize(
    ("choices", "needs"),
    [
        ({}, {"labels", "texts", "text_losses"}),
        ({"entropies": ["semantic"]}, {"labels", "generations"}),
        ({"entropies": IGSE}, {"labels", "texts", "text_losses", "generations"}),
        (
            {"entropies": ["information"], "interval": "tuned"},
            {"labels", "texts", "embeddings"},
        ),
    ],
)
def test_each_entropy_and_tuning_name_what_they_need(choices, needs):
    spec, parameters = parse_signal({"name": "euds", **choices})
    assert spec.needs_of(parameters) == needs


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"low": 0.8}, r"low must be at most high, got 0\.8 and 0\.7"),
        ({"entropies": ["semantic", "information", "semantic"]}, "entropies must differ"),
        ({"entropies": []}, "entropies must be"),
        ({"entropies": ["semantics"]}, "entropies must be"),
        ({"bins": 1}, "bins must be an integer >= 2"),
        ({"smallest_bin": 9}, "smallest_bin must be an integer >= 10"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(choices, message):
    with pytest.raises(ConfigError, match=f"signal 'euds': {message}"):
        parse_signal({"name": "euds", **choices})
    with pytest.raises(UnknownNameError):
        parse_signal({"name": "euds", "lows": 0.1})


def test_parameters_written_as_json_are_read_back_as_they_were():
    spec, parameters = parse_signal({"name": "euds", "entropies": IGSE, "high": 0.5})
    again = parse_signal({"name": spec.name, **parameters.model_dump(mode="json")})[1]
    assert again == parameters


# tuned


def planted_pool(pool, unit, n=1500, learnable=(0.4, 0.8)):
    """Return a pool in which vectors tell labels only where the entropy lies in `learnable`."""
    rng = np.random.default_rng(11)
    entropies = rng.random(n)
    classes = rng.integers(0, 3, n)
    inside = (entropies >= learnable[0]) & (entropies < learnable[1])
    told = np.where(inside, classes, rng.integers(0, 3, n))
    vectors = unit(np.eye(6)[told] * 2 + 0.4 * rng.normal(size=(n, 6)))
    labels = [f"class {each}" for each in classes]
    return pool(vectors, labels=labels, text_losses=losses(entropies))


TUNED = {**GENERATIVE, "interval": "tuned", "bins": 5, "smallest_bin": 80}


def test_tuning_finds_the_bins_from_which_labels_can_be_learnt(score, pool, unit):
    entry = {**TUNED, "smallest_bin": 180}
    result = score(entry, planted_pool(pool, unit, learnable=(0.4, 0.8)))
    assert result.details["generative_low_nats"] == pytest.approx(0.4, abs=0.01)
    assert result.details["generative_high_nats"] == pytest.approx(0.8, abs=0.01)
    assert result.details["generative_bins_tried"] == 5
    assert result.details["uses_labels"] is True
    assert result.details["model"].startswith("softmax-regression-probe; scikit-learn ")
    result = score(entry, planted_pool(pool, unit, learnable=(0.0, 0.6)))
    assert result.details["generative_high_nats"] == pytest.approx(0.6, abs=0.01)


def exact_pool(pool, unit):
    """Return a pool whose bins hold 40 training documents each, so that no draw is left to chance.

    Bins are tenths from 1 to 2; the bin from 1.3 to 1.4 has 39. Further documents have no label.
    """
    rng = np.random.default_rng(2)
    ids = [f"{i:05d}" for i in range(900)]
    folds = document_folds(ids, 4)
    entropies, labels = np.empty(900), np.empty(900, dtype=object)
    places = (tenth for _ in range(40) for tenth in range(10) if (tenth, _) != (3, 39))
    for i in range(900):
        labels[i] = f"class {rng.integers(0, 3)}"
        if folds[i] == 0:
            entropies[i] = rng.uniform(-0.3, 1.3)
            continue
        tenth = next(places, None)
        if tenth is None:
            tenth, labels[i] = int(rng.integers(0, 10)), None
        entropies[i] = (tenth + rng.uniform(0.1, 0.9)) / 10
    labelled = np.array([each is not None for each in labels]) & (folds != 0)
    entropies[np.flatnonzero(labelled)[[0, 9]]] = [0.0, 1.0]  # the ends of the bins
    rows = np.array([0 if each is None else int(each[-1]) for each in labels])
    tells = (folds == 0) | (entropies > 0.2) & (entropies < 0.7)
    shown = np.where(tells, rows, rng.integers(0, 3, 900))
    vectors = unit(np.eye(5)[shown] * 2 + rng.normal(size=(900, 5)))
    entropies = np.round(entropies + 1, 6)
    inputs = pool(vectors, labels=labels, text_losses=losses(entropies), document_ids=ids)
    return inputs, folds, entropies, labelled


def slow_best_run(scores):
    """Return the first and last bin of the run with the largest sum above the mean of all."""
    known = [each for each in scores if each is not None]
    gains = [0 if each is None else each - sum(known) / len(known) for each in scores]
    runs = [
        (first, last)
        for first in range(len(scores))
        for last in range(first, len(scores))
        if scores[first] is not None and scores[last] is not None
    ]
    return max(runs, key=lambda run: sum(gains[run[0] : run[1] + 1]))


def test_a_tuned_interval_is_that_of_a_slow_twin(score, pool, unit):
    inputs, folds, entropies, labelled = exact_pool(pool, unit)
    labels = inputs.labels
    held_out = [i for i in range(900) if folds[i] == 0]
    scores = []
    for tenth in range(10):
        rows = [
            i for i in range(900) if labelled[i] and min(int((entropies[i] - 1) * 10), 9) == tenth
        ]
        assert len(rows) == (39 if tenth == 3 else 40)
        probe = LogisticRegression(C=2.0, max_iter=1000)
        probe.fit(inputs.embeddings[rows].astype(np.float64), labels[rows].astype(str))
        found = probe.predict(inputs.embeddings[held_out].astype(np.float64))
        right = sum(one == other for one, other in zip(found, labels[held_out], strict=True))
        scores.append(None if tenth == 3 else right / len(held_out))
    first, last = slow_best_run(scores)
    run = [entropies[i] for i in range(900) if labelled[i]]
    run = [each for each in run if first <= min(int((each - 1) * 10), 9) <= last]
    assert (first, last) == (2, 6)

    entry = {**GENERATIVE, "interval": "tuned", "bins": 10, "smallest_bin": 40, "folds": 4}
    result = score({**entry, "inverse_penalty": 2.0}, inputs)

    assert result.details["generative_low_nats"] == min(run)
    assert result.details["generative_high_nats"] == max(run)
    assert result.details["generative_bins_tried"] == 9
    inside = (entropies >= min(run)) & (entropies <= max(run))
    # documents without a label and of the development split are kept like all others
    assert inside[folds == 0].any()
    assert inside[~labelled & (folds != 0)].any()
    np.testing.assert_array_equal(result.values == 0, inside)


def test_the_development_split_is_in_no_bin(score, pool, unit):
    inputs = planted_pool(pool, unit)
    inside = document_folds(inputs.document_ids, 5) == 0
    entropies = inputs.text_losses.mean_entropies
    moved = np.where(inside, 0.3 + 0.1 * entropies, entropies)
    changed = dataclasses.replace(inputs, text_losses=losses(moved))
    before, after = score(TUNED, inputs).details, score(TUNED, changed).details
    for end in ("generative_low_nats", "generative_high_nats"):
        assert before[end] == after[end]
    assert before["kept_documents"] != after["kept_documents"]


def test_mean_ranks_are_tuned_as_one_entropy(score, pool, unit):
    inputs = planted_pool(pool, unit)
    inputs = dataclasses.replace(inputs, generations=generations([[0, 1]] * 1500))
    entry = {**TUNED, "entropies": ["generative", "semantic"], "combine": "rank_mean"}
    details = score(entry, inputs).details
    # semantic is the same for all: the mean rank is (u + 1/2) / 2, and u is nearly the entropy
    assert details["mean_rank_low"] == pytest.approx(0.45, abs=0.02)
    assert details["mean_rank_high"] == pytest.approx(0.65, abs=0.02)
    assert "generative_low_nats" not in details


def test_each_entropy_is_tuned_as_if_it_were_alone(score, pool, unit):
    inputs = planted_pool(pool, unit)
    inputs = dataclasses.replace(
        inputs, generations=generations([[0, 1 + i % 2, i % 3] for i in range(1500)])
    )
    both = score({**TUNED, "entropies": ["semantic", "generative"]}, inputs)
    for name in ("semantic", "generative"):
        alone = score({**TUNED, "entropies": [name]}, inputs)
        shared = alone.details.items() & both.details.items()
        assert {f"{name}_low_nats", f"{name}_high_nats"} <= dict(shared).keys()
        assert (alone.values >= both.values).all()


def test_tuning_repeats_itself_and_does_not_depend_on_the_order_of_documents(score, pool, unit):
    # labels that nothing tells, so that the draws decide
    inputs = planted_pool(pool, unit, learnable=(2.0, 3.0))
    order = np.random.default_rng(3).permutation(1500)
    permuted = pool(
        inputs.embeddings[order],
        labels=inputs.labels[order],
        text_losses=losses(inputs.text_losses.mean_entropies[order]),
        document_ids=[inputs.document_ids[each] for each in order],
    )
    intervals = set()
    for seed in range(2):
        entry = {**TUNED, "bins": 20, "smallest_bin": 20}
        result = score(entry, dataclasses.replace(inputs, seed=seed))
        again = score(entry, dataclasses.replace(permuted, seed=seed))
        np.testing.assert_array_equal(again.values, result.values[order])
        assert again.details == result.details
        intervals.add(tuple(result.details[f"generative_{end}_nats"] for end in ("low", "high")))
    assert len(intervals) > 1


def test_unlabelled_documents_tune_nothing(score, pool, unit):
    inputs = planted_pool(pool, unit)
    labels = inputs.labels.copy()
    labels[::5] = None
    known = np.flatnonzero(labels != None)  # noqa: E711 - element by element
    partly = score({**TUNED, "smallest_bin": 50}, dataclasses.replace(inputs, labels=labels))
    alone = pool(
        inputs.embeddings[known],
        labels=labels[known],
        text_losses=losses(inputs.text_losses.mean_entropies[known]),
        document_ids=[inputs.document_ids[each] for each in known],
    )
    expected = score({**TUNED, "smallest_bin": 50}, alone).details
    for end in ("generative_low_nats", "generative_high_nats"):
        assert partly.details[end] == expected[end]


def test_a_document_without_a_token_is_in_no_bin_and_is_asked_about_nothing(score, pool, unit):
    inputs, _, entropies, labelled = exact_pool(pool, unit)
    entry = {**GENERATIVE, "interval": "tuned", "bins": 10, "smallest_bin": 40, "folds": 4}
    for low, high in [(1.0, 1.1), (1.2, 1.3)]:
        of_bin = np.flatnonzero(labelled & (entropies > low) & (entropies < high))
        entropies[of_bin[1]] = np.nan
    result = score(entry, dataclasses.replace(inputs, text_losses=losses(entropies)))
    # their bins have 39 now, and the run from 1.2 to 1.7 begins after 1.4
    assert result.details["generative_bins_tried"] == 7
    assert result.details["unjudged_documents"] == 2
    low, high = (result.details[f"generative_{end}_nats"] for end in ("low", "high"))
    assert 1.4 < low < 1.5
    assert 1.6 < high < 1.7
    np.testing.assert_array_equal(result.values == 0, (entropies >= low) & (entropies <= high))


def test_bins_that_are_all_too_small_are_refused(score, pool, unit):
    message = r"signal 'euds': no bin has smallest_bin = 400 documents, .*; use fewer bins"
    with pytest.raises(InputError, match=message):
        score({**TUNED, "smallest_bin": 400}, planted_pool(pool, unit))


@pytest.mark.parametrize("labels", [[None] * 60, ["a"] * 60])
def test_a_pool_without_two_classes_is_refused_before_anything_is_computed(pool, unit, labels):
    inputs = pool(unit(np.ones((60, 2))), labels=labels)
    spec, parameters = parse_signal(TUNED)
    with pytest.raises(ConfigError, match=r"'euds': interval = 'tuned' needs two classes .* label"):
        model_fingerprint(spec, parameters, inputs)
    assert model_fingerprint(*parse_signal(GENERATIVE), inputs) == "none"


@pytest.mark.parametrize("folds", [3, 5])
def test_a_pool_without_labels_in_the_development_split_is_refused(pool, unit, folds):
    inputs = pool(unit(np.ones((60, 2))), labels=[f"class {i % 2}" for i in range(60)])
    spec, parameters = parse_signal({**TUNED, "folds": folds})
    assert model_fingerprint(spec, parameters, inputs).startswith("softmax-regression-probe")
    inputs.labels[document_folds(inputs.document_ids, folds) == 0] = None
    with pytest.raises(ConfigError, match=r"2 with \d+ documents, and 0 documents; set interval"):
        model_fingerprint(spec, parameters, inputs)


def test_accuracy_is_that_computed_by_hand():
    vectors = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [0, 1], [1, 0]], dtype=np.float32)
    codes = np.array([0, 1, 0, 1, 0, 2])
    accuracy = held_out_accuracy(
        vectors,
        codes,
        training=np.array([0, 1]),
        development=np.array([2, 3, 4, 5]),  # right, right, wrong, a class that nobody taught
        inverse_penalty=1.0,
    )
    assert accuracy == 0.5
    alone = held_out_accuracy(
        vectors,
        codes,
        training=np.array([1, 3]),
        development=np.array([0, 1, 2]),
        inverse_penalty=1.0,
    )
    assert alone == pytest.approx(1 / 3)

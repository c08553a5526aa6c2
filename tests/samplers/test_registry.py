"""The list of samplers, and what holds for each of them."""

import dataclasses
import importlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import ConfigError, InputError, UnknownNameError
from databourse.samplers.interface import Candidates, sample
from databourse.samplers.registry import FORMS, SAMPLERS, sampler_names, sampler_spec
from databourse.targets import TargetSet
from databourse.topics import topics_from_names

# what these buy next depends on what they bought, so another budget is another order
STEP_BY_STEP = {"k_center"} | {each for each in SAMPLERS if each.startswith("facility_location")}
STEP_BY_STEP |= {"market_diverse", "d2_pruning", "d2_pruning_perplexity"}
# these draw a set and walk no order at all, or end where their rules say so
DRAWN = {each for each in SAMPLERS if each.startswith("density_")} | {"market_sampled"}
ENDED_BY_RULES = {"quad", "quad_kmeans"}
DRAWN |= ENDED_BY_RULES
SETTLING = {"market_settled", "market_regression"}

BY_MEASURES = ("age:bottom", "age:middle", "age:top", "z_score_sum:age,-2*height")
every_sampler = pytest.mark.parametrize("name", [*sampler_names(), *BY_MEASURES])
every_sampler_with_measures = pytest.mark.parametrize(
    "name", [each for each in (*sampler_names(), *BY_MEASURES) if sampler_spec(each).measures]
)


def pool_of(name, n, rng, *, most=50, ties=False, value=None):
    """Return random documents with all that a sampler needs; each measure as given, or random."""
    values = (lambda: rng.integers(0, 4, n)) if ties else (lambda: rng.uniform(0, 1, n))
    spec = sampler_spec(name)
    rows = rng.normal(size=(n, 6))
    if ties:  # four texts and no more
        rows = rows[rng.integers(0, min(n, 4), n)]
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    names = [f"topic-{each}" for each in rng.integers(0, 4, n)]
    signals = {each: values().astype(np.float64) for each in ("rarity", "length")}
    foreseen = signals["rarity"] + 0.5 * signals["length"] + 0.3 * np.cos(np.arange(n))
    inputs = {
        "embeddings": rows,
        "topics": topics_from_names(names, rows),
        "labels": np.array(names, dtype=np.object_),
        "texts": lambda: iter([[f"text {i % 7} of the pool" for i in range(n)]]),
        "signals": signals,
        "influence_of": lambda positions: np.sin(positions.astype(np.float64)),
        "utilities_of": lambda positions: foreseen[positions],
        "targets": [
            TargetSet(
                name="task",
                texts=("text 3 of the pool", "another text"),
                labels=np.array([names[0], None], dtype=np.object_),
                prompt_characters=np.zeros(2, dtype=np.int64),
                embeddings=rows[[0, -1]],
            )
        ],
    }
    return Candidates(
        document_ids=[f"{i:05d}" for i in range(n)],
        costs=rng.integers(1, most + 1, n),
        measures={
            each: (values() if value is None else np.array(value)).astype(np.float64)
            for each in spec.measures
        },
        **{each: inputs[each] for each in spec.inputs},
    )


def test_importing_the_registry_loads_no_numpy():
    code = "import sys, databourse.samplers.registry; print('numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_loading_every_sampler_loads_no_heavy_package():
    code = (
        "import sys\nfrom databourse.samplers.registry import *\n"
        "[sampler_spec(name) for name in sampler_names()]\n"
        "print(sorted({'sklearn', 'faiss', 'torch', 'scipy', 'duckdb'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_sampler_of_a_listed_module_is_listed_and_once():
    modules = sorted(set(SAMPLERS.values()))
    defined = [
        (spec.name, module)
        for module in modules
        for spec in importlib.import_module(module).SAMPLERS
    ]
    assert sorted(defined) == sorted(SAMPLERS.items())


@every_sampler
def test_a_sampler_declares_all_that_a_reader_needs(name):
    spec = sampler_spec(name)
    assert spec.name == name
    assert spec.summary
    assert "\n" not in spec.summary
    assert "Source:" in sys.modules[SAMPLERS.get(name, SAMPLERS["random"])].__doc__


def test_an_unknown_sampler_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown sampler 'perplexity_hihg'; did you mean"):
        sampler_spec("perplexity_hihg")


def test_an_unknown_sampler_near_to_none_is_told_all_there_are_and_the_forms():
    with pytest.raises(UnknownNameError) as error:
        sampler_spec("qqq")
    assert all(each in str(error.value) for each in (*sampler_names(), *FORMS))


def test_a_sum_without_its_measures_is_told_how_to_name_them():
    with pytest.raises(UnknownNameError, match=r"valid: .*z_score_sum:MEASURE,-MEASURE"):
        sampler_spec("z_score_sum")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rarity:tpo", r"unknown end 'tpo' in sampler 'rarity:tpo'; did you mean 'top'\?"),
        ("rarity:", r"unknown end '' in sampler 'rarity:'; valid: bottom, middle, top"),
        (":top", "sampler ':top' names no measure; write MEASURE:bottom"),
        ("z_score_sum:", "a term must be MEASURE, -MEASURE or WEIGHT.MEASURE, got ''"),
        ("z_score_sum:a,,b", "a term must be .*, got ''; for example z_score_sum:rarity"),
        ("z_score_sum:2*", r"a term must be .*, got '2\*'"),
        ("z_score_sum:--a", "a term must be .*, got '--a'"),
        ("z_score_sum:a,0*b", r"a weight must be a number > 0, got '0\*b'"),
        ("z_score_sum_per_token:1.2.3*b", r"a weight must be a number > 0, got '1.2.3\*b'"),
        ("z_score_sum:1e999*b", "a weight must be a number > 0"),
        ("z_score_sum:a,-a", "'a' comes twice"),
    ],
)
def test_a_name_with_a_colon_that_cannot_be_read_is_told_why(name, message):
    with pytest.raises(ConfigError, match=message):
        sampler_spec(name)


def test_a_measure_may_have_a_colon_in_its_name(candidates, buy):
    documents = candidates([1, 1], **{"loss:en": [1.0, 2.0]})
    assert buy("loss:en:top", documents, 1) == [1]


@pytest.mark.parametrize("name", sorted({*SAMPLERS, *BY_MEASURES} - STEP_BY_STEP - DRAWN))
@given(st.integers(0, 2**32), st.integers(0, 400), st.booleans())
def test_a_sampler_never_spends_more_and_passes_over_nothing_that_fits(name, seed, budget, ties):
    documents = pool_of(name, 30, np.random.default_rng(seed), ties=ties)
    everything = int(documents.costs.sum())
    try:
        # what it would buy if it could buy all that it keeps
        kept = sample(
            sampler_spec(name), documents, everything, rng=np.random.default_rng(seed)
        ).tolist()
    except InputError:  # it keeps none of these
        return
    bought = sample(sampler_spec(name), documents, budget, rng=np.random.default_rng(seed)).tolist()
    left, slow = budget, []
    for position in kept:
        if documents.costs[position] <= left:
            slow.append(position)
            left -= int(documents.costs[position])
    assert bought == slow


@pytest.mark.parametrize("name", sorted(STEP_BY_STEP))
@given(st.integers(0, 2**32), st.integers(0, 400), st.booleans())
def test_step_by_step_nothing_more_is_spent_and_nothing_left_fits(name, seed, budget, ties):
    documents = pool_of(name, 30, np.random.default_rng(seed), ties=ties)
    bought = sample(sampler_spec(name), documents, budget, rng=np.random.default_rng(seed))
    left = budget - int(documents.costs[bought].sum())
    assert left >= 0
    assert (np.delete(documents.costs, bought) > left).all()


@pytest.mark.parametrize("name", sorted(DRAWN))
@given(st.integers(0, 2**32), st.integers(0, 400), st.booleans())
def test_a_drawn_set_never_costs_more_than_the_budget(name, seed, budget, ties):
    documents = pool_of(name, 30, np.random.default_rng(seed), ties=ties)
    bought = sample(sampler_spec(name), documents, budget, rng=np.random.default_rng(seed))
    assert documents.costs[bought].sum() <= budget


@every_sampler
def test_the_same_generator_buys_the_same_and_another_one_only_if_it_is_random(name):
    # of fewer documents than they would settle these settle all, and draw nothing
    n, budget = (4_000, 9_000) if name in SETTLING else (200, 300)
    documents = pool_of(name, n, np.random.default_rng(3))
    picks = [
        sample(sampler_spec(name), documents, budget, rng=np.random.default_rng(seed)).tolist()
        for seed in (1, 1, 2)
    ]
    assert picks[0] == picks[1]
    assert (picks[0] != picks[2]) == sampler_spec(name).is_random


@pytest.mark.parametrize("name", sorted({*SAMPLERS, *BY_MEASURES} - ENDED_BY_RULES))
def test_one_document_is_bought_if_it_fits(name):
    documents = pool_of(name, 1, np.random.default_rng(0), value=[0.5])
    documents = dataclasses.replace(documents, costs=np.array([7]))
    kept = not name.startswith("ccnet_") or name == "ccnet_middle"  # its rank is 1/2

    def bought(budget):
        rng = np.random.default_rng(0)
        return sample(sampler_spec(name), documents, budget, rng=rng).tolist()

    if kept:
        assert [bought(budget) for budget in (7, 6, 0)] == [[0], [], []]
    else:
        with pytest.raises(InputError, match=f"sampler '{name}': none of 1 documents can be"):
            bought(7)


@every_sampler_with_measures
def test_a_measure_that_is_missing_is_named_with_those_that_are_there(name):
    documents = pool_of(name, 1, np.random.default_rng(0))
    documents = dataclasses.replace(documents, measures={"other": np.array([1.0])})
    with pytest.raises(InputError) as error:
        sample(sampler_spec(name), documents, 1, rng=np.random.default_rng(0))
    first = min(sampler_spec(name).measures)
    assert str(error.value) == (
        f"sampler '{name}': it needs the measure '{first}'; the candidates have: other"
    )


@pytest.mark.parametrize(
    ("name", "lacking"),
    [(name, each) for name in sampler_names() for each in sorted(sampler_spec(name).inputs)],
)
def test_an_input_that_is_missing_is_named(name, lacking):
    documents = pool_of(name, 5, np.random.default_rng(0))
    documents = dataclasses.replace(documents, **{lacking: None})
    with pytest.raises(InputError) as error:
        sample(sampler_spec(name), documents, 1, rng=np.random.default_rng(0))
    assert str(error.value) == f"sampler '{name}': it needs {lacking}; the candidates have none"


@every_sampler_with_measures
def test_a_pool_in_which_no_document_has_a_measure_is_refused(name):
    documents = pool_of(name, 2, np.random.default_rng(0), value=[np.nan, np.nan])
    with pytest.raises(InputError) as error:
        sample(sampler_spec(name), documents, 2, rng=np.random.default_rng(0))
    assert str(error.value).startswith(f"sampler '{name}': none of 2 documents can be chosen")


@every_sampler_with_measures
def test_a_document_without_a_measure_is_never_bought_and_changes_no_choice(name):
    rng = np.random.default_rng(5)
    full = pool_of(name, 60, rng)
    lacking = {}
    for each, values in full.measures.items():
        lacking[each] = values.copy()
        lacking[each][rng.integers(0, 60, 8)] = np.nan
    holes = dataclasses.replace(full, measures=lacking)
    complete = np.flatnonzero(~np.isnan(list(lacking.values())).any(axis=0))
    alone = Candidates(
        document_ids=[full.document_ids[i] for i in complete],
        costs=full.costs[complete],
        measures={each: values[complete] for each, values in lacking.items()},
        embeddings=None if full.embeddings is None else full.embeddings[complete],
    )
    for budget in (100, int(full.costs.sum())):
        found = sample(sampler_spec(name), holes, budget, rng=np.random.default_rng(4))
        expected = sample(sampler_spec(name), alone, budget, rng=np.random.default_rng(4))
        assert found.tolist() == complete[expected].tolist()


@every_sampler
def test_a_negative_budget_is_refused(name):
    documents = pool_of(name, 3, np.random.default_rng(0), value=[0.4, 0.5, 0.6])
    with pytest.raises(InputError, match="the budget must be >= 0, got -1"):
        sample(sampler_spec(name), documents, -1, rng=np.random.default_rng(0))

"""The list of samplers, and what holds for each of them."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databourse.errors import InputError, UnknownNameError
from databourse.samplers.interface import Candidates, sample
from databourse.samplers.registry import SAMPLERS, sampler_names, sampler_spec

every_sampler = pytest.mark.parametrize("name", sampler_names())


def pool_of(name, n, rng, *, most=50, ties=False):
    """Return random documents with all that a sampler needs."""
    values = (lambda: rng.integers(0, 4, n)) if ties else (lambda: rng.uniform(0, 1, n))
    return Candidates(
        document_ids=[f"{i:05d}" for i in range(n)],
        costs=rng.integers(1, most + 1, n),
        measures={each: values().astype(np.float64) for each in sampler_spec(name).measures},
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
    assert spec.measures
    assert spec.summary
    assert "\n" not in spec.summary
    assert "Source:" in sys.modules[SAMPLERS[name]].__doc__


def test_an_unknown_sampler_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown sampler 'perplexity_hihg'; did you mean"):
        sampler_spec("perplexity_hihg")


@every_sampler
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


@every_sampler
def test_the_same_generator_buys_the_same_and_another_one_only_if_it_is_random(name):
    documents = pool_of(name, 200, np.random.default_rng(3))
    picks = [
        sample(sampler_spec(name), documents, 300, rng=np.random.default_rng(seed)).tolist()
        for seed in (1, 1, 2)
    ]
    assert picks[0] == picks[1]
    assert (picks[0] != picks[2]) == sampler_spec(name).is_random


@every_sampler
def test_one_document_is_bought_if_it_fits(name, candidates, buy):
    measures = {each: [0.5] for each in sampler_spec(name).measures}
    kept = not name.startswith("ccnet_") or name == "ccnet_middle"  # its rank is 1/2
    if kept:
        assert buy(name, candidates([7], **measures), 7) == [0]
        assert buy(name, candidates([7], **measures), 6) == []
        assert buy(name, candidates([7], **measures), 0) == []
    else:
        with pytest.raises(InputError, match=f"sampler '{name}': none of 1 documents can be"):
            buy(name, candidates([7], **measures), 7)


@every_sampler
def test_a_measure_that_is_missing_is_named_with_those_that_are_there(name, candidates, buy):
    with pytest.raises(InputError, match=rf"sampler '{name}': it needs the measure '\w+'; .*: age"):
        buy(name, candidates([1], age=[1.0]), 1)


@every_sampler
def test_a_pool_in_which_no_document_has_a_measure_is_refused(name, candidates, buy):
    measures = {each: [np.nan, np.nan] for each in sampler_spec(name).measures}
    with pytest.raises(InputError, match=f"sampler '{name}': none of 2 documents can be chosen"):
        buy(name, candidates([1, 1], **measures), 2)


@every_sampler
def test_a_document_without_a_measure_is_never_bought_and_changes_no_choice(name):
    rng = np.random.default_rng(5)
    full = pool_of(name, 60, rng)
    lacking = {}
    for each, values in full.measures.items():
        lacking[each] = values.copy()
        lacking[each][rng.integers(0, 60, 8)] = np.nan
    holes = Candidates(document_ids=full.document_ids, costs=full.costs, measures=lacking)
    complete = np.flatnonzero(~np.isnan(list(lacking.values())).any(axis=0))
    alone = Candidates(
        document_ids=[full.document_ids[i] for i in complete],
        costs=full.costs[complete],
        measures={each: values[complete] for each, values in lacking.items()},
    )
    for budget in (100, int(full.costs.sum())):
        found = sample(sampler_spec(name), holes, budget, rng=np.random.default_rng(4))
        expected = sample(sampler_spec(name), alone, budget, rng=np.random.default_rng(4))
        assert found.tolist() == complete[expected].tolist()


@every_sampler
def test_a_negative_budget_is_refused(name, candidates, buy):
    measures = {each: [0.4, 0.5, 0.6] for each in sampler_spec(name).measures}
    with pytest.raises(InputError, match=f"sampler '{name}': the budget must be >= 0, got -1"):
        buy(name, candidates([1, 1, 1], **measures), -1)

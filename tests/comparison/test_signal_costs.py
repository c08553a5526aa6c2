import pytest

from databourse.comparison.signal_costs import StoredSignal, signal_cost
from databourse.samplers.registry import sampler_spec

STORED = {
    "rarity": StoredSignal(frozenset({"embeddings"}), 4.0, 3.0),
    "perplexity": StoredSignal(frozenset({"text_losses"}), 40.0, 30.0),
    "euds": StoredSignal(frozenset({"text_losses", "generations"}), 90.0, 80.0),
    "trak": StoredSignal(frozenset({"gradients"}), 20.0, 15.0),
    "quad": StoredSignal(frozenset({"influence_of", "topics"}), 12.0, 10.0),
}


@pytest.mark.parametrize(
    ("sampler", "signals", "cpu_seconds"),
    [
        ("random", (), 0.0),
        ("k_center", (), 0.0),
        ("rarity:top", ("rarity",), 3.0),
        ("perplexity_low", ("perplexity",), 30.0),  # the cheapest that reads the same losses
        ("dsdm", ("trak",), 15.0),
        ("quad", ("quad",), 10.0),
        ("z_score_sum:rarity,-2*trak", ("rarity", "trak"), 18.0),
        ("d2_pruning_perplexity", ("perplexity",), 30.0),
        ("market", tuple(sorted(STORED)), 138.0),
        ("ask_llm_top", (), 0.0),  # nothing that is stored: it cannot run either
    ],
)
def test_a_sampler_costs_what_its_signals_cost(sampler, signals, cpu_seconds):
    found = signal_cost(sampler_spec(sampler), STORED)
    assert found.signals == signals
    assert found.cpu_seconds == cpu_seconds
    assert found.seconds == sum(STORED[name].seconds for name in signals)

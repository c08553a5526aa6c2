"""The page of benchmarks is what the results say."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def write_tables(benchmark_module):
    """Return the writer."""
    return benchmark_module("write_tables")


def spread(median, least=None, most=None):
    """Return a spread; without its ends, of one value."""
    return {
        "median": median,
        "least": median if least is None else least,
        "most": median if most is None else most,
    }


def clearing():
    """Return a result of one candidate."""
    costs = {
        "wall_seconds": spread(0.25, 0.2, 0.3),
        "cpu_seconds": spread(0.5),
        "peak_bytes": spread(2e8),
    }
    ratio = {"wall": spread(1.5, 1.25, 2.0), "cpu": spread(3.0), "peak": spread(1.2)}
    steps = ("clear", "clear and select")
    return {
        "kind": "clearing",
        "n_documents": 1_000_000,
        "n_signals": 8,
        "n_topics": 256,
        "rounds": 7,
        "versions": {"duckdb": "9.9"},
        "command": "python -m something",
        "candidates": {
            "one": {
                "steps": dict.fromkeys(steps, costs),
                "ratios": dict.fromkeys(steps, ratio),
                "bytes_above_input": dict.fromkeys(steps, spread(5e7)),
                "largest_difference_of_log_price": 3.2e-12,
                "documents_bought": 12345,
                "documents_bought_differently": 2,
            }
        },
        "floors": {"one read": costs},
    }


def command():
    """Return a result of a whole command."""
    return {
        "kind": "command",
        "name": "price_1000x2",
        "shown": "databourse price pool.yaml",
        "repeats": 5,
        "versions": {"duckdb": "9.9"},
        "command": "python -m another",
        "costs": {
            "wall_seconds": spread(1.0),
            "cpu_seconds": spread(0.9),
            "peak_bytes": spread(3e8),
        },
    }


def scoring():
    """Return a result of one scorer."""
    return {
        "kind": "scoring",
        "corpus": "GSM8K",
        "n_documents": 1000,
        "n_tokens": 150_000,
        "threads": 2,
        "model": {"layers": 2, "width": 128, "vocabulary": 2048, "context_tokens": 256},
        "rounds": 5,
        "versions": {"torch": "9.9"},
        "command": "python -m scorers",
        "candidates": {
            "one": {
                "times_as_fast": spread(2.5, 2.0, 3.0),
                "times_as_fast_by_cpu": spread(1.5),
                "largest_difference_per_token": 4.3e-6,
                "tokens_per_second": spread(20_000),
                "costs": {"cpu_seconds": spread(6.25)},
                "bytes_above_model": spread(3e7),
            }
        },
    }


def test_scorers_show_their_quality_beside_their_speed(write_tables):
    page = write_tables.page([scoring()])
    assert "| one | 2.5 (2 to 3) | 1.5 | 4.3e-06 | 2e+04 | 6.25 | 30 |" in page
    assert "    python -m scorers\n" in page


def test_ratios_come_before_seconds(write_tables):
    page = write_tables.page([clearing()])
    ratios = "| one | 1.5 (1.25 to 2) | 1.5 (1.25 to 2) | 3 | 3 | 1.2 | 3.2e-12 | 2 of 12,345 |"
    seconds = "| one | 0.25 (0.2 to 0.3) | 0.25 (0.2 to 0.3) | 0.5 | 0.5 | 200 | 50 |"
    assert ratios in page
    assert seconds in page
    assert page.index(ratios) < page.index(seconds)
    assert "trust ratios" in page


def test_every_table_has_the_command_that_makes_it(write_tables):
    page = write_tables.page([clearing(), command()])
    assert "    python -m something\n" in page
    assert "    python -m another\n" in page
    assert "| `databourse price pool.yaml` | 1 | 0.9 | 300 |" in page


def test_rows_are_as_wide_as_their_heads(write_tables):
    lines = write_tables.page([clearing(), command(), scoring()]).splitlines()
    blocks = "\n".join(line if line.startswith("|") else "" for line in lines).split("\n\n")
    tables = [block.strip().splitlines() for block in blocks if block.strip()]
    assert len(tables) == 5
    for table in tables:
        assert len({line.count("|") for line in table}) == 1


def test_a_result_of_an_unknown_kind_is_refused(write_tables):
    with pytest.raises(ValueError, match="kind 'other'"):
        write_tables.page([{"kind": "other"}])


def test_the_page_in_docs_is_what_the_stored_results_say(write_tables):
    files = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    results = [json.loads(file.read_text()) for file in files]
    assert (ROOT / "docs" / "benchmarks.md").read_text() == write_tables.page(results)

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


def density():
    """Return a result of one preset against two exact ways."""
    ways = ("computed", "looked up")
    return {
        "kind": "density",
        "n_documents": 100_000,
        "dimensions": 384,
        "n_exact": 500,
        "rounds": 3,
        "versions": {"scipy": "9.9"},
        "command": "python -m densities",
        "presets": {
            "sharp": {
                "cpu_seconds": spread(6.5, 6.0, 7.0),
                "exact_cpu_seconds": dict.fromkeys(ways, spread(800.0)),
                "times_as_fast": {"computed": spread(120.0), "looked up": spread(30.0, 25.0, 32.0)},
                "weight_ratio": 1.773,
                "exact_weight_ratio": 1.494,
                "relative_error": {"median": 0.018, "root_mean_square": 0.027, "largest": 0.084},
            }
        },
    }


def facility_location():
    """Return a result of the product and one package; another cannot be installed."""
    costs = {
        "times_whole_cpu": spread(4.5, 4.0, 5.0),
        "times_choose_cpu": spread(12.0),
        "wall_seconds": spread(9.5),
        "cpu_seconds": spread(3.25),
        "choose_cpu_seconds": spread(3.0),
        "bytes_above_input": spread(7e7),
    }
    found = {
        "same_in_order": 151,
        "same": 187,
        "value_ratio": 0.99999951,
        "largest_shortfall": 2e-5,
    }
    return {
        "kind": "facility_location",
        "n_documents": 2000,
        "dimensions": 384,
        "n_chosen": 1200,
        "rounds": 3,
        "versions": {"apricot-select": "9.9"},
        "command": "python -m facilities",
        "candidates": {"apricot-select": costs | found},
        "missing": {"submodlib-py": "submodlib-py cannot be installed: a | b"},
    }


def samplers():
    """Return a result of one sampler at two budgets, of which one could not be met."""
    run = {"share": 0.05, "n_bought": 1234, "unspent_share": 0.0123}
    return {
        "kind": "samplers",
        "name": "ag_news",
        "n_documents": 5000,
        "total_cost": 123_456,
        "shares": [0.05, 0.5],
        "versions": {"torch": "9.9"},
        "command": "python -m everyone",
        "samplers": {
            "k_center": {
                "runs": [run],
                "cpu_seconds": spread(2.5),
                "wall_seconds": spread(3.5, 3.0, 4.0),
                "bytes_above_bundle": spread(6e7),
            }
        },
        "not_run": {"ask_llm_top": "the bundle lacks the measure p_yes"},
        "broken": {"k_center at 50%": "it spent 8 of a budget of 7"},
    }


def test_a_sketch_shows_its_errors_beside_its_speed_once_per_exact_way(write_tables):
    page = write_tables.page([density()])
    errors = "1.8% | 2.7% | 8.4% | 1.77 (1.49) |"
    assert f"| `sharp` | computed | 120 | 6.5 (6 to 7) | 800 | {errors}" in page
    assert f"| `sharp` | looked up | 30 (25 to 32) | 6.5 (6 to 7) | 800 | {errors}" in page
    assert "## Density of 100,000 documents of 384 dimensions\n" in page
    assert "timed on 500 documents" in page
    assert "3 rounds; scipy 9.9.\n\n    python -m densities\n" in page


def test_gradients_show_speed_by_projection_and_threads(write_tables):
    result = {
        "kind": "gradients",
        "corpus": "GSM8K",
        "n_documents": 400,
        "n_tokens": 23_685,
        "rounds": 3,
        "versions": {"torch": "9.9"},
        "model": {"vocabulary": 2048, "layers": 2, "width": 128},
        "projections": {
            "SJLT": {
                "n_features": 1024,
                "largest_relative_difference": 7.8e-07,
                "threads": {
                    "2": {
                        "times_as_fast": spread(3.0, 2.5, 3.5),
                        "times_as_fast_by_cpu": spread(2.0),
                        "documents_per_second": {"loop": spread(70.0), "hooks": spread(210.0)},
                    }
                },
            }
        },
        "command": "python -m gradients",
    }
    page = write_tables.page([result])
    assert "| SJLT | 1,024 | 2 | 3 (2.5 to 3.5) | 2 | 210 | 70 | 7.8e-07 |" in page
    assert "400 documents of GSM8K, 23,685 tokens" in page
    assert "vocabulary 2,048" in page


def test_readers_show_ratios_to_the_first_before_seconds(write_tables):
    kinds = ("wall_seconds", "cpu_seconds", "peak_bytes")
    found = {
        "costs": dict(zip(kinds, (spread(9.0), spread(12.0), spread(5e8)), strict=True)),
        "times": dict(zip(kinds, (spread(4.5), spread(6.0), spread(2.5)), strict=True)),
    }
    result = {
        "kind": "ingestion",
        "n_documents": 500_000,
        "n_bytes": 350_000_000,
        "batch_documents": 10_000,
        "threads": 2,
        "rounds": 3,
        "versions": {"duckdb": "9.9"},
        "candidates": {"ingestion": found},
        "command": "python -m readers",
    }
    page = write_tables.page([result])
    assert "| ingestion | 4.5 | 6 | 2.5 | 9 | 12 | 500 |" in page
    assert "500,000 rows of JSON lines, 350 MB, 2 threads" in page


def test_planted_leaks_show_recall_by_kind_and_what_pools_lose(write_tables):
    pools = {
        "train": {
            "documents": 400,
            "dropped": 10,
            "by_reason": {"near_match": 4, "exact": 6},
        },
        "others": {"documents": 200, "dropped": 0, "by_reason": {}},
    }
    rule = {
        "recall": {"exact": {"leaks": 20, "found": 20}, "half": {"leaks": 8, "found": 6}},
        "pools": pools,
        "cost": {"wall_seconds": 9.0, "cpu_seconds": 4.5, "peak_bytes": 9e8},
        "bytes_above_texts": 6e7,
    }
    result = {
        "kind": "planted_leaks",
        "set": "exam",
        "n_examples": 30,
        "n_leaking": 20,
        "pool": "train",
        "kinds": ["exact", "half"],
        "defaults": {"ngram": 8},
        "versions": {"numpy": "9.9"},
        "rules": {"8-grams": rule},
        "command": "python -m leaks",
    }
    page = write_tables.page([result])
    assert "| 8-grams | 1.000 (20 of 20) | 0.750 (6 of 8) |" in page
    assert ("| 8-grams | 2.50% (10 of 400) | 0.00% (0 of 200) | near match 4, exact 6 |") in page
    assert "20 of 30 test examples leak into train" in page
    assert "4.5 CPU s and 60 MB above its texts" in page


def test_known_groups_show_recall_of_similar_pairs_and_precision_of_drops(write_tables):
    run = {
        "documents": 1_200,
        "distinct": 1_100,
        "pairs_of_groups": 900,
        "similar_pairs_of_groups": 400,
        "thinned_pairs": 390,
        "dropped": 250,
        "dropped_for_own_group": 100,
        "dropped_for_similar": 240,
    }
    result = {
        "kind": "known_groups",
        "command": "python -m benchmarks.dedup.known_groups",
        "threshold": 0.8,
        "runs": {"prompts": run},
        "versions": {"python": "3.11"},
    }
    text = write_tables.page([result])
    assert "| prompts | 1,200 | 100 | 250 | 400 of 900 | 0.975 | 0.96 | 0.4 |" in text


def test_dsir_shows_agreement_and_speed_beside_its_library(write_tables):
    found = {
        "times_cpu": spread(9.0),
        "cpu_seconds": spread(6.5),
        "documents_per_cpu_second": spread(1100.0),
        "bytes_above_input": spread(5e6),
        "spearman": 0.7219,
        "same_of_top_tenth": 0.47,
        "largest_relative_difference_from_sha256": 1.44e-15,
    }
    result = {
        "kind": "dsir",
        "corpus": "AG News",
        "n_documents": 7_400,
        "n_targets": 200,
        "rounds": 3,
        "versions": {"scipy": "9.9"},
        "candidates": {"data-selection": found},
        "missing": {"other": "other cannot be installed"},
        "command": "python -m dsir",
    }
    page = write_tables.page([result])
    assert "| data-selection | 9 | 6.5 | 1.1e+03 | 5 | 0.72 | 47% | 1.4e-15 |" in page
    assert "| `other` | other cannot be installed |" in page
    assert "7,400 documents of AG News, 200 targets" in page


def test_dedup_shows_speed_recall_and_wrong_merges_and_the_second_day(write_tables):
    found = {
        "kind": "library",
        "documents_per_cpu_second": spread(9000.0),
        "times_slower": spread(5.5),
        "peak_bytes": spread(1.5e9),
        "dropped": 12_345,
        "recall": {"0.7": 0.6, "0.8": 0.9, "at least 0.8": 0.95},
        "below_half": 3,
        "below_threshold": 21,
    }
    day = {"cpu_seconds": 4.25, "wall_seconds": 5.5, "peak_bytes": 3e8, "dropped": 99}
    result = {
        "kind": "dedup",
        "n_documents": 20_000,
        "rounds": 3,
        "versions": {"numba": "9.9"},
        "candidates": {"rensa": found},
        "warehouse": {"second day": day},
        "missing": {"other": "other cannot be installed"},
        "command": "python -m dedup",
    }
    page = write_tables.page([result])
    assert (
        "| rensa | library | 9e+03 | 5.5 | 1.5e+03 | 12,345 "
        "|  |  | 0.6 | 0.9 |  |  | 0.95 | 3 | 21 |"
    ) in page
    assert "| second day | 4.25 | 5.5 | 300 | 99 |" in page
    assert "| `other` | other cannot be installed |" in page


def test_a_package_shows_how_far_it_agrees_and_one_that_is_missing_why(write_tables):
    page = write_tables.page([facility_location()])
    assert (
        "| apricot-select | 4.5 (4 to 5) | 12 | 151 of 1,200 | 187 of 1,200 "
        "| 0.9999995 | 2.0e-05 | 3.25 | 9.5 | 70 |"
    ) in page
    assert "| `submodlib-py` | submodlib-py cannot be installed: a \\| b |" in page
    assert "1,200 of 2,000 documents of 384 dimensions" in page
    assert "3 rounds; apricot-select 9.9.\n\n    python -m facilities\n" in page


def test_without_a_missing_package_there_is_no_table_of_them(write_tables):
    page = write_tables.page([{**facility_location(), "missing": {}}])
    assert "not measured" not in page


def test_every_sampler_is_in_a_table_with_what_it_does_or_why_not(write_tables):
    page = write_tables.page([samplers()])
    assert "## Samplers on ag news, 5,000 documents\n" in page
    assert "| `k_center` | 1,234 | - | 1.23% | - | 2.5 | 3.5 (3 to 4) | 60 |" in page
    assert "| `ask_llm_top` | the bundle lacks the measure p_yes |" in page
    assert "| `k_center at 50%` | it spent 8 of a budget of 7 |" in page
    assert "torch 9.9.\n\n    python -m everyone\n" in page


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
    results = [clearing(), command(), scoring(), density(), facility_location(), samplers()]
    lines = write_tables.page(results).replace("\\|", "").splitlines()
    blocks = "\n".join(line if line.startswith("|") else "" for line in lines).split("\n\n")
    tables = [block.strip().splitlines() for block in blocks if block.strip()]
    assert len(tables) == 11
    for table in tables:
        assert len({line.count("|") for line in table}) == 1


def test_a_result_of_an_unknown_kind_is_refused(write_tables):
    with pytest.raises(ValueError, match="kind 'other'"):
        write_tables.page([{"kind": "other"}])


def test_the_page_in_docs_is_what_the_stored_results_say(write_tables):
    files = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    results = [json.loads(file.read_text()) for file in files]
    assert (ROOT / "docs" / "benchmarks.md").read_text() == write_tables.page(results)

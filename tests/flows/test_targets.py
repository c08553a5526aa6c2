"""A refresh with targets: they guide signals, and nothing of them is in the pool."""

import csv
import json
import random
import shutil
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml

from databourse import open_manifest
from databourse.config import load_config
from databourse.errors import ConfigError
from databourse.refresh.candidates import pool_candidates
from databourse.refresh.context import RunContext
from databourse.refresh.past_runs import last_run
from databourse.samplers.interface import sample
from databourse.samplers.registry import sampler_spec
from databourse.seeds import stage_rng
from databourse.warehouse import hold_warehouse

NOISE_OF_ALL = ("all", "label_noise")
WORDS = {
    "weather": ["rain", "wind", "storm", "cloud", "sun", "frost", "snow", "heat", "flood", "hail"],
    "kitchen": ["bread", "oven", "salt", "knife", "soup", "onion", "butter", "flour", "sauce"],
}
SIGNALS = {"rarity", "influence", "dsir", "trak", "less", "datamodel", "quad"}


def rows(n, seed):
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    kinds = sorted(WORDS)
    return [
        (kind, f"note {seed}-{number} on " + " ".join(draw.choices(WORDS[kind], k=14)))
        for number, kind in ((number, kinds[number % 2]) for number in range(n))
    ]


def write(path, lines):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "text"])
        writer.writerows(lines)


def write_with_truth(path, lines):
    """Write rows of which every tenth is labelled otherwise than it is."""
    other = dict(zip(sorted(WORDS), sorted(WORDS, reverse=True), strict=True))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "text", "gt"])
        for number, (label, text) in enumerate(lines):
            writer.writerow([label, text, label if number % 10 else other[label]])


@pytest.fixture(name="refreshed", scope="module")
def _refreshed(prefect_server, tmp_path_factory):
    """Return the folder of a pool after its first refresh, and what that came to."""
    from flows.refresh_pool import refresh_pool

    folder = tmp_path_factory.mktemp("notes")
    result = refresh_pool(str(write_pool(folder)))
    return folder, result


@pytest.fixture(name="config_path")
def _config_path(refreshed, tmp_path):
    """Return the config of a copy of that pool."""
    shutil.copytree(refreshed[0], tmp_path / "pool")
    return tmp_path / "pool" / "config.yaml"


def write_pool(tmp_path):
    pool, targets = rows(90, 1), rows(8, 2)
    protected = rows(3, 3)
    # one document repeats an example with another number before it, one a protected text
    leak = ("weather", f"seen before: {targets[1][1]} and so on")
    write_with_truth(tmp_path / "pool.csv", [*pool, leak, protected[0]])
    write(tmp_path / "dev.csv", targets)
    write(tmp_path / "test.csv", protected)
    write(tmp_path / "exam.csv", rows(20, 4))
    config = {
        "pool": "notes",
        "seed": 3,
        "sources": [
            {
                "name": "notes",
                "path": "pool.csv",
                "text": "{text}",
                "label": "label",
                "metadata": ["gt"],
            }
        ],
        "targets": [{"name": "dev", "path": "dev.csv", "text": "{text}", "label": "label"}],
        "decontaminate": {"against": ["test.csv"]},
        "compare": {
            "test": {"name": "exam", "path": "exam.csv", "text": "{text}", "label": "label"},
            "budgets": [0.3],
            "seeds": 2,
            "samplers": ["random", "market", "ask_llm_top", "all"],
            "truth": {"label": "gt"},
        },
        "deduplicate": {"near": False},
        "encoder": "hashing",
        "topics": {"count": 3, "smallest": 5},
        "signals": [
            "rarity",
            "influence",
            "dsir",
            "trak",
            "less",
            "datamodel",
            {"name": "quad", "most_evaluated": 0.2},
        ],
        "language_model": {
            "window_tokens": 48,
            "overlap_tokens": 16,
            "reference": {
                "layers": 1,
                "width": 16,
                "heads": 2,
                "context_tokens": 48,
                "vocabulary": 300,
                "epochs": 1,
            },
        },
        "influence": {
            "sample_documents": 20,
            "gradients": {"features": 64, "ensemble": {"seeds": 1, "checkpoints": 2}},
            "steps": {"features": 64, "checkpoints": 2},
            "datamodels": {"subsets": 12},
        },
        "budget": {"tokens": 200},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def tables(path, query):
    with duckdb.connect(str(path.parent / "warehouse" / "bourse.duckdb"), read_only=True) as found:
        return found.execute(query).fetchall()


def test_nothing_of_a_target_or_of_a_protected_set_is_bought_and_the_manifest_proves_it(
    refresh, refreshed, config_path
):
    result = refreshed[1]

    assert result.candidates == 90
    dropped = tables(
        config_path,
        "select outcome, count(*) from decisions where stage = 'decontaminate' group by 1",
    )
    assert dropped == [("dropped", 2)]
    proof = open_manifest(result.path).info.decontamination
    assert proof.dropped == 2
    assert [(each.name, each.examples) for each in proof.sets] == [
        ("dev", 8),
        ("exam", 20),
        ("protected", 3),
    ]
    assert proof.self_test.examples == 31
    assert proof.self_test.kinds[0].model_dump() == {
        "kind": "exact",
        "leaks": 31,
        "found": 31,
        "recall": 1.0,
    }
    assert "Planted leaks" in Path(result.report).read_text()
    measured = tables(config_path, "select count(*), count(distinct document_id) from influences")
    assert 0 < measured[0][0] <= 18
    assert measured[0][0] == measured[0][1]

    again = refresh(config_path)

    assert (again.published, again.manifest_id) == (False, result.manifest_id)
    assert tables(config_path, "select count(*) from influences")[0][0] == measured[0][0]


def test_samplers_find_in_the_warehouse_what_they_need(config_path):
    config = load_config(config_path)
    run = RunContext("compare", config.pool, str(config_path.parent), config)
    with hold_warehouse(run.warehouse_path, threads=1, memory_limit="200MB") as warehouse:
        candidates = pool_candidates(warehouse, run, last_run(warehouse, "notes"))
        assert len(candidates.document_ids) == 90
        assert set(candidates.signals) == SIGNALS
        assert set(candidates.measures) == {*candidates.signals, "information_entropy", "dsdm"}
        assert [each.name for each in candidates.targets] == ["dev"]
        texts = [text for batch in candidates.texts() for text in batch]
        assert len(texts) == 90
        for name in (
            "random",
            "market",
            "quad",
            "semdedup",
            "influence:top",
            "dsir",
            "less",
            "datamodel",
        ):
            bought = sample(sampler_spec(name), candidates, 150, rng=stage_rng(3, name))
            assert 0 < candidates.costs[bought].sum() <= 150
    top = sample(sampler_spec("influence:top"), candidates, 150, rng=stage_rng(3, "top"))
    stored = dict(
        tables(
            config_path,
            "select document_id, value from signals where signal_id like 'influence:%'",
        )
    )
    dearest = max(stored, key=lambda each: (stored[each], each))
    assert stored[candidates.document_ids[top[0]]] == stored[dearest]


def test_a_second_target_changes_what_depends_on_targets_alone(refresh, config_path):
    before = dict(tables(config_path, "select signal, signal_id from signal_versions"))
    write(config_path.parent / "dev.csv", rows(8, 9))
    refresh(config_path)
    after = tables(config_path, "select signal, signal_id from signal_versions")
    changed = {signal for signal, signal_id in after if signal_id not in before.values()}
    assert changed == SIGNALS - {"rarity"}


def test_samplers_are_compared_once_per_cell_and_one_that_cannot_run_is_named(
    prefect_server, config_path, monkeypatch
):
    from databourse.comparison import proxies
    from flows.compare_selectors import compare_selectors

    trained = []
    measure = proxies.LinearProxy.measure

    def counted(self, positions, *, seed):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(len(positions))
        return measure(self, positions, seed=seed)

    monkeypatch.setattr(proxies.LinearProxy, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        compare_selectors(str(config_path))
    monkeypatch.undo()
    compared = compare_selectors(str(config_path))

    assert list(compared.left_out) == ["ask_llm_top"]
    assert "needs the measure 'p_yes'" in compared.left_out["ask_llm_top"]
    table = pq.read_table(compared.results).to_pylist()
    cells = {(row["sampler"], row["seed"]) for row in table}
    assert cells == {(name, seed) for name in ("random", "market", "all") for seed in (0, 1)}
    accuracy = [row for row in table if row["metric"] == "accuracy"]
    assert all(0.5 < row["value"] <= 1 and row["target"] == "exam" for row in accuracy)
    whole = next(row["tokens"] for row in accuracy if row["sampler"] == "all")
    assert all(row["tokens"] <= 0.3 * whole + 1 for row in accuracy if row["sampler"] != "all")
    noise = {row["value"] for row in table if (row["sampler"], row["metric"]) == NOISE_OF_ALL}
    assert noise == {0.1}
    costs = {row["sampler"]: row["signal_cpu_seconds"] for row in table}
    assert costs["market"] > costs["random"] == costs["all"] == 0
    folder = Path(compared.page).parent
    assert {
        "results.parquet",
        "summary.json",
        "summary.md",
        "accuracy-exam-against-budget.png",
    } <= {file.name for file in folder.iterdir()}
    assert "ask_llm_top" in Path(compared.page).read_text()
    stored = tables(config_path, "select count(*), count(distinct comparison_id) from comparisons")
    again = compare_selectors(str(config_path))
    assert tables(
        config_path, "select count(*), count(distinct comparison_id) from comparisons"
    ) == (stored)
    assert again.summary == compared.summary
    json.dumps(again.summary, allow_nan=False)


def test_a_comparison_refuses_what_it_cannot_measure(config_path):
    from flows.compare_selectors import compare_selectors

    with pytest.raises(ConfigError, match="unknown sampler 'marke'"):
        compare_selectors(str(config_path), ["compare.samplers=[marke]"])
    with pytest.raises(ConfigError, match="the config names none; add compare"):
        compare_selectors(str(config_path), ["compare.test=[]"])
    with pytest.raises(ConfigError, match="there is no warehouse at"):
        compare_selectors(str(config_path), ["warehouse=elsewhere"])


def test_test_examples_that_guided_selection_are_refused(prefect_server, config_path):
    from flows.compare_selectors import compare_selectors

    exam = rows(20, 4)
    write(config_path.parent / "exam.csv", [*exam[:3], *rows(8, 2)[:2]])
    with pytest.raises(ConfigError, match="2 of 5 test examples are targets too"):
        compare_selectors(str(config_path))

"""`databourse attribution` on a small pool: what is stored, said, and refused."""

import csv
import json
import random
from pathlib import Path

import duckdb
import pytest
import yaml
from typer.testing import CliRunner

from databourse.config import load_config
from databourse.errors import ConfigError, DatabourseError
from databourse.progress import silent
from databourse.refresh.attribution import (
    AttributionChoice,
    attribution_plan,
    retrain_subsets,
    stored_bank,
)
from databourse.refresh.context import RunContext
from databourse.warehouse import hold_warehouse

WORDS = {
    "weather": ["rain", "wind", "storm", "cloud", "sun", "frost", "snow", "heat", "flood", "hail"],
    "kitchen": ["bread", "oven", "salt", "knife", "soup", "onion", "butter", "flour", "sauce"],
}


def rows(n, seed):
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    kinds = sorted(WORDS)
    return [
        (kind, f"note {seed}-{number} on " + " ".join(draw.choices(WORDS[kind], k=14)))
        for number, kind in ((number, kinds[number % 2]) for number in range(n))
    ]


def write_config(folder, **changes):
    for name, lines in (("pool.csv", rows(60, 1)), ("dev.csv", rows(12, 2))):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([("label", "text"), *lines])
    config = {
        "pool": "notes",
        "seed": 3,
        "sources": [{"name": "notes", "path": "pool.csv", "text": "{text}", "label": "label"}],
        "targets": [{"name": "dev", "path": "dev.csv", "text": "{text}", "label": "label"}],
        "deduplicate": {"near": False},
        "encoder": "hashing",
        "topics": {"count": 2, "smallest": 5},
        "signals": ["rarity", "trak"],
        "language_model": {
            "window_tokens": 32,
            "overlap_tokens": 16,
            "reference": {
                "layers": 1,
                "width": 16,
                "heads": 2,
                "context_tokens": 32,
                "vocabulary": 300,
                "epochs": 1,
            },
        },
        "influence": {"sample_documents": 10, "gradients": {"features": 64}},
        "budget": {"tokens": 200},
        "compute": {"threads": 1},
        **changes,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module", name="pool")
def _pool(prefect_server, tmp_path_factory):
    """Return the config of a pool that was refreshed."""
    from flows.refresh_pool import refresh_pool

    path = write_config(tmp_path_factory.mktemp("attributed"))
    refresh_pool(str(path), [])
    return path


@pytest.fixture(name="command")
def _command():
    """Return a function that runs the command in this process; it gives what was printed."""
    from flows.cli import app

    def run(*arguments):
        result = CliRunner().invoke(app, ["attribution", *map(str, arguments)])
        if isinstance(result.exception, DatabourseError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def tables(path, query):
    with duckdb.connect(str(path.parent / "warehouse" / "bourse.duckdb"), read_only=True) as found:
        return found.execute(query).fetchall()


@pytest.fixture(name="held")
def _held(pool):
    """Return a function that does something with the warehouse and a run of the pool."""

    def held(work, *overrides):
        config = load_config(pool, overrides)
        run = RunContext("check", config.pool, str(pool.parent), config)
        with hold_warehouse(run.warehouse_path, threads=1, memory_limit="200MB") as warehouse:
            return work(warehouse, run)

    return held


def test_every_attribution_of_both_proxies_is_scored_and_reported(command, pool):
    options = ("--subsets", 12, "--targets-per-set", 8, "--json")
    linear = json.loads(command(pool, "--proxy", "linear", *options))
    causal = json.loads(command(pool, "--proxy", "causal_lm", *options))

    assert {each["name"] for each in linear["attributions"]} == {
        "influence", "gradient_dot", "embedding", "embedding_same_label", "tfidf",
        "tfidf_same_label", "length", "random",
    }  # fmt: skip
    assert {each["name"] for each in causal["attributions"]} == {
        "trak", "trak_layers", "ekfac", "kfac", "gradient_dot", "tfidf", "length", "random",
    }  # fmt: skip
    assert (linear["seeds"], linear["training_draws"], linear["ceiling"]) == (1, False, None)
    assert causal["seeds"] == 2
    assert causal["ceiling"]["low"] <= causal["ceiling"]["seed_agreement"]
    assert causal["examples_reported"] == 4
    trak = next(each for each in causal["attributions"] if each["name"] == "trak")
    assert set(trak["tuning"]) == {f"damping {each}" for each in ("0.001", "0.01", "0.1", "1")}
    exact = next(each for each in linear["attributions"] if each["name"] == "influence")
    assert exact["lds"] > 0.6  # nothing is drawn: what is missing is the second order
    page = Path(causal["page"])
    assert page.parent.parent == pool.parent / "warehouse" / "reports"
    assert page.parent.name == f"attribution-{causal['bank_id']}"
    assert json.loads(Path(causal["results"]).read_text())["attributions"] == causal["attributions"]
    stored = tables(pool, "select bank_id, count(*) from retrainings group by 1 order by 2")
    assert stored == [(linear["bank_id"], 12), (causal["bank_id"], 24)]
    finished = tables(pool, "select status, message from runs where flow = 'check_attribution'")
    assert ("completed", causal["page"]) in finished


def test_the_table_names_the_ceiling_and_the_files(command, pool):
    shown = command(pool, "--proxy", "linear", "--subsets", 12, "--targets-per-set", 8)
    assert "Noise ceiling: 1, as training draws nothing" in shown
    assert "results.json" in shown
    lines = shown.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("influence", "tfidf "))] == [
        "influence",
        "tfidf",
    ]


def test_a_killed_bank_goes_on_and_more_subsets_train_only_what_is_new(held):
    choice = AttributionChoice(proxy="linear", subsets=5, targets_per_set=10)

    def killed(warehouse, run):
        plan = attribution_plan(warehouse, run, choice)
        done = []

        def advance(count):
            done.append(count)
            if sum(done) == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            retrain_subsets(warehouse, run, plan, advance=advance)
        with pytest.raises(ConfigError, match="lacks a training"):
            stored_bank(warehouse, plan)

    def goes_on(warehouse, run):
        plan = attribution_plan(warehouse, run, choice)
        left = retrain_subsets(warehouse, run, plan, advance=silent)
        assert retrain_subsets(warehouse, run, plan, advance=silent) == 0
        larger = AttributionChoice(proxy="linear", subsets=7, targets_per_set=10)
        more = attribution_plan(warehouse, run, larger)
        assert more.bank_id == plan.bank_id
        assert (more.masks[:5] == plan.masks).all()
        return left, retrain_subsets(warehouse, run, more, advance=silent)

    held(killed)
    assert held(goes_on) == (3, 2)


def test_a_damaged_training_is_found_and_trained_again(held):
    choice = AttributionChoice(proxy="linear", subsets=4, targets_per_set=6)

    def damage(warehouse, run):
        plan = attribution_plan(warehouse, run, choice)
        retrain_subsets(warehouse, run, plan, advance=silent)
        before = stored_bank(warehouse, plan).outputs
        with warehouse.transaction() as cursor:
            cursor.execute(
                "update retrainings set losses = list_transform(losses, lambda x: x + 1e-9) where "
                "bank_id = $1 and training = (select min(training) from retrainings where "
                "bank_id = $1)",
                [plan.bank_id],
            )
        with pytest.raises(ConfigError, match="holds a damaged one"):
            stored_bank(warehouse, plan)
        assert retrain_subsets(warehouse, run, plan, advance=silent) == 1
        assert stored_bank(warehouse, plan).outputs.tolist() == before.tolist()

    held(damage)


def test_a_bank_is_of_what_decides_its_losses(held):
    def bank_id(*overrides, **changes):
        choice = AttributionChoice(
            **{"proxy": "linear", "subsets": 6, "targets_per_set": 8, **changes}
        )
        return held(
            lambda warehouse, run: attribution_plan(warehouse, run, choice), *overrides
        ).bank_id

    usual = bank_id()
    assert bank_id(subsets=9, seeds=5) == usual
    others = [
        bank_id(share=0.4),
        bank_id(targets_per_set=6),
        bank_id("seed=4"),
        bank_id(proxy="causal_lm"),
        bank_id("language_model.reference.epochs=2", proxy="causal_lm"),
    ]
    assert len({usual, *others}) == 6


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"proxy": "cubic"}, "linear or causal_lm"),
        ({"subsets": 3}, "subsets must be >= 4"),
        ({"share": 1.0}, "share must be in"),
        ({"seeds": 0}, "seeds must be >= 1"),
        ({"targets_per_set": 1}, "targets_per_set must be >= 2"),
    ],
)
def test_a_choice_outside_its_domain_is_refused(changes, expected):
    with pytest.raises(ConfigError, match=expected):
        AttributionChoice(**{"proxy": "linear", **changes})


def test_what_is_missing_is_said_in_one_line(prefect_server, command, tmp_path):
    from flows.refresh_pool import refresh_pool

    path = write_config(tmp_path)
    with pytest.raises(ConfigError, match="there is no warehouse"):
        command(path, "--proxy", "linear")
    unlabelled = [{"name": "notes", "path": "pool.csv", "text": "{text}"}]
    bare = write_config(tmp_path, signals=["rarity"], sources=unlabelled)
    refresh_pool(str(bare), [])
    with pytest.raises(ConfigError, match="needs labels of at least two classes") as found:
        command(bare, "--proxy", "linear")
    assert "\n" not in str(found.value)
    causal = json.loads(
        command(bare, "--subsets", 4, "--seeds", 1, "--targets-per-set", 4, "--json")
    )
    assert set(causal["left_out"]) == {"trak", "ekfac", "kfac", "gradient_dot"}
    assert causal["ceiling"] is None
    warehouse = str(tmp_path / "warehouse" / "bourse.duckdb")
    with duckdb.connect(warehouse) as connection:  # as a refresh without targets leaves it
        connection.execute("update runs set stages = replace(stages, 'targets_id', 'none_id')")
    with pytest.raises(ConfigError, match="read no targets"):
        command(bare, "--proxy", "linear")
    with duckdb.connect(warehouse) as connection:
        connection.execute("delete from runs where flow = 'refresh_pool'")
    with pytest.raises(ConfigError, match="no refresh of pool 'notes' was finished"):
        command(bare, "--proxy", "linear")

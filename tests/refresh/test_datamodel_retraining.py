"""Subsets that are retrained for datamodels: stored, resumed, refused where they make no sense."""

import json
from pathlib import Path

import numpy as np
import pytest

from databourse.errors import ConfigError
from databourse.progress import silent
from databourse.refresh.context import SnapshotIds
from databourse.refresh.datamodel_retraining import (
    retrain_for_datamodels,
    retrainings_progress_total,
    stored_retrainings,
)
from databourse.refresh.examples import read_examples
from databourse.refresh.signal_scoring import check_signals


@pytest.fixture(name="pool")
def _pool(untrained):
    """Return a pool with two targets, and what a refresh knows of it before signals."""
    root = Path(untrained.run.root)
    for name, texts in (
        ("a", ["rain and wind", "a storm"]),
        ("b", ["snow", "frost", "hail falls"]),
    ):
        lines = [json.dumps({"text": each}) for each in texts]
        (root / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    own = untrained.configured(
        targets=[{"name": name, "path": f"{name}.jsonl", "text": "{text}"} for name in "ab"],
        influence=influence(),
        signals=["datamodel"],
    )
    read_examples(own.warehouse, own.run, kind="target", advance=silent)
    ids = SnapshotIds(own.snapshot_id, "tokens", "encoder", "topics", None, targets_id="targets")
    return own, ids


def influence(**changes):
    return {"datamodels": {"proxy": "causal_lm", "subsets": 10, "targets_per_set": 3, **changes}}


def test_only_what_the_bank_lacks_is_trained_and_its_cost_written(pool):
    pool, ids = pool
    seen = []
    first = retrain_for_datamodels(pool.warehouse, pool.run, ids, advance=seen.append)
    assert (first.n_trained, first.n_trainings) == (10, 10)
    assert sum(seen) == retrainings_progress_total(pool.run) == 10
    before = stored_retrainings(pool.warehouse, pool.run, ids)
    with pool.warehouse.transaction() as cursor:
        cursor.execute(
            "delete from retrainings where training in (select min(training) from retrainings)"
        )
    more = pool.configured(influence=influence(subsets=11))
    again = retrain_for_datamodels(more.warehouse, more.run, ids, advance=silent)
    assert (again.n_trained, again.n_trainings, again.bank_id) == (2, 11, first.bank_id)
    after = stored_retrainings(more.warehouse, more.run, ids)
    np.testing.assert_array_equal(after.masks[:10], before.masks)
    for name, losses in before.losses.items():
        np.testing.assert_array_equal(after.losses[name][:10], losses)
    costs = pool.query("select count(*) from model_costs where measured_id = $1", first.bank_id)
    assert costs == [(2,)]


def test_losses_are_means_over_the_examples_of_a_target_and_over_seeds(pool):
    pool, ids = pool
    two = pool.configured(influence=influence(seeds=2))
    retrain_for_datamodels(two.warehouse, two.run, ids, advance=silent)
    found = stored_retrainings(two.warehouse, two.run, ids)
    assert found.masks.shape == (10, 40)
    assert (found.masks.sum(axis=1) == 20).all()
    rows = pool.query("select training, losses from retrainings")
    by_seed = {}
    for training, losses in rows:
        by_seed.setdefault(training.split("-")[0], []).append(losses)
    expected = sorted(float(np.mean(losses, axis=0)[:2].mean()) for losses in by_seed.values())
    np.testing.assert_allclose(sorted(found.losses["a"]), expected, rtol=1e-12)
    assert set(found.losses) == {"a", "b"}


def test_a_pool_that_is_too_large_or_has_no_labels_is_refused_before_anything_is_trained(pool):
    pool, _ = pool
    check_signals(pool.warehouse, pool.run, pool.snapshot_id)
    small = pool.configured(influence=influence(most_documents=39))
    with pytest.raises(ConfigError, match="at most 39 documents, pool 'tiny' has 40"):
        check_signals(small.warehouse, small.run, small.snapshot_id)
    linear = pool.configured(influence=influence(proxy="linear"))
    with pytest.raises(ConfigError, match="needs labels of at least two classes"):
        check_signals(linear.warehouse, linear.run, linear.snapshot_id)

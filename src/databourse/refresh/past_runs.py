"""What a finished refresh stood on, read back from its record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from databourse.errors import ConfigError
from databourse.refresh.context import ModelIds, SnapshotIds
from databourse.warehouse.store import Warehouse


@dataclass(frozen=True)
class PastRun:
    """A finished refresh of a pool.

    Attributes:
        run_id: of the refresh.
        ids: of what its market stood on.
        signal_ids: of the traders, in the order of its config.
        config_digest: of its config.
    """

    run_id: str
    ids: SnapshotIds
    signal_ids: tuple[str, ...]
    config_digest: str


def last_run(warehouse: Warehouse, pool: str) -> PastRun:
    """Return the last refresh of a pool that was finished.

    Raises:
        ConfigError: there is none.
    """
    found = warehouse.rows("stg_pool__finished_runs", {"pool": pool}).to_pylist()
    if not found:
        raise ConfigError(
            f"no refresh of pool {pool!r} was finished in {warehouse.root}; refresh it first: "
            "databourse run CONFIG"
        )
    stages = json.loads(found[0]["stages"])
    values: dict[str, str] = {}
    for stage in stages:
        values.update(stage["values"])
    signal_ids = [each["values"]["signal_id"] for each in stages if "signal_id" in each["values"]]
    return PastRun(
        found[0]["run_id"], _snapshot_ids(values), tuple(signal_ids), found[0]["config_digest"]
    )


def board_id_of(warehouse: Warehouse, run_id: str) -> str:
    """Return the id of the board of a refresh's market.

    Raises:
        ConfigError: the refresh stored none.
    """
    found = warehouse.rows("stg_run__boards", {"run_id": run_id})["board_id"].to_pylist()
    if not found or found[0] is None:
        raise ConfigError(
            f"refresh {run_id} stored no board of its market, which is what is settled; refresh "
            "the pool again"
        )
    return str(found[0])


def _snapshot_ids(values: Mapping[str, str]) -> SnapshotIds:
    def listed(key: str) -> tuple[str, ...]:
        return tuple(json.loads(values.get(key, "[]")))

    return SnapshotIds(
        snapshot_id=values["snapshot_id"],
        tokenizer_id=values["tokenizer_id"],
        encoder_id=values["encoder_id"],
        topics_id=values["topics_id"],
        neighbours_id=values.get("neighbours_id"),
        models=ModelIds(
            trained=listed("trained"),
            losses=listed("losses"),
            generations=listed("generations"),
            gradients=listed("gradients"),
            scorer=values.get("scorer", ""),
            unanswered=values.get("unanswered", ""),
            steps=listed("steps"),
            rates=tuple(json.loads(values.get("rates", "[]"))),
            bank=values.get("bank_id", ""),
        ),
        targets_id=values.get("targets_id"),
    )

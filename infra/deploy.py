"""Deploy pools to the Prefect server of PREFECT_API_URL; running it again updates what is there.

    python infra/deploy.py CONFIG [CONFIG ...]

For each pool: its work queue, which lets one run at a time at the pool's warehouse, and the
deployments of prefect.yaml. For all of them: the work pool and the automations of automations.yaml;
those that notify need DATABOURSE_NOTIFY_URL, an address that takes a POST of {"text": ...}.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect import get_client
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound

from databourse.config import load_config
from databourse.errors import ConfigError, DatabourseError

INFRA = Path(__file__).resolve().parent
WORK_POOL = "databourse"
NOTIFY_BLOCK = "databourse-notifications"
NOTIFY_URL_VARIABLE = "DATABOURSE_NOTIFY_URL"


def deploy(configs: list[Path]) -> None:
    """Deploy the pools of these configs.

    Raises:
        DatabourseError: a config is not valid; nothing was deployed.
        CalledProcessError: Prefect refused a deployment; it has said why.
    """
    pools: dict[str, Path] = {}
    for path in configs:
        pool = load_config(path).pool
        if pool in pools:
            raise ConfigError(f"{pools[pool]} and {path} are both of the pool {pool!r}; deploy one")
        pools[pool] = path.resolve()
    asyncio.run(_prepare(list(pools)))
    for pool, path in pools.items():
        subprocess.run(
            [
                *(sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"),
                *("--prefect-file", str(INFRA / "prefect.yaml")),
            ],
            env=os.environ | {"DEPLOY_POOL": pool, "DEPLOY_CONFIG": str(path)},
            check=True,
        )


async def _prepare(pools: list[str]) -> None:
    async with get_client() as client:
        try:
            await client.read_work_pool(WORK_POOL)
        except ObjectNotFound:
            await client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
        for pool in pools:
            await _one_at_a_time(client, pool)
        for automation in await _automations():
            await _create_or_update(client, automation)


async def _one_at_a_time(client: PrefectClient, pool: str) -> None:
    try:
        queue = await client.read_work_queue_by_name(pool, work_pool_name=WORK_POOL)
    except ObjectNotFound:
        queue = await client.create_work_queue(pool, work_pool_name=WORK_POOL)
    await client.update_work_queue(queue.id, concurrency_limit=1)


async def _automations() -> list[AutomationCore]:
    """Return the automations of the file; those that notify only if there is an address."""
    text = (INFRA / "automations.yaml").read_text(encoding="utf-8")
    described: list[dict[str, Any]] = yaml.safe_load(text)["automations"]
    url = os.environ.get(NOTIFY_URL_VARIABLE)
    if url:
        block = await Webhook(url=url).save(NOTIFY_BLOCK, overwrite=True)  # type: ignore[misc]
    for each in described:
        for action in each["actions"]:
            if action["type"] == "call-webhook" and url:
                action["block_document_id"] = block
    silent = [each["name"] for each in described if _notifies(each) and not url]
    if silent:
        print(f"not created: {', '.join(silent)}; set {NOTIFY_URL_VARIABLE} to be told")
    return [AutomationCore.model_validate(each) for each in described if each["name"] not in silent]


def _notifies(automation: dict[str, Any]) -> bool:
    return any(action["type"] == "call-webhook" for action in automation["actions"])


async def _create_or_update(client: PrefectClient, automation: AutomationCore) -> None:
    existing = await client.read_automations_by_name(automation.name)
    if existing:
        await client.update_automation(existing[0].id, automation)
    else:
        await client.create_automation(automation)
    print(f"automation: {automation.name}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        deploy([Path(each) for each in sys.argv[1:]])
    except DatabourseError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)

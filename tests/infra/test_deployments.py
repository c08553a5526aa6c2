"""What infra/prefect.yaml and infra/automations.yaml promise, held against the code."""

import importlib
import re
from pathlib import Path

import pytest
import yaml
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.events.schemas.automations import AutomationCore
from prefect.utilities.templating import apply_values

ROOT = Path(__file__).parents[2]
DEPLOY = {"DEPLOY_POOL": "news", "DEPLOY_CONFIG": "/pools/news.yaml"}
LATE_BUT_NEVER_SUNDAY_TWICE = ("0 3 * * *", "0 5 * * 0", "0 7 * * 0")


def declared():
    return yaml.safe_load((ROOT / "infra" / "prefect.yaml").read_text())


def deployments(monkeypatch):
    """Return the deployments as Prefect reads them, the environment's values filled in."""
    for name, value in DEPLOY.items():
        monkeypatch.setenv(name, value)
    read = PrefectYamlModel.model_validate(declared())
    return [apply_values(each.model_dump(), {}) for each in read.deployments]


def flow_of(deployment):
    module, name = deployment["entrypoint"].rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def locked(package):
    pattern = re.compile(rf"^{re.escape(package)}==(\S+)$", re.MULTILINE)
    return pattern.search((ROOT / "constraints.txt").read_text()).group(1)


def test_every_entry_point_is_a_flow_that_takes_the_parameters(monkeypatch):
    found = deployments(monkeypatch)
    assert [each["entrypoint"].rsplit(".", 1)[1] for each in found] == [
        "refresh_pool",
        "settle_market",
        "compare_selectors",
    ]
    for each in found:
        flow = flow_of(each)
        assert flow.validate_parameters(each["parameters"])["config_path"] == "/pools/news.yaml"
        required = {name for name in flow.parameters.required if name not in each["parameters"]}
        assert required == set()


def test_deployments_carry_the_pool_in_name_queue_and_tags(monkeypatch):
    for each in deployments(monkeypatch):
        assert each["name"].startswith("news-")
        assert each["work_pool"]["work_queue_name"] == "news"
        assert {"databourse", "pool:news"} <= set(each["tags"])


def test_a_second_run_of_a_flow_waits(monkeypatch):
    limits = [each["concurrency_limit"] for each in deployments(monkeypatch)]
    assert {(each["limit"], each["collision_strategy"]) for each in limits} == {(1, "ENQUEUE")}


def test_schedules_are_nightly_and_weekly_in_utc(monkeypatch):
    schedules = [each["schedules"] for each in deployments(monkeypatch)]
    assert tuple(each["cron"] for (each,) in schedules) == LATE_BUT_NEVER_SUNDAY_TWICE
    assert {each["timezone"] for (each,) in schedules} == {"UTC"}


def test_nothing_is_pulled_and_no_path_is_stored(monkeypatch):
    assert declared()["pull"] == []
    assert str(ROOT) not in yaml.safe_dump(deployments(monkeypatch))


def test_the_version_of_prefect_is_the_locked_one():
    assert declared()["prefect-version"] == locked("prefect")


def test_variables_of_deployments_are_no_settings_of_a_config(monkeypatch):
    from databourse.config import RefreshConfig

    prefix = RefreshConfig.model_config["env_prefix"]
    named = set(re.findall(r"\$(\w+)", (ROOT / "infra" / "prefect.yaml").read_text()))
    assert named == set(DEPLOY)
    assert not [name for name in named if name.startswith(prefix)]


@pytest.mark.parametrize(
    "automation",
    yaml.safe_load((ROOT / "infra" / "automations.yaml").read_text())["automations"],
    ids=lambda each: each["name"],
)
def test_automations_act_on_runs_of_these_deployments_alone(automation, monkeypatch):
    for action in automation["actions"]:
        if action["type"] == "call-webhook":
            action["block_document_id"] = "00000000-0000-0000-0000-000000000000"
    read = AutomationCore.model_validate(automation)
    related = read.trigger.match_related.root
    assert related["prefect.resource.id"] == "prefect.tag.databourse"
    assert all("databourse" in each["tags"] for each in deployments(monkeypatch))

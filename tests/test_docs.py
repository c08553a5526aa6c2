"""The documents: links lead somewhere, and what they must mention is there."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from databourse.config import RefreshConfig, load_config
from databourse.contracts import contract_names, load_contract
from databourse.signals.registry import signal_names

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [
        target
        for target in targets
        if "://" not in target and not (page.parent / target).resolve().exists()
    ]
    assert missing == []


def test_every_signal_is_explained():
    methods = (ROOT / "docs" / "methods.md").read_text()
    assert [name for name in signal_names() if f"| `{name}` |" not in methods] == []


def test_the_config_of_the_readme_is_valid(tmp_path):
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    path = tmp_path / "pool.yaml"
    path.write_text(block)
    assert load_config(path).budget.tokens == 60000


def test_every_make_target_of_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z]+)", (ROOT / "README.md").read_text())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_ray_cluster_is_of_the_locked_version_and_asks_for_a_token_everywhere():
    cluster = yaml.safe_load((ROOT / "infra" / "ray-cluster.yaml").read_text())
    locked = (ROOT / "constraints.txt").read_text()
    assert f"\nray=={cluster['spec']['rayVersion']}\n" in locked
    head, workers = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    assert head["rayStartParams"] == {"num-cpus": "0", "dashboard-host": "127.0.0.1"}
    for group in (head, *workers):
        (container,) = group["template"]["spec"]["containers"]
        environment = {each["name"]: each for each in container["env"]}
        assert environment["RAY_AUTH_MODE"]["value"] == "token"
        assert "secretKeyRef" in environment["RAY_AUTH_TOKEN"]["valueFrom"]
        assert environment["RAY_USAGE_STATS_ENABLED"]["value"] == "0"
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_operations_say_what_to_do_when_each_contract_fails():
    operations = (ROOT / "docs" / "operations.md").read_text()
    table = operations.partition("## When a contract fails")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("| `")
    ]
    assert sorted(row[0] for row in rows) == sorted(f"`{name}`" for name in contract_names())
    assert all(len(row) == 3 and all(row) for row in rows)
    named = set(re.findall(r"`([a-z]+_[a-z_]+)`", table)) - set(contract_names())
    known = (rule for name in contract_names() for rule in rules_of(name))
    assert {"rarely_missing", "price_is_representable", "not_constant"} <= named & set(known)


def rules_of(contract):
    """Return the names of a contract's own rules."""
    return {rule.name for rule in load_contract(contract).quality}


def sections(model):
    """Return a config model and all models below it."""
    found = [model]
    for field in model.model_fields.values():
        for each in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(each, type) and issubclass(each, BaseModel):
                found += sections(each)
    return found


def test_every_value_of_the_config_is_described():
    undescribed = [
        f"{section.__name__}.{key}"
        for section in sections(RefreshConfig)
        for key, field in section.model_fields.items()
        if not field.description and not sections_in(field)
    ]
    assert undescribed == []


def sections_in(field):
    """Return whether a field holds a section, which describes itself."""
    kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
    return any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds)

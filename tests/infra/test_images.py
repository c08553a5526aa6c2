"""Image and compose file, parsed: no daemon is needed to see what they would run."""

import importlib.util
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from databourse import __version__
from databourse.errors import ConfigError

ROOT = Path(__file__).parents[2]
SECRETS = {
    "POSTGRES_PASSWORD": "p@ss/word",
    "PREFECT_AUTH_STRING": "operator:s3cret",
    "POOLS": "/srv/pools",
    "CONFIG": "news.yaml",
}
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def compose(environment):
    """Return the compose file with the variables filled in as `docker compose` does."""

    def value(match):
        name, kind, text = match.groups()
        if environment.get(name):
            return environment[name]
        if kind == "-":
            return text
        raise LookupError(f"{name}: {text}")

    return yaml.safe_load(VARIABLE.sub(value, (ROOT / "infra" / "compose.yaml").read_text()))


def services():
    return compose(SECRETS)["services"]


def instructions():
    """Return (word, rest) of every instruction of the Dockerfile, by stage."""
    text = re.sub(r"\\\n", " ", (ROOT / "infra" / "Dockerfile").read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    stages = [[]]
    for word, _, rest in (line.partition(" ") for line in lines):
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest.strip()))
    return stages


@pytest.mark.parametrize("secret", sorted(SECRETS))
def test_compose_refuses_to_start_without(secret):
    with pytest.raises(LookupError, match=secret):
        compose({name: value for name, value in SECRETS.items() if name != secret})


def test_no_secret_is_written_into_compose():
    text = (ROOT / "infra" / "compose.yaml").read_text()
    assigned = re.findall(
        r"^\s+\w*(?:PASSWORD|AUTH_STRING|SIGNING_KEY):\s*(.*)$", text, re.MULTILINE
    )
    assert len(assigned) == 5
    found = [VARIABLE.fullmatch(value) for value in assigned]
    assert all(each and (each[2] == "?" or each[3] == "") for each in found), "a default"


def test_ports_are_published_on_loopback_alone():
    published = {name: each["ports"] for name, each in services().items() if "ports" in each}
    assert published == {"server": ["127.0.0.1:4200:4200"]}


def test_services_wait_until_what_they_need_is_healthy():
    every = services()
    needed = {
        name: {on: how["condition"] for on, how in each.get("depends_on", {}).items()}
        for name, each in every.items()
    }
    assert needed == {
        "database": {},
        "server": {"database": "service_healthy"},
        "deploy": {"server": "service_healthy"},
        "worker": {"server": "service_healthy", "deploy": "service_completed_successfully"},
    }
    for conditions in needed.values():
        healthy = [name for name, how in conditions.items() if how == "service_healthy"]
        assert all(every[name]["healthcheck"]["test"] for name in healthy)


def test_only_the_server_reaches_the_database():
    reach = {name: set(each["networks"]) for name, each in services().items()}
    assert {name for name, networks in reach.items() if "database" in networks} == {
        "database",
        "server",
    }
    assert compose(SECRETS)["networks"]["database"]["internal"]


def test_our_containers_run_with_few_rights():
    ours = {name: each for name, each in services().items() if name != "database"}
    for each in ours.values():
        assert each["cap_drop"] == ["ALL"]
        assert each["read_only"]
        assert each["security_opt"] == ["no-new-privileges:true"]
        assert each["image"] == f"databourse:{__version__}"


def test_what_must_survive_lies_in_volumes():
    whole = compose(SECRETS)
    mounted = {
        volume.split(":")[0]
        for each in whole["services"].values()
        for volume in each.get("volumes", [])
    }
    assert mounted == {*whole["volumes"], "/srv/pools"}


def test_the_server_takes_its_database_from_settings_that_prefect_has():
    from prefect.settings.models.server.database import ServerDatabaseSettings

    environment = services()["server"]["environment"]
    prefix = "PREFECT_SERVER_DATABASE_"
    given = {name.removeprefix(prefix).lower() for name in environment if name.startswith(prefix)}
    assert given == {"driver", "host", "port", "name", "user", "password"}
    assert given <= set(ServerDatabaseSettings.model_fields)
    assert environment["PREFECT_SERVER_DATABASE_PASSWORD"] == SECRETS["POSTGRES_PASSWORD"]


def test_the_image_is_built_from_the_lock_and_runs_as_no_root():
    _, build, final = instructions()
    environment = [rest for word, rest in build if word == "ENV"]
    assert any("PIP_CONSTRAINT=/build/constraints.txt" in rest for rest in environment)
    first_install = next(at for at, (word, rest) in enumerate(build) if "pip install" in rest)
    assert ("COPY", "constraints.txt ./") in build[:first_install]
    assert [rest for word, rest in final if word == "USER"] == ["databourse"]
    assert not [rest for word, rest in final if word == "RUN" and "pip" in rest]


def test_the_image_holds_torch_without_a_gpu_unless_asked():
    _, build, _ = instructions()
    arguments = dict(rest.split("=", 1) for word, rest in build if word == "ARG")
    assert arguments == {
        "TORCH_INDEX": "https://download.pytorch.org/whl/cpu",
        "EXTRAS": "pipeline,cpu",
    }
    torch = next(rest for word, rest in build if word == "RUN" and rest.endswith(" torch"))
    assert '--no-deps --index-url "${TORCH_INDEX}"' in torch


def test_all_that_is_copied_exists_and_gets_past_dockerignore():
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    assert "*" in ignore
    copied = set()
    for stage in instructions():
        for word, rest in stage:
            parts = shlex.split(rest)
            if word == "COPY" and not parts[0].startswith("--from"):
                copied |= set(parts[:-1])
    assert copied == allowed
    assert all((ROOT / each).exists() for each in copied)
    assert not [each for each in copied if fnmatch(each, "*.env") or "key" in each]


def test_the_commands_of_compose_exist_in_the_image():
    _, _, final = instructions()
    copied = next(rest for word, rest in final if word == "COPY" and "deploy.py" in rest)
    script = services()["deploy"]["command"][1]
    assert script == f"{copied.split()[-1]}deploy.py"
    assert services()["deploy"]["command"][2] == "/pools/news.yaml"
    worker = services()["worker"]["command"]
    assert worker[worker.index("--pool") + 1] == deploy_module().WORK_POOL


def test_two_configs_of_one_pool_are_refused_before_anything_is_deployed(write_pool, tmp_path):
    configs = [write_pool(tmp_path / name, pool="news") for name in ("one", "two")]
    with pytest.raises(ConfigError, match="are both of the pool 'news'"):
        deploy_module().deploy(configs)


def deploy_module():
    spec = importlib.util.spec_from_file_location("deploy", ROOT / "infra" / "deploy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""The distribution: nobody else claims our import names; the wheel carries SQL and contracts."""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions

import pytest

from databourse.queries import contracts_root, query, query_files, sql_root


@pytest.mark.parametrize("package", ["flows", "tasks", "databourse"])
def test_no_other_distribution_claims(package):
    assert set(packages_distributions().get(package, [])) <= {"databourse"}


def test_sql_and_contracts_are_found():
    assert (sql_root() / "tables" / "documents.sql").is_file()
    assert list(contracts_root().glob("*.odcs.yaml"))


def test_query_names_are_unique_over_all_folders():
    files = list(sql_root().glob("*/*.sql"))
    assert len(files) == len(query_files())
    assert query("documents").startswith("--")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=sql_root().parent, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("databourse-*.whl"))) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_the_wheel_holds_every_query_and_contract_and_nothing_beside_its_packages(wheel):
    queries = {path.stem for path in (wheel / "databourse/_sql").glob("*/*.sql")}
    contracts = {path.name for path in (wheel / "databourse/_contracts").iterdir()}

    assert queries == set(query_files())
    assert contracts == {path.name for path in contracts_root().iterdir()}
    top = {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"databourse", "flows", "tasks"}
    assert (wheel / "databourse/reports/report.html.j2").is_file()


def test_the_wheel_works_away_from_the_checkout(wheel, tmp_path):
    code = (
        "import databourse, flows.refresh_pool; from databourse.queries import query, sql_root; "
        "print(sql_root()); query('documents')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(wheel)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert shown.stdout.strip() == str(wheel / "databourse" / "_sql")


@pytest.mark.parametrize("heavy", ["torch", "prefect", "pandas", "great_expectations", "sklearn"])
def test_the_command_line_starts_without(heavy):
    code = f"import flows.cli, databourse.manifests, sys; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

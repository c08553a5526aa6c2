"""The distribution: nobody else claims our import names; the wheel carries SQL and contracts."""

import subprocess
import sys
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


@pytest.mark.parametrize("heavy", ["torch", "prefect", "pandas", "great_expectations", "sklearn"])
def test_the_command_line_starts_without(heavy):
    code = f"import flows.cli, databourse.manifests, sys; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

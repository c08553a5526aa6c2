"""The contracts that ship: valid ODCS, loadable, described, about tables as they are."""

import json
import re
from importlib import resources

import jsonschema
import pytest
import yaml
from open_data_contract_standard.model import OpenDataContractStandard

from databourse.contracts import contract_names, load_contract
from databourse.contracts.suite import sql_rules
from databourse.queries import contracts_root, query_files

NAMES = (
    "answers",
    "board",
    "documents",
    "embeddings",
    "generations",
    "manifest",
    "prices",
    "settled_contracts",
    "signals",
    "token_losses",
    "topics",
    "wealth",
)

ABOUT_THE_RUN = {  # checks that look at the ledger alone
    "assert_manifest_rows_are_decided",
    "assert_documents_removed_share_per_label_is_allowed",
    "assert_documents_removed_share_per_source_is_allowed",
}


@pytest.fixture(scope="module")
def odcs():
    text = resources.files("open_data_contract_standard").joinpath("schema.json").read_text()
    return jsonschema.Draft201909Validator(json.loads(text))


def test_every_guarded_relation_has_a_contract():
    assert contract_names() == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_contract_is_valid_odcs(odcs, name):
    path = contracts_root() / f"{name}.odcs.yaml"
    written = yaml.safe_load(path.read_text())

    assert [error.message for error in odcs.iter_errors(written)] == []
    read = OpenDataContractStandard.from_file(str(path))
    assert (read.apiVersion, read.kind, read.name) == ("v3.1.0", "DataContract", name)
    assert re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", read.version)
    assert read.description.purpose
    assert read.description.limitations


@pytest.mark.parametrize("name", NAMES)
def test_a_contract_says_what_each_column_is_and_what_to_do_when_a_rule_fails(name):
    contract = load_contract(name)
    rules = sql_rules(contract)

    assert all(column.description for column in contract.columns)
    assert all(len(rule.description) > 80 for rule in rules)
    assert all(". " in rule.description for rule in rules)


@pytest.mark.parametrize("name", NAMES)
def test_named_checks_exist_and_read_what_their_header_says(name):
    for rule in sql_rules(load_contract(name)):
        if rule.query.startswith("assert_"):
            path = query_files()[rule.query]
            assert path.parent.name == "checks"
            if rule.query in ABOUT_THE_RUN:
                continue
            assert "contract_rows" in next(
                line for line in path.read_text().splitlines() if line.startswith("-- reads:")
            )

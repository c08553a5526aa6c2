"""A contract that cannot be kept word for word is refused when it is read."""

import pytest
import yaml

from databourse.contracts import load_contract, read_contract
from databourse.errors import ConfigError, UnknownNameError
from databourse.queries import contracts_root


@pytest.fixture
def changed(tmp_path):
    """Return a function that reads the contract on topics after a change to its content."""

    def read(change):
        content = yaml.safe_load((contracts_root() / "topics.odcs.yaml").read_text())
        change(content, content["schema"][0])
        path = tmp_path / "topics.odcs.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return read_contract(path)

    return read


def test_a_contract_is_read_with_its_key_in_the_order_of_its_positions():
    contract = load_contract("signals")

    assert contract.key == ("signal_id", "document_id")
    assert contract.version == "1.0.0"
    assert [column.name for column in contract.columns] == [
        "signal_id", "snapshot_id", "document_id", "value",
    ]  # fmt: skip


def test_the_order_of_the_key_is_its_positions_and_not_that_of_the_columns(changed):
    def turn(_, rows):
        rows["properties"][0] |= {"primaryKey": True, "primaryKeyPosition": 3}

    assert changed(turn).key == ("document_id", "topics_id")


def test_optional_columns_and_families_are_read():
    contract = load_contract("manifest")

    assert [column.name for column in contract.columns if column.is_optional] == [
        "inclusion_probability",
        "text",
    ]
    assert contract.families[0].physical_type == "DOUBLE"


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown contract 'topic'.*'topics'"):
        load_contract("topic")


def test_a_name_is_no_path():
    with pytest.raises(UnknownNameError):
        load_contract("../data_contracts/topics")


CHANGES = {
    "a typo in a property": (
        lambda _, rows: rows["properties"][0].update(requierd=True),
        r"ODCS knows no schema\.0\.properties\.0\.requierd",
    ),
    "a typo in a rule": (
        lambda _, rows: rows["quality"][0].update(mustBeGreater=1),
        r"ODCS knows no schema\.0\.quality\.0\.mustBeGreater",
    ),
    "an unknown key of the contract": (
        lambda content, _: content.update(surprise=1),
        r"is no ODCS contract: surprise: Extra inputs",
    ),
    "another version of ODCS": (
        lambda content, _: content.update(apiVersion="v3.0.0"),
        r"must have apiVersion v3\.1\.0 and kind DataContract, got 'v3\.0\.0'",
    ),
    "two schema objects": (
        lambda content, rows: content["schema"].append(rows),
        "exactly one schema object",
    ),
    "no relation": (lambda _, rows: rows.pop("customProperties"), "lacks its relation"),
    "no key": (lambda _, rows: rows["properties"].pop(2), "lacks its key"),
    "no version": (lambda content, _: content.pop("version"), "lacks its version"),
    "no physical type": (
        lambda _, rows: rows["properties"][0].pop("physicalType"),
        "needs a snake_case name, a physicalType and a logicalType, got 'topics_id', None",
    ),
    "a name that is no column name": (
        lambda _, rows: rows["properties"][0].update(name='x"; drop table topics; --'),
        "needs a snake_case name",
    ),
    "an unknown custom property": (
        lambda _, rows: rows["customProperties"].append({"property": "relatoin", "value": 1}),
        r"unknown custom property 'relatoin'.*did you mean 'relation'",
    ),
    "a half column family": (
        lambda _, rows: rows["customProperties"].append(
            {"property": "columnFamilies", "value": [{"pattern": "x"}]}
        ),
        "a column family needs pattern and physicalType, got {'pattern': 'x'}",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_contract_is_refused_with(changed, what):
    change, message = CHANGES[what]

    with pytest.raises(ConfigError, match=message) as caught:
        changed(change)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "\x00", "just text", ""])
def test_a_file_that_is_no_contract_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "x.odcs.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_contract(path)

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot read contract"):
        read_contract(tmp_path / "none.odcs.yaml")

import hashlib
import json

import pyarrow as pa
import pytest

from databourse.errors import InputError
from databourse.manifests import manifest_identity
from databourse.manifests.model import Budget, MarketRecord, SelectionRecord
from databourse.manifests.shards import canonical_documents

RULES = {
    "pool": "gazette",
    "snapshot_id": "5eed",
    "tokenizer_id": "ab12",
    "budget": Budget(kind="tokens", amount=60, limit_tokens=60),
    "market": MarketRecord(
        topic_mass="balanced", liquidity={"shares": 2}, length_bias=1, weights={"rarity": 1}
    ),
}


def identity(table, **changes):
    return manifest_identity([table], **{**RULES, **changes})


@pytest.fixture
def table(made):
    return canonical_documents(made.documents())


def test_the_identity_is_the_sha256_of_the_documented_lines():
    table = pa.table(
        {
            "document_id": ["a", "b"],
            "source": ["s", "é"],
            "label": pa.array([None, "x"], pa.string()),
            "tokens": [3, 4],
            "topic": ["0", "1"],
            "log_price": [-0.1, 1e-300],
            "log_price_per_token": [-1.5, 2.0],
            "rank": [2, 1],
            "weight": [1.0, 0.5],
            "prompt_characters": pa.array([None, 7], pa.int64()),
            "contribution_b": [0.25, 0.5],
            "contribution_a": [-1.0, 3.0],
        }
    )
    lines = (
        "databourse-manifest-1\n"
        '{"budget":{"amount":60.0,"kind":"tokens","limit_documents":null,"limit_tokens":60},'
        '"market":{"length_bias":1.0,"liquidity":{"shares":2},"topic_mass":"balanced",'
        '"weights":{"rarity":1.0}},"pool":"gazette","snapshot_id":"5eed","text":false,'
        '"tokenizer_id":"ab12","traders":["a","b"]}\n'
        '["a","s",null,3,"0",-0.1,-1.5,2,1.0,null,[-1.0,0.25]]\n'
        '["b","é","x",4,"1",1e-300,2.0,1,0.5,7,[3.0,0.5]]\n'
    )

    assert identity(table) == hashlib.sha256(lines.encode("utf-8")).hexdigest()


def test_the_identity_does_not_depend_on_where_the_rows_are_cut(table):
    pieces = [table.slice(0, 1), table.slice(1, 0), table.slice(1, 3), table.slice(4)]

    assert manifest_identity(pieces, **RULES) == identity(table)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("source", "other"),
        ("label", "other"),
        ("tokens", 99),
        ("topic", "9"),
        ("log_price", -0.12500000000000003),
        ("log_price_per_token", 0.0),
        ("rank", 77),
        ("weight", 1.0000000000000002),
        ("prompt_characters", 1),
        ("contribution_rarity", 0.0),
    ],
)
def test_one_changed_value_of_content_changes_the_identity(table, column, value):
    position = table.column_names.index(column)
    values = [*table.column(column).to_pylist()[:4], value]
    field = table.schema.field(column)
    changed = table.set_column(position, field, pa.array(values, field.type))

    assert identity(changed) != identity(table)


@pytest.mark.parametrize(
    "change",
    [
        {"pool": "other"},
        {"snapshot_id": "other"},
        {"tokenizer_id": "other"},
        {"budget": Budget(kind="tokens", amount=61, limit_tokens=61)},
        {"market": RULES["market"].model_copy(update={"length_bias": 0.5})},
    ],
)
def test_one_changed_rule_changes_the_identity(table, change):
    assert identity(table, **change) != identity(table)


def test_a_place_or_a_price_derived_from_its_log_does_not_change_the_identity(made, table):
    moved = canonical_documents(made.documents(locators="s3://elsewhere/news.csv"))

    assert moved.column("locator").to_pylist() != table.column("locator").to_pylist()
    assert identity(moved) == identity(table)


def test_leaving_the_texts_out_changes_the_identity(made, table):
    assert identity(canonical_documents(made.documents(text=False))) != identity(table)


def test_names_with_quotes_and_commas_cannot_be_confused():
    def rows(source, label):
        columns = {name: [1.0] for name in ("log_price", "log_price_per_token", "weight")} | {
            name: [1] for name in ("tokens", "rank", "prompt_characters")
        }
        return pa.table(
            {"document_id": ["a"], "source": [source], "label": [label], "topic": ["0"], **columns}
        )

    assert identity(rows('s","t', "u")) != identity(rows("s", 't","u'))
    assert json.loads('["s\\",\\"t"]') == ['s","t']


def test_rows_out_of_order_and_no_rows_are_refused(table):
    with pytest.raises(InputError, match="rows are not sorted"):
        manifest_identity([table.slice(2), table.slice(0, 2)], **RULES)
    with pytest.raises(InputError, match="is there twice"):
        manifest_identity([table, table.slice(4)], **RULES)
    with pytest.raises(InputError, match="at least one table"):
        manifest_identity([], **RULES)


SELECTION = SelectionRecord(
    method="greedy",
    rule="skip",
    best_single=False,
    diversity=0.0,
    topic_floor=0.0,
    topic_cap=None,
    source_floor=0.0,
    source_cap=None,
)


def test_the_settings_of_the_selection_are_a_part_of_the_documented_line():
    table = pa.table({name: pa.array([], pa.string()) for name in ("document_id", "source", "label",
                      "tokens", "topic", "log_price", "log_price_per_token", "rank", "weight",
                      "prompt_characters")})  # fmt: skip
    line = (
        "databourse-manifest-1\n"
        '{"budget":{"amount":60.0,"kind":"tokens","limit_documents":null,"limit_tokens":60},'
        '"market":{"length_bias":1.0,"liquidity":{"shares":2},"prior":"tokens",'
        '"topic_mass":"balanced","traders":{"risk_aversion":2.0},"weights":{"rarity":1.0}},'
        '"pool":"gazette","selection":{"best_single":false,"diversity":0.0,"method":"greedy",'
        '"rule":"skip","source_cap":null,"source_floor":0.0,"topic_cap":null,"topic_floor":0.0},'
        '"snapshot_id":"5eed","text":false,"tokenizer_id":"ab12","traders":[]}\n'
    )
    market = RULES["market"].model_copy(
        update={"prior": "tokens", "traders": {"risk_aversion": 2.0}}
    )

    found = identity(table, market=market, selection=SELECTION)
    assert found == hashlib.sha256(line.encode("utf-8")).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"method": "sample"},
        {"rule": "stop"},
        {"best_single": True},
        {"diversity": 0.5},
        {"topic_floor": 0.5},
        {"topic_floor": {"0": 0.5}},
        {"topic_cap": 1.5},
        {"source_floor": {"gazette": 0.1}},
        {"source_cap": 2.0},
    ],
)
def test_one_changed_setting_of_the_selection_changes_the_identity(table, change):
    changed = SELECTION.model_copy(update=change)

    assert identity(table, selection=changed) != identity(table, selection=SELECTION)


def test_an_absent_selection_is_left_out_and_is_not_that_of_the_defaults(table):
    assert identity(table, selection=None) == identity(table)
    assert identity(table, selection=SELECTION) != identity(table)


@pytest.mark.parametrize(
    "change",
    [
        {"prior": "uniform"},
        {"prior": {"sources": {"gazette": 2.0}}},
        {"traders": "fixed_orders"},
        {"traders": {"risk_aversion": 1.0}},
    ],
)
def test_prior_and_traders_are_a_part_of_the_identity_where_they_are_recorded(table, change):
    changed = RULES["market"].model_copy(update=change)

    assert identity(table, market=changed) != identity(table)
    assert identity(table, market=RULES["market"].model_copy()) == identity(table)

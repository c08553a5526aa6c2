"""A warehouse of three good documents, in tables without constraints: faults can be planted."""
# ruff: noqa: S608 - rows are written with the ids that tests look for

import duckdb
import pytest

from databourse.contracts import check_contract, contract_names, load_contract
from databourse.queries import query

A, B, C, D = (letter * 32 for letter in "abcd")
TABLES = (
    "answers", "arrivals", "decisions", "documents", "embeddings", "generations",
    "pool_documents", "prices", "quarantine", "settled_contracts", "signals", "snapshots",
    "sources", "token_losses", "topics", "wealth",
)  # fmt: skip

ROWS = f"""
insert into sources values ('run', 'src', 0, 'f.jsonl', 'file', 'sha', 1, 6, 1);
insert into arrivals values
    ('file', 0, '#0', '{A}', 'x', 3, '{{}}'), ('file', 1, '#1', '{B}', null, null, null),
    ('file', 2, '#2', '{C}', null, null, null), ('file', 3, '#3', '{A}', null, null, null),
    ('file', 5, '#5', '{D}', null, null, null);
insert into quarantine values ('file', 4, '#4', 'bad_json', 'no value', '{{');
insert into decisions values
    ('run', 'f.jsonl#3', 'src', '{A}', 'exact_dedup', 'dropped', 'exact_duplicate', '{A}', 1.0),
    ('run', 'f.jsonl#4', 'src', null, 'ingest', 'quarantined', 'bad_json', null, null),
    ('run', 'f.jsonl#5', 'src', '{D}', 'near_dedup', 'dropped', 'near_duplicate', '{A}', 0.9),
    ('run', 'f.jsonl#0', 'src', '{A}', 'budget', 'selected', 'bought', null, -2),
    ('run', 'f.jsonl#1', 'src', '{B}', 'budget', 'selected', 'bought', null, -23),
    ('run', 'f.jsonl#2', 'src', '{C}', 'budget', 'left', 'did_not_fit', null, -24);
insert into documents values
    ('{A}', 50, 's'), ('{B}', 60, 's'), ('{C}', 70, 's'), ('{D}', 50, 's');
insert into pool_documents values
    ('run', '{A}', 'src', 'f.jsonl#0', 'x', 3, '{{}}', 10),
    ('run', '{B}', 'src', 'f.jsonl#1', null, null, null, 20),
    ('run', '{C}', 'src', 'f.jsonl#2', null, null, null, 30),
    ('run', '{D}', 'src', 'f.jsonl#5', null, null, null, 10),
    ('other', 'bad', '', '', null, -1, null, -1), ('other', '{A}', '', '', null, 9, null, -1);
insert into snapshots values
    ('snap', '{A}'), ('snap', '{B}'), ('snap', '{C}'), ('past', '{A}'), ('past', '{D}');
insert into embeddings values
    ('{A}', 'enc', [1, 0]), ('{B}', 'enc', [0.6, 0.8]), ('{C}', 'enc', [0, -1]),
    ('{D}', 'enc', [5, 5, 5]), ('{A}', 'other', [7]);
insert into topics values
    ('top', 'snap', '{A}', 'one', 1.0), ('top', 'snap', '{B}', 'one', -1.0000005),
    ('top', 'snap', '{C}', 'two', null), ('other', 'past', '{A}', '', 'nan');
insert into signals values
    ('rare', '-', '{A}', 1), ('rare', '-', '{B}', 2), ('rare', '-', '{C}', 3),
    ('rare', '-', '{D}', 'inf'), ('good', 'snap', '{A}', 0.5), ('good', 'snap', '{B}', -0.5),
    ('good', 'snap', '{C}', 0), ('good', 'past', '{A}', 'inf'), ('unasked', '-', '{A}', 'nan');
insert into prices values
    ('run', '{A}', 'one', 10, 2, ln(1 - 2 * exp(-20)), -2, 1, true, 1, null, map {{'rare': 0.5}}),
    ('run', '{B}', 'one', 20, -1, -20, -23, 2, true, 1, null, map {{'rare': -0.5}}),
    ('run', '{C}', 'two', 30, 0, -20, -24, 3, false, 1, null, map {{'rare': 0.0, 'good': 1.0}}),
    ('other', '{A}', '', 0, 'nan', 1, 'inf', 0, true, 1, 1, map {{}});
insert into token_losses values
    ('f0', 'text', '{A}', 0, 4, 8.5, 9), ('f1', 'text', '{B}', 0, 3, 0, 0),
    ('f0', 'text', '{C}', 0, 5, 7, 6), ('f0', 'completion', '{A}', 3, 3, 6, 5),
    ('f1', 'completion', '{A}', 9, -1, 'nan', -1), ('f0', 'conditioned', '{B}', 0, -1, 'nan', -1),
    ('other', 'text', '{A}', 0, -1, 'nan', -1), ('f1', 'text', '{D}', 0, -1, 'nan', -1);
insert into generations values
    ('g0', '{A}', 3, ['so', ''], [-1.5, -2], [0, 1]), ('g1', '{B}', 0, ['x', 'y'], [0, -9], [0, 0]),
    ('g0', '{C}', 0, ['y', 'y'], [-1, -1], [4, 4]), ('g1', '{A}', 9, [], ['nan'], [null]),
    ('other', '{A}', 3, [], ['nan'], [null]), ('g0', '{D}', 0, [], ['nan'], [null]);
insert into answers values
    ('judge', '{A}', 'run', -1, -1, -0.5, -0.5, false, null, 0, 9, 0, 0),
    ('judge', '{B}', 'past', '-inf', -5, -0.004, 1e-10, true, null, 2, 9, 1, 1),
    ('judge', '{C}', 'past', null, null, null, null, null, '', -1, -1, -1, 7),
    ('judge', '{C}', 'run', '-inf', '-inf', '-inf', 0, false, null, 1, 9, 1, 0),
    ('judge', '{D}', 'run', 1, 0, 'nan', 1, null, '', -1, -1, -1, 7),
    ('other', '{A}', 'run', 1, 0, 'nan', 1, null, '', -1, -1, -1, 7);
insert into settled_contracts values
    ('done', '{A}', 'one', -2.5, 1, 0.05, -2), ('done', '{B}', 'one', 0, 1.5, 0.15, -20),
    ('done', '{C}', 'two', 9, 3, 0.1, -20), ('done', '{D}', 'two', 9, 3, 0.1, -20),
    ('other', '{A}', '', 'nan', 0, 2, null);
insert into settled_contracts
select 'done', md5(number::varchar), 'two', number, 2, 0.1, -9 from range(6) as numbers (number);
insert into wealth values
    ('done', 'rare', 0.5, 1, 0.3, 0.1, 0.1, 0.7, 0.1),
    ('done', 'good', 0.5, 0, 0, -0.2, 0, 0.3, 0.1),
    ('other', 'rare', 2, -1, 'nan', 0, 0, null, null);
create table manifest_rows as
select
    document_id, 'src' as source, 'f.jsonl#0' as locator, null::varchar as label, tokens, topic,
    exp(log_price) as price, log_price, exp(log_price_per_token) as price_per_token,
    log_price_per_token, price_rank as rank, 1.0::double as weight,
    1.0::double as inclusion_probability, null::bigint as prompt_characters,
    0.5::double as contribution_rare, 'some text' as text
from prices where run_id = 'run' and is_selected order by document_id;
create table board_rows as
select
    document_id, 'src' as source, topic, tokens, 0.5::double as signal_good,
    log_price::double as signal_rare
from prices where run_id = 'run' order by document_id;
"""
PARAMETERS = {
    "answers": {"scorer_id": "judge", "snapshot_id": "snap", "run_id": "run"},
    "board": {"snapshot_id": "snap"},
    "documents": {
        "run_id": "run",
        "max_removed_share_per_source": 0.5,
        "max_removed_share_per_label": 0.6,
    },
    "embeddings": {"encoder_id": "enc", "snapshot_id": "snap"},
    "generations": {"generations_ids": ["g0", "g1"], "snapshot_id": "snap", "run_id": "run"},
    "token_losses": {
        "losses_ids": ["f0", "f1"],
        "parts": ["text", "completion"],
        "snapshot_id": "snap",
        "run_id": "run",
    },
    "topics": {"topics_id": "top", "snapshot_id": "snap"},
    "signals": {"signal_ids": ["rare", "good"], "snapshot_id": "snap"},
    "prices": {"run_id": "run", "snapshot_id": "snap"},
    "manifest": {"run_id": "run", "limit_tokens": 30, "limit_documents": None},
    "settled_contracts": {"settlement_id": "done"},
    "wealth": {"settlement_id": "done"},
}


@pytest.fixture
def warehouse():
    with duckdb.connect(config={"threads": 1}) as connection:
        for table in TABLES:
            connection.execute(query(table))
            connection.execute(f"create table free as from {table}")  # a copy has no constraints
            connection.execute(f"drop table {table}")
            connection.execute(f"alter table free rename to {table}")
        connection.execute(ROWS)
        yield connection


@pytest.fixture(scope="session")
def contracts():
    """Read every contract once: reading takes as long as judging three rows."""
    return {name: load_contract(name) for name in contract_names()}


@pytest.fixture
def judge(warehouse, contracts, tmp_path):
    """Return a function that judges a contract over the warehouse as it is now."""

    def judged(name, **choices):
        parameters = PARAMETERS[name] | choices.pop("parameters", {})
        if name in FILES:
            parameters = {"path": FILES[name](warehouse, tmp_path)} | parameters
        contract = choices.pop("contract", contracts[name])
        return check_contract(warehouse.cursor(), contract, parameters, **choices)

    return judged


def write_manifest(warehouse, folder):
    """Write manifest_rows into two files; return a pattern of both."""
    for index, rows in enumerate(("limit 1", "offset 1")):
        path = folder / f"documents-{index:05d}.parquet"
        warehouse.execute(
            f"copy (from manifest_rows order by document_id {rows}) to '{path}' (format parquet)"
        )
    return str(folder / "documents-*.parquet")


def write_board(warehouse, folder):
    """Write board_rows into a file, in their order; return its path."""
    path = folder / "board.parquet"
    warehouse.execute(f"copy board_rows to '{path}' (format parquet)")
    return str(path)


FILES = {"board": write_board, "manifest": write_manifest}

"""A warehouse on disk with the tables of a whole run, priced by the numpy market."""

import json
import shutil
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import yaml

from databourse.config import RefreshConfig
from databourse.digests import document_id
from databourse.explanations import explain_document
from databourse.market import lmsr
from databourse.market.clearing import clear_market
from databourse.queries import query, query_files
from databourse.selection.greedy import (
    buy_within_budget,
    costs_within,
    order_by_price_per_token,
)
from databourse.warehouse.store import SCHEMA_VERSION
from databourse.warehouse.texts import TextStore

START = datetime(2026, 3, 1, 4, 0, 0)  # noqa: DTZ001 - the tables hold UTC without a zone
URI = "data/a.jsonl"


@dataclass(frozen=True, eq=False)
class SmallMarket:
    """A market whose document i is the text "document i"; signals are named s0, s1, ..."""

    values: np.ndarray
    topic_index: np.ndarray
    tokens: np.ndarray
    weights: np.ndarray
    liquidity: float = 0.4
    length_bias: float = 1.0
    kind: str = "tokens"
    amount: float = 100
    rule: str = "skip"
    settings: dict = field(default_factory=dict)

    @property
    def n(self):
        return len(self.tokens)

    @property
    def ids(self):
        return [document_id(f"document {number}") for number in range(self.n)]

    def cleared(self):
        return clear_market(
            values=self.values,
            weights=self.weights,
            topic_index=self.topic_index,
            tokens=self.tokens,
            liquidity=self.liquidity,
            topic_mass="proportional",
            length_bias=self.length_bias,
        )

    def log_price_per_token(self, shares, tokens=None):
        """Return ln P - g ln l at standing orders: the market after the orders were placed."""
        tokens = self.tokens if tokens is None else tokens
        result = np.empty(self.n)
        for topic in range(self.topic_index.max() + 1):
            part = self.topic_index == topic
            within = lmsr.log_prices(shares[part], self.liquidity)
            result[part] = np.log(part.mean()) + within
        return result - self.length_bias * np.log(tokens)

    def bought(self, log_price_per_token, *, tokens=None, amount=None, rule=None):
        """Return who is bought at prices per token, in the order of documents."""
        tokens = self.tokens if tokens is None else tokens
        costs, limit = costs_within(
            self.tokens, self.kind, self.amount if amount is None else amount
        )
        if self.kind != "documents":
            costs = tokens
        ranking = order_by_price_per_token(np.round(log_price_per_token, 12), tokens, self.ids)
        is_bought = np.zeros(self.n, dtype=bool)
        in_order = buy_within_budget(costs=costs[ranking], budget=limit, rule=rule or self.rule)
        is_bought[ranking] = in_order
        return is_bought, ranking


def random_market(seed, n=24, **settings):
    """Return a market of two topics and three signals with lengths of 1 to 40 tokens."""
    rng = np.random.default_rng(seed)
    return SmallMarket(
        values=rng.normal(size=(n, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, -2.0],
        topic_index=np.arange(n) % 2,
        tokens=rng.integers(1, 41, size=n),
        weights=np.array([0.5, 0.3, 0.2]),
        **settings,
    )


class Store:
    """A warehouse on disk, filled by hand."""

    def __init__(self, root, template, pool="tiny"):
        self.root, self.pool = Path(root), pool
        (self.root / "text").mkdir(parents=True)
        self.texts = TextStore(self.root / "text")
        shutil.copy(template, self.root / "bourse.duckdb")
        self.connection = duckdb.connect(str(self.root / "bourse.duckdb"), config={"threads": 1})

    def insert(self, table, rows):
        """Append rows; what is not given is null."""
        if not rows:
            return
        columns = self.connection.table(table).columns
        filled = [{name: row.get(name) for name in columns} for row in rows]
        schema = self.connection.table(table).limit(0).to_arrow_table().schema
        self.connection.from_arrow(pa.Table.from_pylist(filled, schema=schema)).insert_into(table)

    def add_run(self, number=1, *, pool=None, status="completed", settings=None, version=None):
        run_id = f"run-{number}"
        config = {"selection": {}, "market": {}} | (settings or {})
        path = str(self.root / f"v{version or 0:06d}")
        self.insert(
            "runs",
            [
                {
                    "run_id": run_id,
                    "pool": pool or self.pool,
                    "flow": "refresh_pool",
                    "config_digest": "digest",
                    "config_text": yaml.safe_dump(config),
                    "code_version": "0.1.0",
                    "started_at": START + timedelta(days=number),
                    "status": status,
                    "message": path if version else "",
                }
            ],
        )
        source = {
            "run_id": run_id,
            "source": "rows",
            "source_rank": 0,
            "uri": URI,
            "file_id": "file-1",
            "sha256": "0",
            "bytes": 1,
            "rows": 1,
            "rejected_rows": 0,
        }
        self.insert("sources", [source])
        return run_id

    def add_version(self, version, run_id, *, status="published"):
        row = {
            "pool": self.pool,
            "version": version,
            "manifest_id": f"{version:064x}",
            "run_id": run_id,
            "path": str(self.root / f"v{version:06d}"),
            "tokens": 1,
            "documents": 1,
            "status": status,
            "published_at": START + timedelta(days=version, hours=1),
        }
        self.insert("manifests", [row])

    def add_texts(self, texts):
        by_id = {document_id(text): text for text in texts}
        shard = self.texts.write(by_id)
        self.insert("text_shards", [shard])
        rows = [
            {"document_id": key, "characters": len(text), "text_shard": shard["text_shard"]}
            for key, text in by_id.items()
        ]
        self.insert("documents", rows)

    def arrive(self, row_number, key, **more):
        self.insert("arrivals", [self.arrival(row_number, key, **more)])

    def arrival(self, row_number, key, *, label=None, metadata=None):
        return {
            "file_id": "file-1",
            "row_number": row_number,
            "place": f"#{row_number}",
            "document_id": key,
            "label": label,
            "metadata": None if metadata is None else json.dumps(metadata),
        }

    def decide(self, run_id, row_number, key, **fate):
        self.insert("decisions", [self.decision(run_id, row_number, key, **fate)])

    def decision(self, run_id, row_number, key, *, stage, outcome, reason, **more):
        return {
            "run_id": run_id,
            "locator": f"{URI}#{row_number}",
            "source": "rows",
            "document_id": key,
            "stage": stage,
            "outcome": outcome,
            "reason": reason,
            **more,
        }

    def add_pool(self, run_id, keys, tokens):
        rows = [
            {
                "run_id": run_id,
                "document_id": key,
                "source": "rows",
                "locator": f"{URI}#{number}",
                "label": f"label-{number % 3}",
                "metadata": json.dumps({"number": number}),
                "tokens": int(length),
            }
            for number, (key, length) in enumerate(zip(keys, tokens, strict=True))
        ]
        self.insert("pool_documents", rows)

    def trade(
        self, market, run_id="run-1", *, reasons=None, margin=None, selected=None, chance=None
    ):
        """Write what a run on a market leaves; `selected` and `margin` replace the plain rule's."""
        cleared = market.cleared()
        plain, ranking = market.bought(cleared.log_price_per_token)
        is_bought = plain if selected is None else selected
        costs, limit = costs_within(market.tokens, market.kind, market.amount)
        ranks = np.empty(market.n, dtype=np.int64)
        ranks[ranking] = np.arange(1, market.n + 1)
        names = [f"s{number}" for number in range(market.values.shape[1])]
        last = ranking[np.flatnonzero(is_bought[ranking])[-1]]
        self._write_prices(
            run_id,
            market,
            cleared,
            ranks=ranks,
            is_bought=is_bought,
            names=names,
            chance=chance,
        )
        self._write_books(run_id, market, cleared, names)
        self._write_signals(market, names)
        self.insert(
            "selections",
            [
                {
                    "run_id": run_id,
                    "snapshot_id": "snapshot-1",
                    "topics_id": "topics-1",
                    "tokenizer_id": "words@1",
                    "encoder_id": "hashing",
                    "board_id": "board",
                    "signal_ids": [f"{name}@1" for name in names],
                    "length_bias": market.length_bias,
                    "budget_kind": market.kind,
                    "limit_cost": limit,
                    "marginal_log_price_per_token": (
                        cleared.log_price_per_token[last] if margin is None else margin
                    ),
                    "tokens": int(market.tokens[is_bought].sum()),
                    "documents": int(is_bought.sum()),
                }
            ],
        )
        decisions = []
        for number, key in enumerate(market.ids):
            outcome = "selected" if is_bought[number] else "left"
            usual = "bought"
            if not is_bought[number]:
                usual = "longer_than_budget" if costs[number] > limit else "did_not_fit"
            reason = (reasons or {}).get(number, usual)
            value = float(cleared.log_price_per_token[number])
            fate = {"stage": "budget", "outcome": outcome, "reason": reason, "value": value}
            decisions.append(self.decision(run_id, number, key, **fate))
        self.insert("decisions", decisions)
        return cleared, is_bought, ranking

    def _write_prices(self, run_id, market, cleared, *, ranks, is_bought, names, chance):
        self.insert(
            "prices",
            [
                {
                    "run_id": run_id,
                    "document_id": key,
                    "topic": f"topic {market.topic_index[number]}",
                    "tokens": int(market.tokens[number]),
                    "shares": cleared.shares[number],
                    "log_price": cleared.log_price[number],
                    "log_price_per_token": cleared.log_price_per_token[number],
                    "price_rank": int(ranks[number]),
                    "is_selected": bool(is_bought[number]),
                    "weight": 1.0 if chance is None else 1 / chance,
                    "inclusion_probability": chance,
                    "contributions": list(
                        zip(names, cleared.contributions[number].tolist(), strict=True)
                    ),
                }
                for number, key in enumerate(market.ids)
            ],
        )

    def _write_books(self, run_id, market, cleared, names):
        weights = market.weights / market.weights.sum()
        for topic in range(len(cleared.mass)):
            books = {
                "n_documents": int(cleared.n_documents[topic]),
                **{
                    name: float(getattr(cleared, name)[topic])
                    for name in ("mass", "liquidity", "cost", "worst_case_loss", "entropy")
                },
                "effective_sample_size": float(cleared.effective_sample_size[topic]),
            }
            same = {"run_id": run_id, "topic": f"topic {topic}"}
            self.insert("topic_markets", [same | books])
            of_topic = market.values[market.topic_index == topic]
            rows = [
                {
                    **same,
                    "trader": name,
                    "mean": of_topic[:, number].mean(),
                    "spread": of_topic[:, number].std(),
                    "shares_per_spread": weights[number],
                }
                for number, name in enumerate(names)
            ]
            self.insert("topic_traders", rows)

    def _write_signals(self, market, names):
        version = {
            "scope": "pool",
            "parameters": "{}",
            "model_fingerprint": "",
            "orientation": "larger is better",
            "revision": 1,
            "seconds": 0.0,
            "cpu_seconds": 0.0,
            "gpu_seconds": 0.0,
            "model_calls": 0,
        }
        known = self.connection.execute("select count(*) from signal_versions").fetchall()[0][0]
        if known:
            return
        for number, name in enumerate(names):
            self.insert("signal_versions", [{"signal_id": f"{name}@1", "signal": name, **version}])
            rows = [
                {
                    "signal_id": f"{name}@1",
                    "snapshot_id": "snapshot-1",
                    "document_id": key,
                    "value": market.values[document, number],
                }
                for document, key in enumerate(market.ids)
            ]
            self.insert("signals", rows)
        topics = [
            {
                "topics_id": "topics-1",
                "snapshot_id": "snapshot-1",
                "document_id": key,
                "topic": f"topic {market.topic_index[document]}",
                "similarity": 0.5,
            }
            for document, key in enumerate(market.ids)
        ]
        self.insert("topics", topics)

    def add_market(self, market, **settings):
        """Write a completed first run of a market, published as version 1."""
        run_id = self.add_run(1, settings=market.settings, version=1)
        self.add_version(1, run_id)
        self.add_texts([f"document {number}" for number in range(market.n)])
        arrivals = [
            self.arrival(number, key, label=f"label-{number % 3}", metadata={"number": number})
            for number, key in enumerate(market.ids)
        ]
        self.insert("arrivals", arrivals)
        self.add_pool(run_id, market.ids, market.tokens)
        return self.trade(market, run_id, **settings)

    def close(self):
        self.connection.close()

    def explain(self, asked, *, pool=None, **settings):
        """Close the tables for writing, and explain."""
        self.close()
        config = RefreshConfig(
            pool=pool or self.pool,
            seed=1,
            sources=[{"name": "rows", "path": "data/*.jsonl", "text": "{text}"}],
            signals=["rarity"],
            budget={"tokens": 10},
            compute={"threads": 1, "memory_limit": "500MB"},
        )
        return explain_document(config, self.root, asked, **settings)


@pytest.fixture(scope="session")
def empty_tables(tmp_path_factory):
    """Return a DuckDB file with all tables of a warehouse, empty."""
    path = tmp_path_factory.mktemp("tables") / "bourse.duckdb"
    with duckdb.connect(str(path)) as connection:
        for name, file in query_files().items():
            if file.parent.name == "tables":
                connection.execute(query(name)).fetchall()
        connection.execute("insert into schema_versions values (?)", [SCHEMA_VERSION])
    return path


@pytest.fixture
def make_store(tmp_path, empty_tables):
    """Return a function that makes an empty warehouse in a folder of the test."""
    stores = []

    def make(folder="warehouse", **settings):
        stores.append(Store(tmp_path / folder, empty_tables, **settings))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(make_store):
    """Return an empty warehouse."""
    return make_store()


@pytest.fixture(scope="session")
def market_of():
    """Return a function that draws a market of two topics by seed."""
    return random_market


@pytest.fixture(scope="session")
def changed():
    """Return what gives a copy of a market with other settings."""
    return replace

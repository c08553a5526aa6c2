"""A published pool of forty documents, made by the product's own functions without a refresh."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
import yaml

from databourse import manifests
from databourse.config import load_config
from databourse.market.board import board_of
from databourse.refresh.standing_wealth import as_settled
from databourse.refresh.trading import hold_session
from databourse.warehouse.boards import store_board
from databourse.warehouse.store import append, hold_warehouse
from databourse.what_if.session import market_connection

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
N_DOCUMENTS = 40
SETTINGS = {
    "pool": "tiny",
    "seed": 17,
    "sources": [{"name": name, "path": "rows.jsonl", "text": "{text}"} for name in ("web", "news")],
    "signals": ["rarity", "length", {"name": "diversity"}],
    "budget": {"tokens": 300},
    "compute": {"threads": 1, "memory_limit": "200MB"},
}


def board_of_pool():
    """Return forty documents of four topics and two sources."""
    rng = np.random.default_rng(5)
    return board_of(
        pa.table(
            {
                "document_id": [f"{number:032x}" for number in range(N_DOCUMENTS)],
                "source": rng.choice(["web", "news"], N_DOCUMENTS).tolist(),
                "topic": rng.choice(["air", "earth", "fire", "😀"], N_DOCUMENTS).tolist(),
                "tokens": rng.integers(5, 60, N_DOCUMENTS),
                "signal_rarity": rng.normal(size=N_DOCUMENTS),
                "signal_length": rng.normal(size=N_DOCUMENTS),
                "signal_diversity": rng.normal(size=N_DOCUMENTS),
            }
        )
    )


def vectors_of_pool():
    """Return the unit vector of each document."""
    vectors = np.random.default_rng(6).normal(size=(N_DOCUMENTS, 4))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def facts_of(config, session, *, board_id):
    """Return what the manifest says beside its rows."""
    board, summary = session.board, session.cleared.summary
    unit = "limit_documents" if config.budget.kind == "documents" else "limit_tokens"
    signal = {
        "scope": "pool",
        "parameters": {},
        "model_fingerprint": "0",
        "orientation": "larger",
        "revision": 1,
        "seconds": 0.0,
        "cpu_seconds": 0.0,
    }
    topics = [
        {
            "topic": topic.topic,
            "candidate_documents": topic.n_documents,
            "candidate_tokens": int(board.tokens[board.topic_index == index].sum()),
            "mass": topic.mass,
            "liquidity": topic.liquidity,
            "effective_sample_size": topic.effective_sample_size,
            "marginal_log_price_per_token": None,
        }
        for index, topic in enumerate(summary.topics)
    ]
    sources = [
        {
            "source": name,
            "candidate_documents": int((board.source_index == index).sum()),
            "candidate_tokens": int(board.tokens[board.source_index == index].sum()),
        }
        for index, name in enumerate(board.sources)
    ]
    return manifests.ManifestFacts.model_validate(
        {
            "pool": config.pool,
            "created_at": CREATED,
            "run_id": "run",
            "databourse_version": "0",
            "config": config.model_dump(mode="json"),
            "config_digest": "0",
            "snapshot_id": "0",
            "encoder_id": "e",
            "tokenizer": {"id": "0", "name": "default"},
            "budget": {
                "kind": config.budget.kind,
                "amount": config.budget.amount,
                unit: session.limit,
            },
            "candidates": {"documents": board.n_documents, "tokens": int(board.tokens.sum())},
            "dropped": {},
            "market": {
                "topic_mass": "proportional",
                "liquidity": as_settled(config, None).market.liquidity.model_dump(mode="json"),
                "length_bias": config.selection.length_bias,
                "weights": summary.weights,
            },
            "board_id": board_id,
            "signals": [
                {**signal, "signal": trader, "signal_id": trader, "weight": weight}
                for trader, weight in summary.weights.items()
            ],
            "topics": topics,
            "sources": sources,
            "marginal_log_price_per_token": session.purchase.marginal_log_price_per_token,
        }
    )


def documents_of(session):
    """Return the documents bought, as a manifest takes them."""
    board, cleared, order = session.board, session.cleared, session.purchase.order
    ids = board.document_ids.take(pa.array(order))
    return pa.table(
        {
            "document_id": ids,
            "locator": ids,
            "source": [board.sources[index] for index in board.source_index[order].tolist()],
            "topic": [board.topics[index] for index in board.topic_index[order].tolist()],
            "tokens": board.tokens[order],
            "rank": np.arange(1, order.size + 1),
            "log_price": cleared.log_price[order],
            "log_price_per_token": cleared.log_price_per_token[order],
            **{f"contribution_{trader}": np.zeros(order.size) for trader in board.traders},
        }
    )


class Pool:
    """A folder with a config, and functions that publish into it."""

    def __init__(self, root):
        self.root = root
        self.path = root / "pool.yaml"
        self.board = board_of_pool()

    def write(self, **changes):
        """Write the config; return it."""
        market = {"weights": "equal", "liquidity": {"effective_share": 0.3}}
        market |= changes.pop("market", {})
        self.path.write_text(yaml.safe_dump(SETTINGS | {"market": market} | changes))
        return load_config(self.path)

    def publish(self, board_id=None, **changes):
        """Publish what the config buys of the board; return the session and the folder."""
        config = self.write(**changes)
        stored = store_board(self.root / config.warehouse, self.board)
        vectors = vectors_of_pool()
        with market_connection(config) as connection:
            session = hold_session(
                connection, self.board, as_settled(config, None), vectors=vectors.__getitem__
            )
        facts = facts_of(config, session, board_id=stored if board_id is None else board_id)
        staged = manifests.stage(self.root / config.manifests, facts, documents_of(session))
        result = manifests.publish(staged, contracts=(), validation={}, published_at=CREATED)
        return session, result.path

    def embed(self):
        """Store the vector of every document in the warehouse."""
        with (
            hold_warehouse(self.root / "warehouse", threads=1, memory_limit="200MB") as warehouse,
            warehouse.transaction() as cursor,
        ):
            vectors = pa.array(vectors_of_pool().tolist(), pa.list_(pa.float32()))
            rows = {
                "document_id": self.board.document_ids,
                "encoder_id": ["e"] * N_DOCUMENTS,
                "vector": vectors,
            }
            append(cursor, "embeddings", pa.table(rows))


@pytest.fixture
def pool(tmp_path):
    """Return a folder in which a pool can be published."""
    return Pool(tmp_path)


@pytest.fixture
def pool_vectors():
    """Return the unit vectors of the pool's documents, shape (40, 4)."""
    return vectors_of_pool()

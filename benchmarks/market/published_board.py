"""A folder in which `databourse price` can be timed: a config, a generated board, a manifest.

The board and the manifest are written by the product itself. The manifest holds what a tenth of all
tokens buys; contributions, which the command does not read, are left at 0.

    python -m benchmarks.market.published_board FOLDER --documents 1000000
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from benchmarks.market import more_signals
from benchmarks.market.generated_board import BoardShape, board_parts
from databourse import manifests
from databourse.config import USUAL_LIQUIDITY, RefreshConfig, load_config
from databourse.manifests.model import ManifestFacts
from databourse.market.board import Board, board_of
from databourse.refresh.standing_wealth import as_settled
from databourse.refresh.trading import Session, hold_session
from databourse.signals.registry import signal_names
from databourse.warehouse.boards import store_board
from databourse.what_if.session import market_connection

_CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def publish_board(folder: Path, *, n_documents: int, seed: int) -> Path:
    """Write all of it into a folder; return the path of the config.

    Args:
        folder: created if missing; nothing is published in it yet.
        n_documents: of the board, which has every registered signal.
        seed: of the board.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pool.yaml"
    path.write_text(yaml.safe_dump(_settings()), encoding="utf-8")
    config = load_config(path)
    board = _board(BoardShape(n_documents, len(signal_names()), seed))
    board_id = store_board(folder / config.warehouse, board)
    with market_connection(config) as connection:
        session = hold_session(connection, board, as_settled(config, None), vectors=_no_vectors)
    facts = _facts(config, session, board_id)
    staged = manifests.stage(folder / config.manifests, facts, _documents(session))
    manifests.publish(staged, contracts=(), validation={}, published_at=_CREATED)
    return path


def _settings() -> dict[str, object]:
    return {
        "pool": "generated",
        "seed": 17,
        "sources": [{"name": "rows", "path": "rows.jsonl", "text": "{text}"}],
        "signals": list(signal_names()),
        "budget": {"share": 0.1},
    }


def _board(shape: BoardShape) -> Board:
    table = pa.concat_tables(board_parts(shape))
    names = {f"signal_{number}": f"signal_{name}" for number, name in enumerate(signal_names())}
    return board_of(table.rename_columns([names.get(name, name) for name in table.column_names]))


def _no_vectors(positions: np.ndarray) -> np.ndarray:
    raise ValueError(f"no diversity is wanted here, but {positions.size} vectors are")


def _documents(session: Session) -> pa.Table:
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


def _facts(config: RefreshConfig, session: Session, board_id: str) -> ManifestFacts:
    board, summary = session.board, session.cleared.summary
    tokens_of_topic = np.bincount(board.topic_index, weights=board.tokens).astype(int).tolist()
    tokens_of_source = np.bincount(board.source_index, weights=board.tokens).astype(int).tolist()
    facts = {
        "pool": config.pool,
        "created_at": _CREATED,
        "run_id": "generated",
        "databourse_version": "generated",
        "config": config.model_dump(mode="json"),
        "config_digest": "generated",
        "snapshot_id": "generated",
        "encoder_id": None,
        "tokenizer": {"id": "generated", "name": "generated"},
        "budget": {
            "kind": config.budget.kind,
            "amount": config.budget.amount,
            "limit_tokens": session.limit,
        },
        "candidates": {"documents": board.n_documents, "tokens": int(board.tokens.sum())},
        "dropped": {},
        "market": {
            "topic_mass": "proportional",
            "liquidity": USUAL_LIQUIDITY.model_dump(mode="json"),
            "length_bias": config.selection.length_bias,
            "weights": summary.weights,
        },
        "board_id": board_id,
        "signals": [
            {
                "signal": trader,
                "signal_id": trader,
                "scope": "pool",
                "parameters": {},
                "model_fingerprint": "generated",
                "orientation": "larger is better",
                "revision": 1,
                "weight": weight,
                "seconds": 0.0,
                "cpu_seconds": 0.0,
            }
            for trader, weight in summary.weights.items()
        ],
        "topics": [
            {
                "topic": topic.topic,
                "candidate_documents": topic.n_documents,
                "candidate_tokens": tokens,
                "mass": topic.mass,
                "liquidity": topic.liquidity,
                "effective_sample_size": topic.effective_sample_size,
                "marginal_log_price_per_token": None,
            }
            for topic, tokens in zip(summary.topics, tokens_of_topic, strict=True)
        ],
        "sources": [
            {"source": source, "candidate_documents": documents, "candidate_tokens": tokens}
            for source, documents, tokens in zip(
                board.sources,
                np.bincount(board.source_index).tolist(),
                tokens_of_source,
                strict=True,
            )
        ],
        "marginal_log_price_per_token": session.purchase.marginal_log_price_per_token,
    }
    return ManifestFacts.model_validate(facts)


def main() -> None:
    """Write the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=17)
    chosen = parser.parse_args()
    more_signals.register()
    print(publish_board(chosen.folder, n_documents=chosen.documents, seed=chosen.seed))


if __name__ == "__main__":
    main()

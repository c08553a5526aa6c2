"""A manifest of made-up documents, published as a refresh publishes one."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa

from databourse import manifests
from databourse.digests import document_id

POOL = "generated"
_WORDS = 4_096
_TOPICS = 32
_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def publish_generated(root: Path, *, n_documents: int, seed: int) -> Path:
    """Return the folder of a version with so many documents of 20 to 100 words, texts included."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(20, 101, n_documents)
    words = np.array([f"word{index:04d}" for index in range(_WORDS)], dtype=object)
    texts = [
        f"{index} {' '.join(words[rng.integers(0, _WORDS, length)])}"
        for index, length in enumerate(lengths)
    ]
    log_prices = rng.normal(-14.0, 1.0, n_documents)
    topics = rng.integers(0, _TOPICS, n_documents)
    ranks = np.empty(n_documents, dtype=np.int64)
    ranks[np.argsort(-log_prices)] = np.arange(1, n_documents + 1)
    documents = pa.table(
        {
            "document_id": [document_id(text) for text in texts],
            "source": ["made_up"] * n_documents,
            "locator": [f"made_up.jsonl#{index}" for index in range(n_documents)],
            "tokens": lengths,
            "topic": topics.astype(str),
            "log_price": log_prices,
            "log_price_per_token": log_prices - np.log(lengths),
            "rank": ranks,
            "contribution_rarity": log_prices * 0.75,
            "contribution_uncertainty": log_prices * 0.25,
            "text": pa.array(texts, pa.large_string()),
        }
    )
    staged = manifests.stage(root, _facts(topics, lengths), documents)
    result = manifests.publish(staged, contracts=[], validation={}, published_at=_NOW)
    return result.path


def _facts(topics: np.ndarray, lengths: np.ndarray) -> manifests.ManifestFacts:
    n_documents, tokens = len(lengths), int(lengths.sum())
    return manifests.ManifestFacts(
        pool=POOL,
        created_at=_NOW,
        run_id="generated",
        databourse_version="0",
        config={},
        config_digest="0",
        snapshot_id="generated",
        encoder_id=None,
        tokenizer=manifests.Tokenizer(id="words@0", name="words"),
        budget=manifests.Budget(kind="tokens", amount=tokens, limit_tokens=tokens),
        candidates=manifests.Counts(documents=n_documents, tokens=tokens),
        dropped={},
        market=manifests.MarketRecord(
            topic_mass="proportional", liquidity={}, length_bias=1.0, weights={}
        ),
        signals=(),
        topics=tuple(
            manifests.TopicMarket(
                topic=str(topic),
                candidate_documents=int((topics == topic).sum()),
                candidate_tokens=int(lengths[topics == topic].sum()),
                mass=1 / _TOPICS,
                liquidity=1.0,
                effective_sample_size=1.0,
                marginal_log_price_per_token=None,
            )
            for topic in range(_TOPICS)
        ),
        sources=(
            manifests.SourceSupply(
                source="made_up", candidate_documents=n_documents, candidate_tokens=tokens
            ),
        ),
        marginal_log_price_per_token=None,
    )

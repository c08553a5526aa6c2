"""A tiny invented pool: seven documents for sale, five bought."""

import datetime as dt
import json
import math

import pyarrow as pa
import pytest

from databourse import manifests
from databourse.digests import document_id
from databourse.manifests.model import ManifestFacts

NOW = dt.datetime(2026, 11, 25, 12, 0, tzinfo=dt.UTC)

TEXTS = [  # text, source, topic, tokens, log price, label
    ("The bakery on Elm Street sells rye bread.", "gazette", "0", 10, -1.0, "food"),
    ("Rain is expected over the northern hills.", "gazette", "1", 9, -1.5, "weather"),
    ("A ferry now crosses the bay twice a day.", "letters", "1", 11, -2.0, None),
    ("The choir sings “Ode to Joy” on Sunday.", "letters", "0", 12, -2.25, None),
    ("Two goats escaped and ate the mayor's roses.", "gazette", "1", 13, -0.125, "news"),
]

FACTS = {
    "pool": "gazette",
    "created_at": NOW,
    "run_id": "run-1",
    "databourse_version": "0.1.0",
    "config": {"pool": "gazette", "seed": 17, "budget": {"tokens": 60}},
    "config_digest": "c0ffee",
    "snapshot_id": "5eed",
    "encoder_id": "all-MiniLM-L6-v2",
    "tokenizer": {"id": "ab12", "name": "default"},
    "budget": {"kind": "tokens", "amount": 60, "limit_tokens": 60},
    "candidates": {"documents": 7, "tokens": 90},
    "dropped": {"exact duplicate": 2, "near duplicate": 1},
    "market": {
        "topic_mass": "proportional",
        "liquidity": {"effective_share": 0.3},
        "length_bias": 1.0,
        "weights": {"rarity": 0.75, "uncertainty": 0.25},
    },
    "signals": [
        {
            "signal": name,
            "signal_id": f"{name}-1a2b",
            "scope": scope,
            "parameters": {"neighbours": 5},
            "model_fingerprint": "53aa",
            "orientation": "higher",
            "revision": 1,
            "weight": weight,
            "seconds": 1.5,
            "cpu_seconds": 2.5,
        }
        for name, scope, weight in (("rarity", "pool", 0.75), ("uncertainty", "document", 0.25))
    ],
    "topics": [
        {
            "topic": topic,
            "candidate_documents": documents,
            "candidate_tokens": tokens,
            "mass": mass,
            "liquidity": 0.5,
            "effective_sample_size": 1.25,
            "marginal_log_price_per_token": marginal,
        }
        for topic, documents, tokens, mass, marginal in (
            ("1", 4, 50, 0.5, -4.5),
            ("0", 2, 22, 0.3, -4.75),
            ("2", 1, 18, 0.2, None),
        )
    ],
    "sources": [
        {"source": "letters", "candidate_documents": 3, "candidate_tokens": 40},
        {"source": "gazette", "candidate_documents": 4, "candidate_tokens": 50},
    ],
    "marginal_log_price_per_token": -4.75,
}
CONTRACTS = (
    manifests.ContractResult(
        contract="manifest_documents", version="1.0.0", success=True, rules=9, failed_warnings=1
    ),
)
VALIDATION = {"success": True, "contracts": {"manifest_documents": {"success": True}}}


def make_facts(**changes) -> ManifestFacts:
    return ManifestFacts.model_validate({**FACTS, **changes})


def make_documents(*, locators="news.csv", text=True, texts=TEXTS) -> pa.Table:
    rows = [
        {
            "document_id": document_id(row_text),
            "source": source,
            "locator": f"{locators}#{index}",
            "label": label,
            "tokens": tokens,
            "topic": topic,
            "log_price": log_price,
            "log_price_per_token": log_price - math.log(tokens),
            "rank": index + 1,
            "contribution_uncertainty": log_price / 4,
            "contribution_rarity": 3 * log_price / 4,
            **({"text": row_text} if text else {}),
        }
        for index, (row_text, source, topic, tokens, log_price, label) in enumerate(texts)
    ]
    return pa.Table.from_pylist(rows)


def publish_into(root, *, facts=None, documents=None, shard_rows=2, extra=None, now=NOW):
    staged = manifests.stage(
        root,
        facts or make_facts(),
        make_documents() if documents is None else documents,
        shard_rows=shard_rows,
    )
    for name, data in (extra or {}).items():
        manifests.add_file(staged, name, data)
    return manifests.publish(staged, contracts=CONTRACTS, validation=VALIDATION, published_at=now)


def publish_many(root, *, n_documents, shard_rows):
    """Publish generated documents of two topics and unequal weights; return the version's path."""
    texts = [
        (f"story {index}", "gazette", str(index % 2), 1 + index % 5, -1.0 - index / 8, None)
        for index in range(n_documents)
    ]
    weights = pa.array([0.25 + (index % 7) / 2 for index in range(n_documents)])
    documents = make_documents(texts=texts).append_column("weight", weights)
    limit = 5 * n_documents
    budget = {"kind": "tokens", "amount": limit, "limit_tokens": limit}
    facts = make_facts(budget=budget, candidates={"documents": n_documents, "tokens": limit})
    return publish_into(root, facts=facts, documents=documents, shard_rows=shard_rows).path


class Made:
    """What the tests of this folder build manifests from."""

    now = NOW
    texts = TEXTS
    contracts = CONTRACTS
    validation = VALIDATION
    facts = staticmethod(make_facts)
    documents = staticmethod(make_documents)
    publish = staticmethod(publish_into)

    @staticmethod
    def stage(root, **changes):
        return manifests.stage(root, make_facts(**changes), make_documents(), shard_rows=2)

    @staticmethod
    def finish(staged, **changes):
        return manifests.publish(
            staged,
            **{
                "contracts": CONTRACTS,
                "validation": VALIDATION,
                "published_at": NOW,
                **changes,
            },
        )

    @staticmethod
    def latest(root):
        return json.loads((root / "gazette" / "latest.json").read_text())


@pytest.fixture(scope="session")
def many():
    return publish_many


@pytest.fixture
def made():
    return Made


@pytest.fixture
def published(tmp_path):
    """Return the folder of version 1, with three shards and a report."""
    return publish_into(tmp_path / "manifests", extra={"report.html": b"<p>bought</p>\n"}).path

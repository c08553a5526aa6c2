from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from databourse.reports.data import (
    Budget,
    ContractResult,
    Dropped,
    FunnelStage,
    ReportInputs,
    SignalVersion,
    StageTiming,
    TopicRow,
    Trader,
)


def priced_table(documents: dict[str, tuple]) -> pa.Table:
    """Rows by document_id: source, topic, tokens, log_price, is_selected; length bias 1."""
    ids = list(documents)
    source, topic, tokens, log_price, is_selected = zip(*documents.values(), strict=True)
    per_token = np.array(log_price) - np.log(np.array(tokens, dtype=float))
    rank = np.empty(len(ids), dtype=np.int64)
    rank[np.lexsort((ids, -per_token))] = np.arange(1, len(ids) + 1)
    return pa.table(
        {
            "document_id": ids,
            "source": source,
            "topic": topic,
            "tokens": tokens,
            "log_price": log_price,
            "log_price_per_token": per_token,
            "rank": rank,
            "is_selected": is_selected,
        }
    )


def topic_rows(priced: pa.Table) -> tuple[TopicRow, ...]:
    topic = priced["topic"].to_numpy()
    tokens, picked = priced["tokens"].to_numpy(), priced["is_selected"].to_numpy()
    return tuple(
        TopicRow(
            topic=name,
            documents=int((topic == name).sum()),
            tokens=int(tokens[topic == name].sum()),
            selected_documents=int(picked[topic == name].sum()),
            selected_tokens=int(tokens[(topic == name) & picked].sum()),
            liquidity=0.5,
            mass=float((topic == name).mean()),
            effective_sample_size=1.5,
            entropy=0.69,
            cost=1.25,
            worst_case_loss=0.75,
            marginal_log_price_per_token=None,
        )
        for name in sorted(set(topic))
    )


@pytest.fixture
def tiny() -> ReportInputs:
    """Four documents whose numbers are worked out by hand in the tests.

    Log prices per token: a -3.30, b -6.00, c -6.19, d -8.37. Bought: a and c, 50 of 200 tokens.
    """
    priced = priced_table(
        {
            "a": ("s1", "x", 10, -1.0, True),
            "b": ("s2", "x", 20, -3.0, False),
            "c": ("s1", "y", 40, -2.5, True),
            "d": ("s2", "y", 130, -3.5, False),
        }
    )
    return ReportInputs(
        pool="news",
        version=3,
        manifest_id="m" * 64,
        run_id="run-7",
        created_at="2026-11-21 04:12 UTC",
        config_text="pool: news\nseed: 17\n",
        budget=Budget("tokens", 50),
        spent_tokens=50,
        spent_documents=2,
        funnel=(
            FunnelStage("read", 7, "rows", "from 2 files"),
            FunnelStage("dedup", 4, "documents", "same text"),
            FunnelStage("bought", 2, "documents"),
        ),
        dropped=(Dropped("dedup", "same_text", 2), Dropped("ingest", "invalid_utf8", 1)),
        priced=priced,
        traders=(Trader("rarity", 0.75), Trader("flat", 0.25)),
        contributions=np.array([[1.0, 0], [-1, 0], [0.5, 0], [-0.5, 0]]),
        signals=np.array([[2.0, 1], [0, 1], [5, 1], [1, 1]]),
        topics=topic_rows(priced),
        texts={"a": "first text", "b": "second text", "c": "third text", "d": "fourth text"},
        signal_versions=(
            SignalVersion("rarity", "rarity-1", "pool", "larger", "", 2.0, 3.5, 0.0, 0, "{k: 10}"),
            SignalVersion("flat", "flat-1", "document", "larger", "lm", 1.0, 1.0, 0.0, 4),
        ),
        stages=(StageTiming("ingest", 7, 6, 0.5, 0.4),),
        contracts=(ContractResult("prices", "sum to the mass", "critical", is_passed=True),),
        dedup_notes=("s1 lost 1 of 3 documents.",),
    )


@pytest.fixture
def make_inputs(tiny: ReportInputs):
    """Return a maker of larger inputs: random prices, the dearest half of the documents bought."""

    def make(n_documents: int, n_topics: int = 3, n_traders: int = 2, share: float = 0.5):
        rng = np.random.default_rng(11)
        names = [f"{value:08x}" for value in rng.permutation(n_documents)]
        topics = [f"topic {k}" for k in range(n_topics)]
        topic = [topics[k % n_topics] for k in range(n_documents)]
        tokens = np.exp(rng.normal(4.0, 1.0, n_documents)).astype(np.int64) + 1
        contributions = rng.normal(size=(n_documents, n_traders))
        log_price = contributions.sum(axis=1) - 10
        per_token = log_price - np.log(tokens)
        order = np.lexsort((names, -per_token))
        picked = np.zeros(n_documents, dtype=bool)
        picked[order[: int(n_documents * share)]] = True
        rows = {
            name: ("s1", topic[i], int(tokens[i]), float(log_price[i]), bool(picked[i]))
            for i, name in enumerate(names)
        }
        priced = priced_table(rows)
        return dataclasses.replace(
            tiny,
            budget=Budget("tokens", max(1, int(tokens[picked].sum()))),
            spent_tokens=int(tokens[picked].sum()),
            spent_documents=int(picked.sum()),
            funnel=(),
            dropped=(),
            priced=priced,
            traders=tuple(Trader(f"trader_{k}", 1 / n_traders) for k in range(n_traders)),
            contributions=contributions,
            signals=contributions * 2 + 1,
            topics=topic_rows(priced),
            texts={},
        )

    return make


@pytest.fixture
def shuffled():
    """Return a function that reorders the rows of inputs without changing what they say."""

    def reorder(inputs: ReportInputs) -> ReportInputs:
        rows = np.random.default_rng(5).permutation(len(inputs.contributions))
        return dataclasses.replace(
            inputs,
            priced=inputs.priced.take(rows),
            contributions=inputs.contributions[rows],
            signals=inputs.signals[rows],
        )

    return reorder

"""What models cost: written with each batch, added up, and counted in the signals that read it."""

import json
import time

import pytest

from databourse.progress import silent
from databourse.refresh.context import ModelIds, SnapshotIds
from databourse.refresh.model_costs import Clock, ModelCost, append_cost, clocked, cost_of
from databourse.refresh.quality_questions import ask_about_quality
from databourse.refresh.signal_scoring import score_signal
from databourse.refresh.token_scoring import score_losses


def spend(warehouse, *, measured_id, part, run_id, seconds, calls):
    with warehouse.transaction() as cursor:
        append_cost(
            cursor,
            measured_id=measured_id,
            part=part,
            run_id=run_id,
            n_documents=calls,
            clock=Clock(seconds, seconds / 2),
            model_calls=calls,
        )


def test_costs_of_batches_runs_folds_and_parts_add_up(warehouse):
    for measured_id, part, run_id, seconds, calls in (
        ("fold 0", "text", "run 1", 1.0, 10),
        ("fold 0", "text", "run 1", 2.0, 20),
        ("fold 0", "text", "run 2", 4.0, 40),
        ("fold 1", "text", "run 1", 8.0, 80),
        ("fold 0", "completion", "run 1", 16.0, 160),
        ("other", "text", "run 1", 32.0, 320),
    ):
        spend(
            warehouse,
            measured_id=measured_id,
            part=part,
            run_id=run_id,
            seconds=seconds,
            calls=calls,
        )

    assert cost_of(warehouse, ["fold 0"], "text") == ModelCost(7.0, 3.5, 70)
    assert cost_of(warehouse, ("fold 0", "fold 1"), "text") == ModelCost(15.0, 7.5, 150)
    assert cost_of(warehouse, ["fold 0"], "completion") == ModelCost(16.0, 8.0, 160)
    assert cost_of(warehouse, ["nobody"], "text") == ModelCost(0.0, 0.0, 0)
    assert cost_of(warehouse, [], "text") == ModelCost(0.0, 0.0, 0)


def test_a_batch_that_is_not_kept_leaves_no_cost(warehouse):
    with pytest.raises(RuntimeError), warehouse.transaction() as cursor:
        append_cost(
            cursor,
            measured_id="m",
            part="text",
            run_id="run",
            n_documents=1,
            clock=Clock(1.0, 1.0),
            model_calls=1,
        )
        raise RuntimeError

    assert cost_of(warehouse, ["m"], "text").model_calls == 0


def test_a_clock_tells_waiting_from_working():
    with clocked() as clock:
        time.sleep(0.2)
    assert clock.seconds >= 0.2
    assert clock.cpu_seconds < 0.15

    with clocked() as clock:
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass
    assert clock.cpu_seconds >= 0.1


def ids_of(pool, **models):
    return SnapshotIds(pool.snapshot_id, "tokens", "encoder", "topics", None, ModelIds(**models))


def scored_signal(pool, ids, name):
    scored = score_signal(pool.warehouse, pool.run, ids, name=name, advance=silent)
    (row,) = pool.query(
        "select seconds, cpu_seconds, model_calls from signal_versions where signal_id = ?",
        scored.signal_id,
    )
    return scored, row


PRICES = {"text": 1e3, "completion": 1e4, "conditioned": 1e5}
TRAINING = 1e6


@pytest.fixture
def charged(trained):
    """Return a pool whose parts and models cost what can be told from any rounding, and its ids."""
    pool, fingerprints = trained
    scored = score_losses(pool.warehouse, pool.run, pool.snapshot_id, fingerprints, advance=silent)
    with pool.warehouse.transaction() as cursor:
        cursor.execute("update language_models set seconds = $s, cpu_seconds = $s", {"s": TRAINING})
        for part, seconds in PRICES.items():
            cursor.execute(
                "update model_costs set seconds = $seconds, cpu_seconds = $seconds / 2 "
                "where part = $part",
                {"part": part, "seconds": seconds},
            )
    batches = dict(pool.query("select part, count(*)::int from model_costs group by part"))
    spent = {part: batches[part] * PRICES[part] for part in PRICES}
    return pool, ids_of(pool, trained=fingerprints, losses=scored.losses_ids), spent


def test_a_signal_is_charged_for_the_parts_and_the_training_that_it_reads(charged):
    pool, ids, spent = charged  # its signals are perplexity and ifd

    _, perplexity = scored_signal(pool, ids, "perplexity")
    _, ifd = scored_signal(pool, ids, "ifd")

    training = 2 * TRAINING / 2  # two folds, two signals
    assert perplexity[0] == pytest.approx(spent["text"] + training, abs=60)
    assert perplexity[1] == pytest.approx(spent["text"] / 2 + training, abs=60)
    pairs = spent["completion"] + spent["conditioned"]
    assert ifd[0] == pytest.approx(pairs + training, abs=60)
    assert ifd[1] == pytest.approx(pairs / 2 + training, abs=60)
    assert perplexity[2] == ifd[2] == 40  # 40 texts; 20 pairs, twice


def test_signals_that_read_the_same_share_its_cost_and_add_up_to_it(charged):
    pool, ids, spent = charged
    names = ["perplexity", "generative_entropy", "ifd", "completion_loss", "length"]
    own = pool.configured(signals=names)

    charges = {name: scored_signal(own, ids, name)[1] for name in names}

    training = 2 * TRAINING / 4  # length reads nothing
    assert charges["perplexity"][0] == pytest.approx(spent["text"] / 2 + training, abs=60)
    assert charges["generative_entropy"][0] == pytest.approx(spent["text"] / 2 + training, abs=60)
    assert charges["length"][0] < 60
    assert charges["length"][2] == 0
    total = sum(charge[0] for charge in charges.values())
    assert total == pytest.approx(sum(spent.values()) + 2 * TRAINING, abs=120)
    assert sum(charge[2] for charge in charges.values()) == 80


def test_the_seconds_of_perplexity_hold_those_of_scoring_and_training(trained):
    pool, fingerprints = trained
    own = pool.configured(signals=["perplexity"])
    started = time.perf_counter()
    scored = score_losses(own.warehouse, own.run, own.snapshot_id, fingerprints, advance=silent)
    _, row = scored_signal(
        own, ids_of(own, trained=fingerprints, losses=scored.losses_ids), "perplexity"
    )
    took = time.perf_counter() - started

    spent = cost_of(own.warehouse, scored.losses_ids, "text")
    training = pool.query("select sum(seconds) from language_models")[0][0]
    assert 0 < training + spent.seconds <= row[0] <= training + took
    assert spent.model_calls == row[2] == 40
    assert pool.query("select sum(documents)::int, count(distinct batch_id) from model_costs") == [
        (40, pool.query("select count(*) from model_costs")[0][0])
    ]


def test_details_of_a_signal_are_stored_as_json_once(trained):
    pool, fingerprints = trained
    scored = score_losses(pool.warehouse, pool.run, pool.snapshot_id, fingerprints, advance=silent)
    ids = ids_of(pool, trained=fingerprints, losses=scored.losses_ids)

    for _ in range(2):
        for name in ("perplexity", "ifd"):
            scored_signal(pool, ids, name)

    rows = pool.query("select signal_id, snapshot_id, details from signal_details")
    assert len(rows) == 2
    details = [json.loads(each) for *_, each in rows]
    assert all(isinstance(each, dict) and each for each in details)
    stored = pool.query("select signal_id, count(*) from signals group by all")
    assert {row[1] for row in stored} == {40}


def test_an_answered_signal_is_charged_for_its_requests_failures_included(untrained, endpoint):
    endpoint.behave = lambda name, attempt, handler: (
        name == "doc-5" and attempt <= 2 and endpoint.send(handler, {"error": "no"}, status=500)
    )
    pool = untrained.configured(
        signals=["ask_llm"],
        ask_llm={
            "endpoint": {"base_url": endpoint.url, "model": "tiny", "backoff_seconds": 0.01},
            "max_failed_share": 0.5,
        },
    )
    asked = ask_about_quality(pool.warehouse, pool.run, pool.snapshot_id, advance=silent)
    assert endpoint.attempts["doc-5"] == 3
    # equal answers are no signal
    with pool.warehouse.transaction() as cursor:
        cursor.execute(
            "update answers set log_p_yes_low = -1 - hash(document_id) % 97 / 97, "
            "log_p_yes_high = -1 - hash(document_id) % 97 / 97"
        )

    scored, row = scored_signal(
        pool, ids_of(pool, scorer=asked.scorer_id, unanswered=asked.unanswered), "ask_llm"
    )

    assert row[2] == sum(endpoint.attempts.values()) == 42
    details = json.loads(pool.query("select details from signal_details")[0][0])
    assert details == {"answered": 40, "failed": 0}
    other, _ = scored_signal(
        pool, ids_of(pool, scorer=asked.scorer_id, unanswered="another"), "ask_llm"
    )
    assert other.signal_id != scored.signal_id

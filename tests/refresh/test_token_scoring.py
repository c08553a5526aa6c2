"""Token losses of a snapshot: what is there is not read again; how they came changes nothing."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from databourse.errors import ConfigError, InputError
from databourse.language_models.loading import load_trained_model, save_trained_model
from databourse.progress import silent
from databourse.refresh.document_parts import of_fold
from databourse.refresh.reference_model import model_folder, train_reference_models
from databourse.refresh.token_scoring import parts_needed, score_losses, stored_losses
from databourse.signals.folds import document_folds

LOSSES = (
    "select losses_id, part, document_id, prompt_characters, tokens, loss_sum, entropy_sum "
    "from token_losses order by all"
)


class InterruptedTestError(Exception):
    """What a test raises in the middle of the work."""


def score(pool, trained=(), advance=silent):
    return score_losses(pool.warehouse, pool.run, pool.snapshot_id, trained, advance=advance)


def with_model(pool, **changes):
    """Return the pool with other settings of the language model."""
    section = pool.run.config.language_model.model_dump() | changes
    return pool.configured(language_model=section)


@pytest.fixture
def frozen(open_pool, ingested_folder, trained_folder, tmp_path):
    """Return a pool that is scored by a model of a local folder."""
    made = next((trained_folder / "warehouse" / "language_models").glob("*/training.json")).parent
    save_trained_model(load_trained_model(made), tmp_path / "frozen")
    return with_model(open_pool(ingested_folder), name=str(tmp_path / "frozen"))


@pytest.fixture
def scored(trained):
    """Return a pool, its models and what an uninterrupted run stores."""
    pool, fingerprints = trained
    first = score(pool, fingerprints)
    return pool, fingerprints, first, pool.query(LOSSES)


def cuts_of(pool):
    documents = pool.documents()
    return dict(
        zip(
            documents["document_id"].to_pylist(),
            documents["prompt_characters"].to_pylist(),
            strict=True,
        )
    )


def test_each_part_is_scored_once_by_the_model_of_its_fold(scored):
    pool, _, first, rows = scored
    cuts = cuts_of(pool)
    ids = list(cuts)
    fold_of = dict(zip(ids, document_folds(ids, 2).tolist(), strict=True))

    assert parts_needed(pool.run) == ["text", "completion", "conditioned"]
    assert first.n_parts == first.n_scored == len(rows) == 40 + 20 + 20
    expected = {(first.losses_ids[fold_of[each]], "text", each, 0) for each in ids}
    for part in ("completion", "conditioned"):
        expected |= {
            (first.losses_ids[fold_of[each]], part, each, cut)
            for each, cut in cuts.items()
            if cut is not None
        }
    assert {row[:4] for row in rows} == expected


def test_losses_are_the_sums_of_a_plain_loop_over_tokens(scored):
    import torch

    pool, fingerprints, first, rows = scored
    texts, window, overlap = pool.texts(), 48, 16
    models = {
        losses_id: load_trained_model(model_folder(pool.warehouse.root, fingerprint)).model
        for losses_id, fingerprint in zip(first.losses_ids, fingerprints, strict=True)
    }
    long = 0
    for losses_id, part, document_id, cut, tokens, loss_sum, entropy_sum in rows[::3]:
        model = models[losses_id]
        text = texts[document_id]
        before = model.tokenizer.encode([text[:cut]])[0].tolist() if part == "conditioned" else []
        own = model.tokenizer.encode([text[cut:]])[0].tolist()
        sequence = [model.start_token_id, *before, *own]
        losses, entropies = [], []
        first_read, last_read = 0, min(window, len(sequence) - 1)
        for place in range(len(before) + 1, len(sequence)):
            if place > last_read or place == len(before) + 1:  # another window begins
                first_read = max(0, min(place - overlap, len(sequence) - 1 - window))
                last_read = min(first_read + window, len(sequence) - 1)
                long += first_read > 0
            with torch.inference_mode():
                logits = model.module(torch.tensor([sequence[first_read:place]])).logits[0, -1]
                log_p = torch.log_softmax(logits.double(), dim=0)
            losses.append(-log_p[sequence[place]].item())
            entropies.append(-(log_p.exp() * log_p).sum().item())
        assert tokens == len(own)
        assert loss_sum == pytest.approx(math.fsum(losses), abs=1e-5 * len(own))
        assert entropy_sum == pytest.approx(math.fsum(entropies), abs=1e-5 * len(own))
    assert long > 10


def test_a_second_run_scores_nothing_and_tells_of_everything(scored):
    pool, fingerprints, first, rows = scored
    costs = pool.query("select count(*) from model_costs")
    done = []

    again = score(pool.again("second"), fingerprints, done.append)

    assert (again.losses_ids, again.n_parts, again.n_scored) == (first.losses_ids, 80, 0)
    assert sum(done) == 80
    assert pool.query(LOSSES) == rows
    assert pool.query("select count(*) from model_costs") == costs


@pytest.mark.parametrize("after", [1, 14, 33, 55])
def test_an_interrupted_run_goes_on_where_it_stopped(trained, open_pool, trained_folder, after):
    pool, fingerprints = trained
    told = 0

    def interrupt(done):
        nonlocal told
        told += done
        if told >= after:
            raise InterruptedTestError

    with pytest.raises(InterruptedTestError):
        score(pool, fingerprints, interrupt)
    kept = pool.query("select count(*) from token_losses")[0][0]
    assert kept < after  # its own batch is lost, and nothing else
    assert pool.query("select coalesce(sum(documents), 0)::int from model_costs") == [(kept,)]

    told = []
    second = score(pool, fingerprints, told.append)

    assert (second.n_parts, second.n_scored, sum(told)) == (80, 80 - kept, 80)
    whole = open_pool(trained_folder)
    score(whole, fingerprints)
    assert pool.query(LOSSES) == whole.query(LOSSES)  # to the last bit


@pytest.mark.parametrize("settings", [(7, 1), (1_000, 1), (13, 2), (1_000, 3)])
def test_batches_and_threads_change_no_bit(scored, open_pool, trained_folder, settings):
    _, fingerprints, first, rows = scored
    batch, threads = settings
    other = open_pool(trained_folder).configured(
        compute={"batch_documents": batch, "threads": threads}
    )

    assert score(other, fingerprints).losses_ids == first.losses_ids
    assert other.query(LOSSES) == rows


KILLED = """
import json, sys, time
from pathlib import Path
from databourse.config import RefreshConfig
from databourse.refresh.context import RunContext
from databourse.refresh.token_scoring import score_losses
from databourse.warehouse import hold_warehouse

order = json.loads(Path(sys.argv[1]).read_text())
snapshot_id, trained = order["snapshot"], order["trained"]
root, marker = order["root"], order["marker"]
run = RunContext(**{**order["run"], "config": RefreshConfig(**order["run"]["config"])})
told = 0

def advance(done):
    global told
    told += done
    if told >= 33:
        Path(marker).write_text("here")
        time.sleep(120)

with hold_warehouse(Path(root), threads=1, memory_limit="200MB") as warehouse:
    score_losses(warehouse, run, snapshot_id, trained, advance=advance)
"""


def test_a_killed_process_loses_its_batch_and_nothing_else(
    scored, trained_folder, tmp_path, open_pool
):
    whole, fingerprints, _, rows = scored
    folder = tmp_path / "killed"
    shutil.copytree(trained_folder, folder)
    marker, order = tmp_path / "marker", tmp_path / "order.json"
    run = {**vars(whole.run), "config": whole.run.config.model_dump(mode="json")}
    order.write_text(
        json.dumps(
            {
                "run": run,
                "snapshot": whole.snapshot_id,
                "trained": list(fingerprints),
                "root": str(folder / "warehouse"),
                "marker": str(marker),
            }
        )
    )
    with (tmp_path / "out").open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(order)],
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    until = time.monotonic() + 120
    while not marker.exists() and child.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    assert child.poll() is None, (tmp_path / "out").read_text()
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()

    pool = open_pool(folder)
    kept = pool.query("select count(*) from token_losses")[0][0]
    assert 0 < kept < 33
    again = score(pool, fingerprints)

    assert again.n_scored == 80 - kept
    assert pool.query(LOSSES) == rows
    assert pool.query("select sum(documents)::int from model_costs") == [(80,)]


def test_a_frozen_model_scores_only_a_new_document(frozen, next_day, rows_of_pool):
    pairs, plain = rows_of_pool
    first = score(frozen)
    assert len(first.losses_ids) == 1
    assert first.n_scored == 80
    before = set(frozen.query(LOSSES))

    later = next_day(frozen, pairs, [*plain, {"text": "doc-99 of no wind and no rain"}])
    second = score(later)

    assert (second.losses_ids, second.n_parts, second.n_scored) == (first.losses_ids, 81, 1)
    assert before < set(later.query(LOSSES))


def test_another_split_of_a_pair_is_scored_again_where_it_matters(frozen, next_day, rows_of_pool):
    pairs, plain = rows_of_pool
    score(frozen)
    question, answer = pairs[0]["question"], pairs[0]["answer"]
    head, tail = answer.split(" ", 1)
    moved = {"question": f"{question} {head}", "answer": tail}

    later = next_day(frozen, [moved, *pairs[1:]], plain)
    assert later.snapshot_id == frozen.snapshot_id
    second = score(later)

    assert second.n_scored == 2  # completion and conditioned
    (document_id,) = [
        each
        for each, cut in cuts_of(later).items()
        if cut is not None and cut != cuts_of(frozen)[each]
    ]
    cut = cuts_of(later)[document_id]
    assert cut == len(question) + 1 + len(head)
    for pool, expected in ((frozen, len(question)), (later, cut)):
        losses = stored_losses(pool.warehouse, pool.documents(), "completion", second.losses_ids)
        place = pool.documents()["document_id"].to_pylist().index(document_id)
        stored = pool.query(
            "select tokens, loss_sum from token_losses where document_id = ? "
            "and part = 'completion' and prompt_characters = ?",
            document_id,
            expected,
        )
        assert (losses.token_counts[place], losses.loss_sums[place]) == stored[0]


def test_documents_without_a_prompt_have_no_completion(scored):
    pool, _, first, _ = scored
    cuts = list(cuts_of(pool).values())
    losses = stored_losses(pool.warehouse, pool.documents(), "completion", first.losses_ids)
    plain = np.array([cut is None for cut in cuts])

    assert plain.sum() == 20
    assert (losses.token_counts[plain] == 0).all()
    assert (losses.loss_sums[plain] == 0).all()
    assert (losses.token_counts[~plain] > 0).all()
    assert np.isnan(losses.mean_losses[plain]).all()


def test_a_pool_without_pairs_has_no_completions(frozen, next_day, rows_of_pool):
    _, plain = rows_of_pool
    pair = {"question": "doc-99 what?", "answer": "that"}
    later = next_day(frozen, [pair], plain)
    with later.warehouse.transaction() as cursor:
        cursor.execute("update pool_documents set prompt_characters = null where run_id = 'next'")

    scored = score(later)

    assert scored.n_scored == 21
    losses = stored_losses(later.warehouse, later.documents(), "conditioned", scored.losses_ids)
    assert not losses.token_counts.any()


def test_stored_losses_stand_beside_their_documents(scored):
    pool, _, first, rows = scored
    documents = pool.documents()
    for part in ("text", "completion", "conditioned"):
        expected = {row[2]: row[4:] for row in rows if row[1] == part}
        for some in (documents, documents.slice(5, 9), documents.slice(0, 1)):
            losses = stored_losses(pool.warehouse, some, part, first.losses_ids)
            found = zip(
                losses.token_counts.tolist(),
                losses.loss_sums.tolist(),
                losses.entropy_sums.tolist(),
                strict=True,
            )
            ids = some["document_id"].to_pylist()
            assert list(found) == [expected.get(each, (0, 0.0, 0.0)) for each in ids]


def test_only_the_parts_that_signals_need_are_scored(trained):
    pool, fingerprints = trained
    for signals, parts in ((["perplexity"], ["text"]), (["ifd"], ["completion", "conditioned"])):
        own = pool.configured(signals=signals)
        assert parts_needed(own.run) == parts
        score(own, fingerprints)
        stored = pool.query("delete from token_losses returning part")
        assert {part for (part,) in stored} == set(parts)


@pytest.mark.parametrize(
    "changes",
    [{"window_tokens": 40}, {"overlap_tokens": 8}, {"precision": "int8"}],
    ids=["window", "overlap", "precision"],
)
def test_what_changes_losses_changes_their_id(scored, changes):
    pool, fingerprints, first, _ = scored

    other = score(with_model(pool, **changes), fingerprints)

    assert other.n_scored == 80
    assert not set(other.losses_ids) & set(first.losses_ids)


def test_the_losses_of_int8_are_stored_and_near_those_of_float32(scored):
    pool, fingerprints, first, _ = scored
    other = score(with_model(pool, precision="int8"), fingerprints)
    exact, rounded = (
        stored_losses(pool.warehouse, pool.documents(), "text", ids)
        for ids in (first.losses_ids, other.losses_ids)
    )
    assert (exact.token_counts == rounded.token_counts).all()
    assert not (exact.loss_sums == rounded.loss_sums).all()
    assert np.allclose(exact.mean_losses, rounded.mean_losses, rtol=0.05)


def test_a_model_of_transformers_is_scored_from_its_folder(untrained, trained_folder, tmp_path):
    made = next((trained_folder / "warehouse" / "language_models").glob("*/training.json")).parent
    model = load_trained_model(made).model
    model.module.save_pretrained(str(tmp_path / "other"))
    (tmp_path / "other" / "tokenizer.json").write_text(model.tokenizer.to_json())

    scored = score(with_model(untrained, name=str(tmp_path / "other")))

    assert scored.n_scored == 80
    assert scored.losses_ids[0].startswith("local@")


def test_a_window_longer_than_the_context_is_refused(frozen):
    with pytest.raises((ConfigError, InputError), match=r"window_tokens must be .*48.*got 100"):
        score(with_model(frozen, window_tokens=100))


def test_bfloat16_on_a_cpu_is_refused(frozen):
    with pytest.raises((ConfigError, InputError), match="bfloat16"):
        score(with_model(frozen, precision="bfloat16"))


def test_a_changed_model_folder_is_another_model(frozen, tmp_path):
    first = score(frozen)
    file = tmp_path / "frozen" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"layer_norm_epsilon": 0.1}))

    second = score(frozen)

    assert second.n_scored == 80
    assert second.losses_ids != first.losses_ids


def test_every_document_is_in_one_fold(scored):
    pool, *_ = scored
    documents = pool.documents().select(["document_id"])
    parts = [of_fold(documents, fold, 3)["document_id"].to_pylist() for fold in range(3)]
    assert sorted(sum(parts, [])) == documents["document_id"].to_pylist()  # noqa: RUF017
    assert of_fold(documents.slice(0, 0), 1, 3).num_rows == 0
    assert of_fold(documents, 0, 1) is documents


def test_losses_of_a_retrained_pool_are_not_mixed(scored, next_day, rows_of_pool):
    pool, _, first, _ = scored
    pairs, plain = rows_of_pool
    later = next_day(pool, pairs, [*plain, {"text": "doc-99 of no wind and no rain"}])
    models = train_reference_models(later.warehouse, later.run, later.snapshot_id, advance=silent)

    second = score(later, models.fingerprints)

    assert second.n_scored == second.n_parts == 81
    assert not set(second.losses_ids) & set(first.losses_ids)
    assert Path(model_folder(pool.warehouse.root, models.fingerprints[0])).is_dir()

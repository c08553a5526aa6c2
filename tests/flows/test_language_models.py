"""A refresh with language models, seen from outside: what it promises, and what it refuses."""

import contextlib
import importlib.util
import json
import math
import os
import random
import re
import shutil
import threading
from pathlib import Path
from signal import SIGKILL

import duckdb
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from databourse.errors import ConfigError, DatabourseError
from databourse.manifests import open_manifest, verify

_WORDS = ("rain", "wind", "storm", "cloud", "sun", "frost", "snow", "heat", "flood", "hail", "mist")
SIGNALS = [
    "perplexity",
    "generative_entropy",
    "ifd",
    "completion_loss",
    {"name": "euds", "combine": "rank_mean"},
    "semantic_entropy",
]
LANGUAGE_MODEL = {
    "window_tokens": 48,
    "overlap_tokens": 16,
    "reference": {
        "layers": 1,
        "width": 16,
        "heads": 2,
        "context_tokens": 48,
        "vocabulary": 300,
        "epochs": 1,
    },
    "generations": {"samples": 2, "new_tokens": 4, "prompt_tokens": 16},
}


def write_model_pool(root, *, shuffled=False, files=1, **changes):
    """Write 50 pairs and 50 plain texts and a config; return its path."""
    rng = np.random.default_rng(3)

    def sentence(n_words):
        return " ".join(rng.choice(_WORDS, size=n_words))

    lengths = rng.integers(5, 40, size=100).tolist()
    rows = {
        "pairs": [
            {"q": f"doc-{n} what of {sentence(4)}?", "a": sentence(lengths[n])} for n in range(50)
        ],
        "plain": [{"t": f"doc-{n} {sentence(lengths[n])}"} for n in range(50, 100)],
    }
    root.mkdir(parents=True, exist_ok=True)
    for name, own in rows.items():
        if shuffled:
            random.Random(7).shuffle(own)  # noqa: S311
        for part in range(files):
            lines = [json.dumps(row) for row in own[part::files]]
            (root / f"{name}-{part}.jsonl").write_text("\n".join(lines) + "\n")
    config = {
        "pool": "small",
        "seed": 17,
        "sources": [
            {"name": "pairs", "path": "pairs-*.jsonl", "prompt": "{q}", "completion": " {a}"},
            {"name": "plain", "path": "plain-*.jsonl", "text": "{t}"},
        ],
        "encoder": "hashing",
        "topics": {"count": 3, "smallest": 5},
        "signals": SIGNALS,
        "language_model": LANGUAGE_MODEL,
        "budget": {"tokens": 500},
        "compute": {"threads": 1, "memory_limit": "500MB", "batch_documents": 30},
        **changes,
    }
    path = root / "pool.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextlib.contextmanager
def tables(path):
    database = path.parent / "warehouse" / "bourse.duckdb"
    with duckdb.connect(str(database), read_only=True) as connection:
        yield connection


def rows_of(path, query, *parameters):
    with tables(path) as connection:
        return connection.execute(query, parameters).fetchall()


def stages_of(path, run_id):
    """Return the stages of a run by name."""
    stages = rows_of(path, "select stages from runs where run_id = ?", run_id)[0][0]
    return {stage["stage"]: stage for stage in json.loads(stages)}


@pytest.fixture(scope="module")
def published(prefect_server, tmp_path_factory):
    """Return the config of a pool that was refreshed once, and what came of it."""
    from flows.refresh_pool import refresh_pool

    path = write_model_pool(tmp_path_factory.mktemp("models"))
    return path, refresh_pool(str(path), [])


@pytest.fixture
def own(published, tmp_path):
    """Return the config of a copy of that pool for one test, and what came of the first."""
    path, result = published
    shutil.copytree(path.parent, tmp_path / "pool")
    return tmp_path / "pool" / "pool.yaml", result


@pytest.fixture
def cli():
    """Return a function that runs a command in this process."""
    from flows.cli import app

    def run(*arguments):
        result = CliRunner().invoke(app, [str(each) for each in arguments])
        if isinstance(result.exception, DatabourseError):
            raise result.exception
        return result

    return run


def test_a_refresh_with_language_models_publishes_what_verifies(published):
    path, result = published

    assert result.published
    assert verify(result.path).ok
    info = open_manifest(result.path).info
    judged = [each.contract for each in info.contracts]
    assert judged.index("token_losses") < judged.index("generations") < judged.index("signals")
    assert all(each.success for each in info.contracts)
    assert len(info.signals) == len(SIGNALS)
    stages = stages_of(path, result.run_id)
    assert stages["train language model"]["note"] == "2 of 2 folds trained"
    assert stages["score tokens"]["rows_out"] == 100 + 50 + 50
    assert stages["score tokens"]["note"] == "200 new, text, completion, conditioned"
    assert stages["sample generations"]["note"] == "100 new, 2 each"
    assert (path.parent / "manifests/small/v000001/report.html").stat().st_size > 10_000


def test_every_signal_has_its_values_its_cost_and_its_details(published):
    path, _ = published
    versions = rows_of(
        path, "select signal, seconds, cpu_seconds, model_calls from signal_versions order by all"
    )
    spent = {signal: more for signal, *more in versions}
    assert len(spent) == len(SIGNALS)
    calls = {signal: more[2] for signal, more in spent.items()}
    assert calls == {
        "perplexity": 34,  # a third of 100 texts, rounded up
        "generative_entropy": 34,
        "euds": 34,
        "ifd": 50 + 25,  # its completions, and half of those after their prompts
        "completion_loss": 25,
        "semantic_entropy": 200,
    }
    parts = dict(rows_of(path, "select part, sum(seconds) from model_costs group by part"))
    assert spent["perplexity"][0] >= parts["text"] / 3 > 0
    assert spent["semantic_entropy"][0] >= parts["-"] > 0
    training = rows_of(path, "select sum(seconds) from language_models")[0][0]
    assert sum(more[0] for more in spent.values()) >= sum(parts.values()) + training > training > 0
    assert rows_of(path, "select count(*) from signals") == [(100 * len(SIGNALS),)]
    details = rows_of(path, "select count(distinct signal_id) from signal_details")
    assert details == [(len(SIGNALS),)]


def test_a_second_refresh_trains_scores_and_samples_nothing(refresh, published):
    path, result = published

    again = refresh(path)

    assert not again.published
    assert again.manifest_id == result.manifest_id
    stages = stages_of(path, again.run_id)
    assert stages["train language model"]["note"] == "0 of 2 folds trained"
    assert stages["score tokens"]["note"].startswith("0 new")
    assert stages["sample generations"]["note"].startswith("0 new")
    assert rows_of(path, "select count(*) from language_models") == [(2,)]


def test_order_files_threads_and_batches_do_not_change_the_manifest(refresh, published, tmp_path):
    _, result = published
    path = write_model_pool(tmp_path, shuffled=True, files=4)

    other = refresh(path, "compute.threads=2", "compute.batch_documents=7")

    assert other.manifest_id == result.manifest_id


def test_no_document_was_scored_by_the_model_that_it_trained(published):
    from databourse.signals.folds import document_folds

    path, _ = published
    by_id = dict(
        rows_of(path, "select document_id, losses_id from token_losses where part = 'text'")
    )
    folds = document_folds(list(by_id), 2).tolist()
    fingerprints = dict(rows_of(path, "select fold, model_fingerprint from language_models"))
    for losses_id, fold in zip(by_id.values(), folds, strict=True):
        assert losses_id.startswith(f"reference@{fingerprints[fold][:16]}/")


def test_what_if_prices_foresee_the_refresh_of_such_a_pool(refresh, cli, own):
    path, _ = own
    shown = cli("price", path, "--budget-tokens", 300, "--without", "ifd", "--json")
    assert shown.exit_code == 0, shown.output
    foreseen = json.loads(shown.stdout)

    signals = [each for each in SIGNALS if each != "ifd"]
    outcome = refresh(path, "budget.tokens=300", f"signals={json.dumps(signals)}")

    assert foreseen["needs_a_refresh"] == []
    assert foreseen["after"]["documents"] == outcome.documents
    assert foreseen["after"]["tokens"] == outcome.tokens


def test_an_explanation_names_the_signals_of_language_models(cli, published):
    path, result = published
    bought = open_manifest(result.path).to_arrow(["document_id"])["document_id"][0].as_py()

    text = cli("explain", path, bought).stdout

    for signal in ("perplexity", "generative_entropy", "ifd", "euds", "semantic_entropy"):
        assert signal in text


def test_a_damaged_model_is_mended_and_the_manifest_stays(refresh, own):
    path, result = own
    model = next((path.parent / "warehouse/language_models").glob("*/model.safetensors"))
    content = bytearray(model.read_bytes())
    content[-3] ^= 1
    model.write_bytes(content)

    again = refresh(path)

    assert again.manifest_id == result.manifest_id
    assert stages_of(path, again.run_id)["train language model"]["note"] == "1 of 2 folds trained"


@pytest.fixture
def answers(endpoint):
    """Return an endpoint that likes documents by their number."""

    def behave(name, _, handler):
        p = 0.1 + 0.8 * (int(name[4:]) * 37 % 100) / 100
        listed = {"yes": p, "no": 0.95 - p, "a": 0.01, "b": 0.005, "c": 0.001}
        top = [{"token": token, "logprob": math.log(each)} for token, each in listed.items()]
        content = [{"token": "yes", "logprob": math.log(p), "top_logprobs": top}]
        reply = {
            "choices": [{"message": {"content": "yes"}, "logprobs": {"content": content}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 1},
        }
        return endpoint.send(handler, reply)

    endpoint.behave = behave
    return {"endpoint": {"base_url": endpoint.url, "model": "tiny", "top_logprobs": 5}}


def test_the_answers_of_an_endpoint_are_traded(refresh, cli, endpoint, answers, tmp_path):
    distilled = {"name": "ask_llm_distilled", "labelled": 50}
    path = write_model_pool(tmp_path, signals=["ask_llm", distilled], ask_llm=answers)

    first = refresh(path)

    assert first.published
    assert verify(first.path).ok
    assert "answers" in [each.contract for each in open_manifest(first.path).info.contracts]
    assert sum(endpoint.attempts.values()) == 100
    assert not (tmp_path / "warehouse" / "language_models").exists()
    note = stages_of(path, first.run_id)["ask about quality"]["note"]
    assert note.startswith("100 asked now, tiny@endpoint-")
    values = rows_of(
        path,
        "select value from signals join signal_versions using (signal_id) where signal = 'ask_llm'",
    )
    assert 0.1 < min(values)[0] < 0.2
    assert 0.8 < max(values)[0] < 0.9
    assert rows_of(path, "select signal, model_calls from signal_versions order by all") == [
        ("ask_llm", 50),  # shared evenly
        ("ask_llm_distilled", 50),
    ]

    again = refresh(path)
    assert again.manifest_id == first.manifest_id
    assert sum(endpoint.attempts.values()) == 100

    foreseen = json.loads(cli("price", path, "--json").stdout)
    assert foreseen["needs_a_refresh"] == []
    assert foreseen["before"] == foreseen["after"]


def causal_folder(folder, **changes):
    """Write a tiny untrained causal model."""
    import torch
    import transformers

    from databourse.language_models.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["doc of rain and wind"], vocabulary_size=257)
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_json())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = transformers.GPT2Config(
            vocab_size=300,
            n_positions=48,
            n_embd=16,
            n_layer=1,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
            **changes,
        )
        transformers.GPT2LMHeadModel(config).save_pretrained(str(folder))
    return folder


def no_weights(root):
    (causal_folder(root / "model") / "model.safetensors").unlink()
    return {"name": "./model"}


def no_tokenizer(root):
    (causal_folder(root / "model") / "tokenizer.json").unlink()
    return {"name": "./model"}


def an_encoder(root):
    import transformers

    folder = causal_folder(root / "model")
    config = transformers.T5Config(
        vocab_size=300, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    )
    transformers.T5EncoderModel(config).save_pretrained(str(folder))
    return {"name": "./model"}


def long_windows(root):
    causal_folder(root / "model")
    return {"name": "./model", "window_tokens": 64}


MISTAKES = {
    "a folder that is not there": (lambda _: {"name": "./nowhere"}, r"no such file or folder"),
    "a name of nothing": (lambda _: {"name": "nowhere"}, r"nowhere.*a local path starts with"),
    "a folder without weights": (no_weights, r"weights as \.safetensors, found none"),
    "a folder without a tokenizer": (no_tokenizer, r"tokenizer\.json"),
    "a model that is not causal": (an_encoder, r"causal language model"),
    "windows beyond the context": (long_windows, r"window_tokens .* 48.*64"),
    "half precision on a cpu": (
        lambda root: {"name": str(causal_folder(root / "model")), "precision": "bfloat16"},
        r"bfloat16.* needs a GPU",
    ),
    "half precision of the reference on a cpu": (
        lambda _: {"precision": "bfloat16"},
        r"bfloat16.* needs a GPU",
    ),
    "a judge that is not there": (
        lambda _: {
            "generations": {"meaning": {"by": "entailment", "model": "./nowhere", "rule": "strict"}}
        },
        r"no such file or folder",
    ),
    "a judge that is none": (
        lambda root: {
            "generations": {
                "meaning": {
                    "by": "entailment",
                    "model": str(causal_folder(root / "judge")),
                    "rule": "strict",
                }
            }
        },
        r"labels",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_model_that_cannot_be_used_is_told_in_one_line(cli, tmp_path, mistake):
    section, message = MISTAKES[mistake]
    path = write_model_pool(tmp_path, language_model={**LANGUAGE_MODEL, **section(tmp_path)})

    with pytest.raises(DatabourseError, match=message) as caught:
        cli("validate", path)

    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("mistake", ["windows beyond the context", "a folder without weights"])
def test_a_run_refuses_it_before_anything_is_encoded(refresh, tmp_path, mistake):
    section, message = MISTAKES[mistake]
    path = write_model_pool(tmp_path, language_model={**LANGUAGE_MODEL, **section(tmp_path)})

    with pytest.raises(DatabourseError, match=message):
        refresh(path)

    assert rows_of(path, "select count(*) from embeddings") == [(0,)]


def test_an_answering_folder_that_is_no_model_is_refused(cli, refresh, tmp_path):
    (tmp_path / "empty").mkdir()
    path = write_model_pool(tmp_path, signals=["ask_llm"], ask_llm={"model": "./empty"})

    for command in (lambda: cli("validate", path), lambda: refresh(path)):
        with pytest.raises(ConfigError, match=r"empty.*not a model folder") as caught:
            command()
        assert "\n" not in str(caught.value)
    assert rows_of(path, "select count(*) from embeddings") == [(0,)]


def test_a_signal_that_asks_nobody_is_refused(cli, refresh, tmp_path):
    path = write_model_pool(tmp_path, signals=["ask_llm"])

    for command in (lambda: cli("validate", path), lambda: cli("run", path), lambda: refresh(path)):
        with pytest.raises(ConfigError, match=r"'ask_llm' needs a model that answers") as caught:
            command()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "warehouse").exists()


def test_models_that_no_signal_asks_for_are_not_looked_at(cli, tmp_path):
    path = write_model_pool(
        tmp_path,
        signals=["length"],
        language_model={**LANGUAGE_MODEL, "name": "./nowhere", "precision": "bfloat16"},
        ask_llm={"model": "./nowhere"},
    )

    shown = cli("validate", path)

    assert shown.exit_code == 0
    assert "language model" not in shown.stdout


def test_a_good_config_says_who_reads_and_who_answers(cli, tmp_path, answers):
    causal_folder(tmp_path / "model")
    path = write_model_pool(
        tmp_path,
        signals=[*SIGNALS, "ask_llm"],
        language_model={**LANGUAGE_MODEL, "name": "./model"},
        ask_llm=answers,
    )

    shown = cli("validate", path)

    assert shown.exit_code == 0, shown.output
    assert re.search(r"language model +\S*model", shown.stdout)
    assert re.search(r"ask_llm +endpoint http", shown.stdout)


class WorkerKiller(threading.Thread):
    """Kills workers of Ray that this test began, in the middle of a batch, so many of them."""

    def __init__(self, most):
        super().__init__(daemon=True)
        self.most, self.killed, self.stopped = most, [], threading.Event()

    def run(self):
        while len(self.killed) < self.most and not self.stopped.wait(0.002):
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if self._is_computing(process) and int(process.name) not in self.killed:
                        os.kill(int(process.name), SIGKILL)
                        self.killed.append(int(process.name))
                        break

    def _is_computing(self, process):
        if not (process / "cmdline").read_bytes().startswith(b"ray::Worker.compute"):
            return False
        own = os.environ.get("RAY_AUTH_TOKEN", "none").encode()
        return own in (process / "environ").read_bytes()


@pytest.mark.timeout(1_200)
def test_a_ray_cluster_that_loses_workers_gives_the_manifest_of_one_process(
    refresh, tmp_path, monkeypatch
):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    settings = {
        "signals": ["perplexity", "trak"],
        "targets": [{"name": "dev", "path": "dev.jsonl", "text": "{t}"}],
        "influence": {"gradients": {"features": 32}},
        "compute": {"threads": 1, "memory_limit": "500MB", "batch_documents": 10},
    }
    workers = {"ray": {"workers": 2, "object_store_mb": 100}}
    paths = {
        "local": write_model_pool(tmp_path / "local", **settings),
        "ray": write_model_pool(tmp_path / "ray", **settings, engine=workers),
    }
    for path in paths.values():
        (path.parent / "dev.jsonl").write_text(json.dumps({"t": "storm after rain"}) + "\n")
    killer = WorkerKiller(most=2)

    local = refresh(paths["local"])
    killer.start()
    over_ray = refresh(paths["ray"])
    killer.stopped.set()
    killer.join()

    assert len(killer.killed) == 2
    assert over_ray.manifest_id == local.manifest_id
    assert local.documents > 5
    for query in (
        "select * from embeddings order by document_id",
        "select * from token_losses order by losses_id, part, document_id",
        "select sketches_id, sum(documents)::int from sketch_shards group by all order by all",
    ):
        assert rows_of(paths["ray"], query) == rows_of(paths["local"], query) != []
    ours, theirs = (
        {
            each.relative_to(path.parent): each.read_bytes()
            for each in sorted((path.parent / "warehouse/gradients").rglob("*.bin"))
        }
        for path in paths.values()
    )
    assert ours == theirs != {}
    stages = stages_of(paths["ray"], over_ray.run_id)
    assert stages["score tokens"]["cpu_seconds"] > 0

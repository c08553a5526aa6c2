"""The worked examples run as they are written, in processes of their own."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from databourse.manifests import open_manifest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
GOLDEN = ROOT / "tests" / "golden" / "manifest_v1"


def run(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=290)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def needs(*packages):
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def test_every_example_is_linked_from_the_readme_and_tested_here():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    here = Path(__file__).read_text(encoding="utf-8")

    names = sorted(path.name for path in EXAMPLES.glob("*.py"))

    assert names
    for name in names:
        assert f"(examples/{name})" in readme
        assert f'"{name}"' in here


def test_duckdb_counts_what_the_manifest_says():
    printed = run("duckdb_over_a_manifest.py", GOLDEN)

    assert printed.splitlines() == [
        "1: 3 documents, 33 tokens, the dearest is 15b39dca1dd830388dda107a1ba0e807",
        "0: 2 documents, 22 tokens, the dearest is 68e6ed0f6e35bb6b662e37b88da0f75d",
        "55 of 55 tokens",
    ]


@needs("torch")
def test_two_ranks_stopped_and_resumed_read_every_example_once(many, tmp_path):
    path = many(tmp_path, n_documents=83, shard_rows=20)
    folder = tmp_path / "run"
    folder.mkdir()

    printed = run("torch_two_ranks.py", path, folder)

    # 83 examples over 2 ranks x 2 workers: 3 are left out so that all ranks take equal steps
    assert printed == "80 examples, 80 of them different\n"
    states = [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    assert [len(state["seen"]) for state in states] == [40, 40]
    known = set(open_manifest(path).to_arrow(["document_id"])["document_id"].to_pylist())
    assert {each for state in states for each in state["seen"]} <= known


@needs("torch", "transformers", "accelerate")
def test_the_trainer_of_transformers_fine_tunes_on_a_manifest(made, tmp_path):
    import tokenizers
    import transformers

    from databourse.tokenization import load_tokenizer

    words = {"<s>": 0, "<unk>": 1} | {
        word: index
        for index, word in enumerate(
            sorted({word for text, *_ in made.texts for word in re.findall(r"\w+", text)}), start=2
        )
    }
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    model = tmp_path / "model"
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<s>", unk_token="<unk>"
    ).save_pretrained(model)
    config = transformers.GPT2Config(vocab_size=len(words), n_embd=16, n_layer=1, n_head=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(model)
    counted = load_tokenizer(str(model)).tokenizer_id
    facts = made.facts(tokenizer={"id": counted, "name": "model"})
    path = made.publish(tmp_path / "manifests", facts=facts).path

    printed = run("transformers_trainer.py", path, model, tmp_path / "tuned")

    first, last = printed.splitlines()[0], printed.splitlines()[-1]
    assert first == f"tokens counted by {counted.rpartition('@')[2]}"
    assert re.fullmatch(r"6 steps, loss \d+\.\d{3}", last)
    assert (tmp_path / "tuned" / "model.safetensors").is_file()


@needs("streaming")
def test_mosaicml_streaming_reads_an_export(many, tmp_path):
    from databourse.manifests import export_manifest

    manifest = open_manifest(many(tmp_path, n_documents=83, shard_rows=20))
    export_manifest(manifest, tmp_path / "export", format="mds", file_bytes=1 << 13)

    printed = run("mosaicml_streaming.py", tmp_path / "export")

    weight = sum(manifest.to_arrow(["weight"])["weight"].to_pylist())
    characters = sum(len(document.text) for document in manifest.iter_documents())
    assert printed == (
        f"83 samples, {manifest.info.spent.tokens} tokens, {characters} characters, "
        f"weight {weight:g}\n"
    )

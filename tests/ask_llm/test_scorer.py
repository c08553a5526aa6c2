import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'pipeline' is not installed")
transformers = pytest.importorskip("transformers", reason="the extra 'pipeline' is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="the extra 'pipeline' is not installed")
pytest.importorskip("httpx", reason="the extra 'pipeline' is not installed")

from databourse.ask_llm import CAUSAL_PROMPT, PAPER_PROMPT, PromptSettings  # noqa: E402
from databourse.ask_llm.endpoint_settings import EndpointSettings  # noqa: E402
from databourse.ask_llm.scorer import (  # noqa: E402
    check_scorer,
    default_prompt,
    open_scorer,
    scorer_id,
)
from databourse.errors import ConfigError, InputError, UnknownNameError  # noqa: E402

PROMPT = PromptSettings(options="inline", cue="A:", max_document_tokens=60)
DOCUMENTS = [(f"id{number}", f"the text of doc-{number}") for number in range(6)]


def tokenizer_of_bytes():
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["</s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["yes no Yes No"] * 20, trainer)
    end = "</s>"
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=900, eos_token=end, pad_token=end
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    tokenizer = tokenizer_of_bytes()
    torch.manual_seed(3)
    sizes = {"vocab_size": len(tokenizer), "eos_token_id": 0}
    models = {
        "t5": transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                d_model=16,
                d_kv=4,
                d_ff=32,
                num_layers=1,
                num_heads=2,
                decoder_start_token_id=0,
                **sizes,
            )
        ),
        "gpt2": transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                n_positions=1024, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, **sizes
            )
        ),
    }
    found = {}
    for name, model in models.items():
        found[name] = tmp_path_factory.mktemp(name)
        tokenizer.save_pretrained(found[name])
        model.save_pretrained(found[name])
    return found


def asked(**changes):
    """Return the arguments that all functions share, for a model unless changed."""
    return {"model": None, "endpoint": None, "prompt": PROMPT, **changes}


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_id_that_is_known_without_loading_is_that_of_the_loaded_scorer(
    folders, tmp_path, kind, precision
):
    place = {"device": "cpu", "precision": precision, "root": tmp_path}
    known = scorer_id(**asked(model=str(folders[kind])), **place)
    opened = open_scorer(**asked(model=str(folders[kind])), threads=1, **place)
    assert opened.scorer_id == known
    other = dataclasses.replace(PROMPT, truncate="head_tail")
    assert scorer_id(**asked(model=str(folders[kind]), prompt=other), **place) != known


def test_the_id_of_an_endpoint_is_that_of_its_scorer(settings, tmp_path):
    place = {"device": "cpu", "precision": "float32", "root": tmp_path}
    known = scorer_id(**asked(endpoint=settings()), **place)
    assert open_scorer(**asked(endpoint=settings()), threads=1, **place).scorer_id == known


@pytest.mark.parametrize("which", ["model", "endpoint"])
def test_both_kinds_score_what_has_no_score_and_refuse_an_id_that_comes_twice(
    folders, settings, endpoint, tmp_path, which
):
    choice = {"model": str(folders["gpt2"])} if which == "model" else {"endpoint": settings()}
    opened = open_scorer(
        **asked(**choice), device="cpu", precision="float32", threads=1, root=tmp_path
    )
    done = []
    found = list(
        opened.score(
            DOCUMENTS,
            already_scored={"id1", "id4", "other"},
            rng=np.random.default_rng(0),
            progress=done.append,
        )
    )
    assert sorted(score.document_id for score in found) == ["id0", "id2", "id3", "id5"]
    assert all(0 < score.p_yes.low < 1 for score in found)
    assert sum(done) == 4
    with pytest.raises(InputError, match="'id0' comes twice"):
        list(
            opened.score(
                [DOCUMENTS[0], DOCUMENTS[0]], already_scored=set(), rng=np.random.default_rng(0)
            )
        )


def test_the_default_prompt_follows_the_kind(folders, settings, tmp_path):
    def default(**choice):
        return default_prompt(**{"model": None, "endpoint": None, **choice}, root=tmp_path)

    assert default(model=str(folders["t5"])) == PAPER_PROMPT
    assert default(model=str(folders["gpt2"])) == CAUSAL_PROMPT
    assert default(endpoint=settings()) == CAUSAL_PROMPT


def test_both_or_neither_is_refused_everywhere(settings, tmp_path):
    both = asked(model="a/b", endpoint=settings())
    place = {"device": "cpu", "precision": "float32", "root": tmp_path}
    for choice, message in ((both, "leave one out"), (asked(), "got neither")):
        with pytest.raises(ConfigError, match=message):
            scorer_id(**choice, **place)
        with pytest.raises(ConfigError, match=message):
            open_scorer(**choice, threads=1, **place)
        with pytest.raises(ConfigError, match=message):
            check_scorer(**choice, precision="float32", root=tmp_path)
        with pytest.raises(ConfigError, match=message):
            default_prompt(model=choice["model"], endpoint=choice["endpoint"], root=tmp_path)


def check(tmp_path, **choice):
    return check_scorer(**asked(**choice), precision="float32", root=tmp_path)


def test_a_checked_folder_is_described_by_kind_and_size(folders, tmp_path):
    t5, gpt2 = folders["t5"], folders["gpt2"]
    line = check(tmp_path, model=str(t5))
    model = transformers.T5ForConditionalGeneration.from_pretrained(t5)
    count = sum(each.numel() for each in model.parameters()) / 1000
    assert line == f"local model {t5} (encoder-decoder, {count:.3g}K parameters)"
    assert "(causal, " in check(tmp_path, model=str(gpt2), prompt=None)


def test_a_hub_id_is_checked_by_its_form(tmp_path):
    line = check(tmp_path, model="google/flan-t5-small@main")
    assert line == "model google/flan-t5-small@main of the hub, not yet looked at"
    with pytest.raises(UnknownNameError):
        check(tmp_path, model="flan t5")
    with pytest.raises(ConfigError, match="no such file or folder"):
        check(tmp_path, model="./flan")


def test_a_folder_is_refused_for_what_loading_would_refuse(folders, tmp_path):
    chat = dataclasses.replace(PROMPT, wrap="chat_template")
    with pytest.raises(ConfigError, match="an encoder-decoder has no chat"):
        check(tmp_path, model=str(folders["t5"]), prompt=chat)
    with pytest.raises(ConfigError, match="has no chat template"):
        check(tmp_path, model=str(folders["gpt2"]), prompt=chat)
    with pytest.raises(ConfigError, match="precision must be one of"):
        check_scorer(**asked(model=str(folders["t5"])), precision="int8", root=tmp_path)


def test_an_endpoint_is_checked_by_its_key_without_being_asked(
    endpoint, settings, monkeypatch, tmp_path
):
    keyed = settings(api_key_variable="TINY_KEY")
    monkeypatch.delenv("TINY_KEY", raising=False)
    with pytest.raises(ConfigError, match="TINY_KEY is not set"):
        check(tmp_path, endpoint=keyed)
    monkeypatch.setenv("TINY_KEY", "sk-very-secret")
    line = check(tmp_path, endpoint=keyed)
    assert line == f"endpoint {endpoint.url} (model 'tiny', api 'chat', key from TINY_KEY)"
    assert "no key" in check(tmp_path, endpoint=settings())
    chat = dataclasses.replace(PROMPT, wrap="chat_template")
    with pytest.raises(ConfigError, match="is for a model of our own"):
        check(tmp_path, endpoint=settings(), prompt=chat)
    assert not endpoint.bodies


@pytest.mark.parametrize("url", ["http://a..b/v1", "http://exa mple/v1", "http://a\x00b/v1"])
def test_an_address_that_cannot_be_one_is_refused_at_once(url):
    with pytest.raises(ConfigError, match="base_url must be like"):
        EndpointSettings(base_url=url, model="m")


def test_checks_and_ids_need_neither_torch_nor_transformers(folders, tmp_path):
    program = (
        "import json, sys, pathlib\n"
        "from databourse.ask_llm import PromptSettings\n"
        "from databourse.ask_llm.scorer import check_scorer, default_prompt, scorer_id\n"
        "choice = dict(model=sys.argv[1], endpoint=None, root=pathlib.Path())\n"
        "check_scorer(**choice, prompt=PromptSettings(), precision='float32')\n"
        "scorer_id(**choice, prompt=default_prompt(**choice), device='cpu', precision='float32')\n"
        "heavy = ['torch', 'transformers', 'sentence_transformers', 'tokenizers', 'httpx']\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(folders["gpt2"])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout) == []

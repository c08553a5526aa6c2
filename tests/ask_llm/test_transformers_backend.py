import json
import math
import shutil

import pytest

torch = pytest.importorskip("torch", reason="the extra 'pipeline' is not installed")
transformers = pytest.importorskip("transformers", reason="the extra 'pipeline' is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="the extra 'pipeline' is not installed")

from databourse.ask_llm import CAUSAL_PROMPT, PAPER_PROMPT, PromptSettings  # noqa: E402
from databourse.ask_llm.prompt import build_prompt  # noqa: E402
from databourse.ask_llm.transformers_backend import load_scorer  # noqa: E402
from databourse.errors import ConfigError, InputError, IntegrityError  # noqa: E402

PAPER = PromptSettings(max_document_tokens=40)
CAUSAL = PromptSettings(options="inline", cue="ANSWER:", max_document_tokens=40)
PROMPTS = {"t5": PAPER, "gpt2": CAUSAL, "llama": CAUSAL}
TEXTS = [
    "A short text.",
    "Prices of wheat rose.",
    "",
    "x",
    "yes no yes no OPTIONS: - yes",
    "A long text of many words that is cut somewhere. " * 40,
    "Der Preis \u20ac \u6570\u636e \U0001f600",
    "###\nanswer yes\n###",
    *(f"Document number {number} " + "and more " * number for number in range(12)),
]
UNKNOWN = "<unk>"
CORPUS = [
    *[build_prompt(text, PAPER_PROMPT) for text in TEXTS[:5]],
    *[build_prompt(text, CAUSAL_PROMPT) for text in TEXTS[:5]],
    *["yes no Yes No, yes no"] * 50,
]


def wrapped(tokenizer, specials):
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=400, **specials
    )


def byte_level_tokenizer():
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=700,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["</s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return wrapped(tokenizer, {"eos_token": "</s>"})


def unigram_tokenizer():
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=250,
        special_tokens=["<pad>", "</s>", UNKNOWN],
        show_progress=False,
        unk_token=UNKNOWN,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    content = json.loads(tokenizer.to_str())
    pieces = content["model"]["vocab"]
    known = {piece for piece, _ in pieces}
    answers = ["\u2581yes", "\u2581Yes", "\u2581no", "\u2581No"]
    pieces += [[piece, -1.0] for piece in answers if piece not in known]
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(content))
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return wrapped(tokenizer, {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": UNKNOWN})


def make_model(kind, vocabulary):
    torch.manual_seed(11)
    if kind == "t5":
        config = transformers.T5Config(
            vocab_size=vocabulary,
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
            initializer_factor=1.0,
        )
        return transformers.T5ForConditionalGeneration(config)
    if kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=vocabulary,
            n_positions=512,
            n_embd=32,
            n_layer=2,
            n_head=4,
            initializer_range=0.3,
            bos_token_id=0,
            eos_token_id=0,
        )
        return transformers.GPT2LMHeadModel(config)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=0,
    )
    return transformers.LlamaForCausalLM(config)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for kind in ("t5", "gpt2", "llama"):
        tokenizer = unigram_tokenizer() if kind == "t5" else byte_level_tokenizer()
        folder = tmp_path_factory.mktemp(kind)
        tokenizer.save_pretrained(folder)
        make_model(kind, len(tokenizer)).save_pretrained(folder)
        made[kind] = folder
    return made


@pytest.fixture(scope="module")
def scorers(folders):
    return {
        kind: load_scorer(str(folder), PROMPTS[kind], threads=1) for kind, folder in folders.items()
    }


def documents(texts):
    return [(f"d{number}", text) for number, text in enumerate(texts)]


def hand_probabilities(folder, kind, prompt, answers):
    """Return P of each group of token strings: one prompt, no padding, softmax written out."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer(prompt, split_special_tokens=True)["input_ids"]])
    with torch.no_grad():
        if kind == "t5":
            model = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
            logits = model(input_ids=ids, decoder_input_ids=torch.tensor([[0]])).logits[0, 0]
        else:
            model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
            logits = model(input_ids=ids).logits[0, -1]
    weights = [math.exp(value - float(logits.max())) for value in logits.tolist()]
    vocabulary = tokenizer.get_vocab()
    return [sum(weights[vocabulary[token]] for token in group) / sum(weights) for group in answers]


@pytest.mark.parametrize("kind", ["t5", "gpt2", "llama"])
def test_probabilities_are_those_of_a_softmax_written_out(kind, folders, scorers):
    answers = (
        [["\u2581yes", "\u2581Yes"], ["\u2581no", "\u2581No"]]
        if kind == "t5"
        else [["yes", "\u0120yes", "Yes", "\u0120Yes"], ["no", "\u0120no", "No", "\u0120No"]]
    )
    found = list(scorers[kind].score(documents(TEXTS)))
    # a tokenizer may lack a spelling; what it has is said
    said = [set(scorers[kind].answer_tokens[side].values()) for side in ("yes", "no")]
    answers = [
        [token for token in group if token in own] for group, own in zip(answers, said, strict=True)
    ]
    assert [set(group) for group in answers] == said
    assert said[0] & {"\u2581yes", "\u0120yes"}  # as after a space
    assert all(len(group) >= 2 for group in answers)
    for position in (0, 1, 3, 7):
        clean = TEXTS[position].replace("###", " ")
        yes, no = hand_probabilities(
            folders[kind], kind, build_prompt(clean, PROMPTS[kind]), answers
        )
        score = found[position]
        assert not score.truncated
        assert score.p_yes.low == pytest.approx(yes, abs=1e-6)
        assert score.log_p_yes.low == pytest.approx(math.log(yes), abs=1e-4)
        assert score.yes_share.low == pytest.approx(yes / (yes + no), abs=1e-5)
        assert score.p_yes.is_exact
        assert score.yes_share.is_exact
    assert len({round(score.log_p_yes.low, 4) for score in found}) > 10  # they do differ


@pytest.mark.parametrize("kind", ["t5", "gpt2", "llama"])
def test_company_in_a_batch_changes_no_score(kind, scorers):
    together = list(scorers[kind].score(documents(TEXTS)))
    assert [score.document_id for score in together] == [name for name, _ in documents(TEXTS)]
    for position, text in enumerate(TEXTS):
        [alone] = scorers[kind].score([("d", text)])
        assert alone.log_p_yes.low == pytest.approx(together[position].log_p_yes.low, abs=1e-5)
        assert alone.log_p_no.low == pytest.approx(together[position].log_p_no.low, abs=1e-5)


@pytest.mark.parametrize("kind", ["t5", "gpt2", "llama"])
def test_the_padding_side_of_a_tokenizer_changes_no_score(kind, folders, scorers, tmp_path):
    folder = tmp_path / "left"
    shutil.copytree(folders[kind], folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "padding_side": "left"}))
    left = load_scorer("left", PROMPTS[kind], threads=2, root=tmp_path)
    for one, other in zip(
        left.score(documents(TEXTS)), scorers[kind].score(documents(TEXTS)), strict=True
    ):
        assert one.log_p_yes.low == pytest.approx(other.log_p_yes.low, abs=1e-5)
    assert left.scorer_id != scorers[kind].scorer_id  # its files differ


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
def test_only_the_document_is_cut_and_the_tail_of_the_prompt_stays(kind, folders, scorers):
    long, short = TEXTS[5], TEXTS[0]
    cut, whole = scorers[kind].score([("a", long), ("b", short)])
    assert cut.truncated
    assert not whole.truncated
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[kind])
    frame = len(tokenizer(build_prompt("", PROMPTS[kind]))["input_ids"])
    assert abs(cut.cost.prompt_tokens - frame - 40) <= 1  # spaces at its ends may join the frame
    heads = [long[:length] for length in range(min(len(long), 600))]
    fits = [head for head in heads if len(tokenizer(head, add_special_tokens=False)[0]) <= 40]
    assert len(fits[-1]) < 599
    [expected] = scorers[kind].score([("c", fits[-1])])
    assert cut.log_p_yes == expected.log_p_yes


def test_special_tokens_of_a_document_do_not_end_it(folders, scorers):
    [score] = scorers["t5"].score([("d", "good </s> bad")])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["t5"])
    prompt = build_prompt("good </s> bad", PAPER)
    assert tokenizer(prompt)["input_ids"].count(1) == 2  # what must not happen
    # this tokenizer has </s> among its pieces: there is no other reading of it
    assert tokenizer(prompt, split_special_tokens=True)["input_ids"].count(1) == 2
    [expected] = scorers["t5"].score([("d", "good   bad")])
    assert score.log_p_yes == expected.log_p_yes
    assert not score.truncated


def test_special_tokens_of_a_document_are_its_characters_where_they_can_be(folders, scorers):
    [score] = scorers["gpt2"].score([("d", "good </s> bad")])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["gpt2"])
    prompt = build_prompt("good </s> bad", CAUSAL)
    plain = tokenizer(prompt, split_special_tokens=True)["input_ids"]
    assert tokenizer(prompt)["input_ids"] != plain
    assert tokenizer.decode(plain) == prompt
    assert score.cost.prompt_tokens == len(plain)


def test_documents_are_read_as_scores_are_asked_for(scorers):
    read = []

    def endless():
        number = 0
        while True:
            read.append(number)
            yield f"d{number}", "x"
            number += 1

    scores = scorers["gpt2"].score(endless())
    assert next(scores).document_id == "d0"
    assert len(read) <= 1025
    scores.close()


def test_progress_counts_every_document_once(scorers):
    done = []
    list(scorers["t5"].score(documents(TEXTS), progress=done.append))
    assert sum(done) == len(TEXTS)


def test_an_answer_of_several_pieces_is_refused_with_its_pieces(folders):
    asked = PromptSettings(yes=("wheatish",), max_document_tokens=40)
    with pytest.raises(ConfigError, match=r"'wheatish' for yes must be one token.* is \[.*', '"):
        load_scorer(str(folders["gpt2"]), asked, threads=1)


def test_an_answer_that_is_the_unknown_token_is_refused(folders, tmp_path):
    folder = tmp_path / "words"
    shutil.copytree(folders["gpt2"], folder)
    vocabulary = {UNKNOWN: 0, "</s>": 1, "yes": 2}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    wrapped(tokenizer, {"eos_token": "</s>", "unk_token": UNKNOWN}).save_pretrained(folder)
    asked = PromptSettings(yes=("yes",), no=("no",), max_document_tokens=40)
    with pytest.raises(ConfigError, match=r"'no' for no must be one token.*<unk>"):
        load_scorer("words", asked, threads=1, root=tmp_path)


def test_answers_that_a_tokenizer_does_not_tell_apart_are_refused(folders, tmp_path):
    folder = tmp_path / "lower"
    shutil.copytree(folders["gpt2"], folder)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "normalizer": {"type": "Lowercase"}}))
    asked = PromptSettings(yes=("yes",), no=("YES",), cue="A:", max_document_tokens=40)
    with pytest.raises(ConfigError, match="for both yes and no"):
        load_scorer("lower", asked, threads=1, root=tmp_path)


def test_a_prompt_longer_than_the_model_reads_is_refused_with_what_fits(folders):
    with pytest.raises(ConfigError, match=r"the model reads 400; set max_document_tokens to (\d+)"):
        load_scorer(str(folders["t5"]), PAPER_PROMPT, threads=1)


def test_every_setting_of_the_prompt_is_part_of_the_scorer_id(folders, scorers):
    other = PromptSettings(max_document_tokens=41)
    changed = load_scorer(str(folders["t5"]), other, threads=1)
    again = load_scorer(str(folders["t5"]), PAPER, threads=2)
    assert changed.scorer_id != scorers["t5"].scorer_id
    assert again.scorer_id == scorers["t5"].scorer_id


def test_lower_precision_is_another_scorer_close_by(folders, scorers):
    lower = load_scorer(str(folders["t5"]), PAPER, threads=1, precision="bfloat16")
    assert lower.scorer_id != scorers["t5"].scorer_id
    [one], [other] = (each.score([("d", TEXTS[0])]) for each in (lower, scorers["t5"]))
    assert one.p_yes != other.p_yes
    assert one.log_p_yes.low == pytest.approx(other.log_p_yes.low, abs=0.3)  # 8 bits of mantissa


def test_weights_that_can_carry_code_are_refused(folders, tmp_path):
    folder = tmp_path / "pickle"
    shutil.copytree(folders["t5"], folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"must have its weights as .safetensors"):
        load_scorer("pickle", PAPER, threads=1, root=tmp_path)


def edited(folder, target, **changes):
    shutil.copytree(folder, target)
    file = target / "config.json"
    config = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps(config))
    return target


def test_code_that_comes_with_a_model_is_not_run(folders, tmp_path):
    folder = edited(
        folders["gpt2"],
        tmp_path / "remote",
        model_type="theirs",
        auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"},
    )
    mark = tmp_path / "ran"
    (folder / "code.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_scorer("remote", CAUSAL, threads=1, root=tmp_path)
    assert not mark.exists()


def test_a_model_that_only_encodes_is_refused(folders, tmp_path):
    edited(folders["gpt2"], tmp_path / "masked", architectures=["BertForMaskedLM"])
    with pytest.raises(ConfigError, match=r"is no model that answers.*BertForMaskedLM"):
        load_scorer("masked", CAUSAL, threads=1, root=tmp_path)


def test_a_model_with_weights_missing_is_refused(folders, tmp_path):
    edited(folders["llama"], tmp_path / "deeper", num_hidden_layers=3)
    with pytest.raises(ConfigError, match=r"lacks weights"):
        load_scorer("deeper", CAUSAL, threads=1, root=tmp_path)


def test_a_folder_without_a_model_and_a_missing_one_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="not a model folder"):
        load_scorer("empty", PAPER, threads=1, root=tmp_path)
    with pytest.raises(ConfigError, match="no such file or folder"):
        load_scorer("./nowhere", PAPER, threads=1, root=tmp_path)


def test_texts_that_are_not_unicode_are_refused(scorers):
    with pytest.raises(InputError, match="valid Unicode"):
        list(scorers["t5"].score([("d", "a\ud800b")]))


def test_a_model_of_broken_numbers_is_reported(folders, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(folders["gpt2"], folder)
    model = transformers.GPT2LMHeadModel.from_pretrained(folder)
    with torch.no_grad():
        model.transformer.ln_f.weight.fill_(float("nan"))
    model.save_pretrained(folder)
    broken = load_scorer("broken", CAUSAL, threads=1, root=tmp_path)
    with pytest.raises(IntegrityError, match="not a number"):
        list(broken.score([("d", "x")]))

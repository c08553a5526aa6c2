"""Judging by entailment: a small classifier with planted labels, asked pair by pair."""

import itertools
import json
import math
import shutil

import numpy as np
import pytest

from databourse.errors import ConfigError, InputError, IntegrityError, UnknownNameError
from databourse.language_models import entailment
from databourse.language_models.entailment import Pair, load_entailment_judge
from databourse.language_models.meaning import LABELS, means_the_same
from databourse.signals.semantic_entropy import meaning_groups

NAMES = {0: "Contradiction", 1: "ENTAILMENT", 2: "neutral"}  # of no usual order
WORDS = ("rain", "wind", "storm", "cloud", "sun", "frost", "snow", "hail", "the", "and", "falls")
GENERATIONS = [
    ["the rain", "the rain falls", "rain and wind", "the rain ", "snow"],
    ["", "sun", " ", "the sun", "frost and hail"],
    ["flood", "heat", "mist", "storm", "cloud and cloud and cloud and cloud"],
    ["the rain", "the rain falls", "wind and rain", "hail", "heat falls"],
]
DISTINCT = sorted({text.strip() for row in GENERATIONS for text in row} - {""})
PAIRS = [Pair(*each) for each in itertools.permutations(DISTINCT, 2)]
MAX_TOKENS = 40
PROMPTS = ["what falls?", "who?", "the storm and the flood", "what falls?"]


@pytest.fixture(scope="module")
def saved_folder(tmp_path_factory):
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("judge")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {token: place for place, token in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_TOKENS,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    fast.save_pretrained(str(folder))
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.7,
        id2label=NAMES,
        label2id={name: place for place, name in NAMES.items()},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = transformers.BertForSequenceClassification(config).eval()
    with torch.no_grad():
        logits = [model(**fast(*pair, return_tensors="pt")).logits[0] for pair in PAIRS]
        model.classifier.bias -= torch.stack(logits).mean(dim=0)  # so that no label is rare
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture
def folder(tmp_path, saved_folder):
    return shutil.copytree(saved_folder, tmp_path / "judge")


def judge_of(folder, rule="lenient", threads=1, **more):
    return load_entailment_judge(str(folder), rule=rule, threads=threads, **more)


@pytest.fixture(scope="module")
def asked_alone(saved_folder):
    """Return a function that labels one pair, unpadded, with the model as transformers runs it."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(saved_folder))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(str(saved_folder))

    def label(premise, hypothesis):
        with torch.no_grad():
            logits = model.eval()(**tokenizer(premise, hypothesis, return_tensors="pt")).logits[0]
        return NAMES[int(torch.softmax(logits, 0).argmax())].lower()

    return label


def test_labels_are_those_of_each_pair_alone(saved_folder, asked_alone):
    found = judge_of(saved_folder).labels(PAIRS)
    assert found == [asked_alone(*pair) for pair in PAIRS]
    assert min(found.count(label) for label in LABELS) > 15
    # the parts of a pair are told apart
    assert any(asked_alone(*pair) != asked_alone(*reversed(pair)) for pair in PAIRS)


@pytest.mark.parametrize("rule", ["strict", "lenient"])
@pytest.mark.parametrize("reads", ["generations", "prompts and generations"])
def test_groups_are_those_of_asking_everything_both_ways(saved_folder, asked_alone, rule, reads):
    judge = judge_of(saved_folder, rule, reads=reads)
    found = judge.groups(GENERATIONS, PROMPTS)
    for row, prompt, groups in zip(GENERATIONS, PROMPTS, found, strict=True):

        def same(one, other, prompt=prompt):
            one, other = one.strip(), other.strip()
            if one == other:
                return True
            if not one or not other:
                return False
            if reads == "prompts and generations":
                one, other = f"{prompt} {one}", f"{prompt} {other}"
            both = asked_alone(one, other), asked_alone(other, one)
            return means_the_same(*both, rule=rule)

        assert groups.tolist() == meaning_groups(row, same).tolist()
    assert len(set(map(tuple, found.tolist()))) > 1


def test_prompts_change_what_is_judged_only_where_they_are_read(saved_folder):
    alone, with_prompts = (
        judge_of(saved_folder, reads=reads) for reads in ("generations", "prompts and generations")
    )
    swapped = ["snow and snow", "hail", "mist", "the heat"]
    assert (
        alone.groups(GENERATIONS, PROMPTS).tolist() == alone.groups(GENERATIONS, swapped).tolist()
    )
    assert (
        with_prompts.groups(GENERATIONS, PROMPTS).tolist()
        != with_prompts.groups(GENERATIONS, swapped).tolist()
    )


def test_no_pair_is_asked_twice_nor_without_need(saved_folder, asked_alone):
    # three distinct texts: three questions, and back where the first leaves it open
    row = ["the rain", "rain and wind", "snow", "the rain"]
    distinct = sorted(set(row))
    forward = [asked_alone(*pair) for pair in itertools.combinations(distinct, 2)]
    for rule, opens in (
        ("strict", {"entailment"}),
        ("lenient", {"entailment", "neutral"}),
    ):
        judge = judge_of(saved_folder, rule)
        told = []
        judge.groups([row, row], ["x", "y"], progress=told.append)
        expected = 3 + sum(label in opens for label in forward)
        assert judge.pairs_asked == sum(told) == expected
    assert judge_of(saved_folder).pairs_asked == 0
    nothing = judge_of(saved_folder)
    assert nothing.groups([["a", "a "], ["", "b"]], ["x", "y"]).tolist() == [[0, 0], [0, 1]]
    assert nothing.pairs_asked == 0


def test_company_order_threads_and_parts_change_no_number(saved_folder, monkeypatch):
    pairs = PAIRS
    judge, other = judge_of(saved_folder), judge_of(saved_folder, threads=2)

    def logits(judge, pairs):
        """Return the numbers behind the labels."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as pool:
            return judge._logits(pairs, pool, lambda done: None)

    together = logits(judge, pairs)
    order = np.random.default_rng(0).permutation(len(pairs))
    mixed = logits(other, [pairs[place] for place in order])
    np.testing.assert_allclose(mixed, together[order], rtol=1e-5, atol=1e-6)
    alone = np.concatenate([logits(judge, [pair]) for pair in pairs[:40]])
    np.testing.assert_allclose(alone, together[:40], rtol=1e-5, atol=1e-6)
    labels = judge.labels(pairs)
    assert other.labels([pairs[place] for place in order]) == [labels[place] for place in order]
    monkeypatch.setattr(entailment, "_PAIRS_AT_ONCE", 7)
    assert judge.labels(pairs) == labels


def test_the_head_of_a_long_text_is_cut(saved_folder):
    judge = judge_of(saved_folder)
    # 40 tokens: three are special, one is padding, so 18 of each text
    assert MAX_TOKENS == 40
    long, short = "snow " * 30 + "the rain " * 9, "the rain " * 9
    (one,) = judge._model.tokenize([Pair(long, "sun")])
    (other,) = judge._model.tokenize([Pair(short, "sun")])
    assert one == other
    assert len(one[0]) == 22
    (both,) = judge._model.tokenize([Pair(long, long)])
    assert len(both[0]) == 39
    assert both[1] == [0] * 20 + [1] * 19
    assert len(judge.labels([Pair(long, long)])) == 1


def test_a_model_without_a_limit_of_its_tokenizer_has_that_of_its_positions(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["model_max_length"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    # 64 positions, of which some families never use the first two
    assert judge_of(folder)._model.max_tokens == 62


def test_special_tokens_in_a_text_are_its_text(saved_folder):
    judge = judge_of(saved_folder)
    ((ids, _),) = judge._model.tokenize([Pair("rain [SEP] sun", "snow")])
    assert ids.count(3) == 2  # those of the pair alone


def test_labels_are_found_by_name(folder):
    config = json.loads((folder / "config.json").read_text())

    def with_names(*names):
        changed = {**config, "id2label": dict(enumerate(names))}
        (folder / "config.json").write_text(json.dumps(changed))
        return judge_of(folder)

    pairs = PAIRS[:30]
    before = with_names("contradiction", "entailment", "neutral").labels(pairs)
    after = with_names("neutral", "contradiction", "entailment").labels(pairs)
    renamed = {
        "contradiction": "neutral",
        "entailment": "contradiction",
        "neutral": "entailment",
    }
    assert after == [renamed[label] for label in before]
    for names in (
        ("LABEL_0", "LABEL_1", "LABEL_2"),
        ("not_entailment", "neutral", "contradiction"),
        ("entailment", "Entailment", "contradiction"),
    ):
        with pytest.raises(ConfigError, match=f"must name its labels.*{names[0]}"):
            with_names(*names)


def test_the_id_names_all_that_decides_the_groups(folder):
    ids = {
        judge_of(folder).judge_id,
        judge_of(folder, "strict").judge_id,
        judge_of(folder, reads="prompts and generations").judge_id,
    }
    assert judge_of(folder, threads=2).judge_id in ids
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-6}))
    assert judge_of(folder).judge_id not in ids
    assert len(ids) == 3
    assert not any(str(folder) in each for each in ids)


def test_a_number_that_is_none_is_told(folder):
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] = np.full_like(weights["classifier.bias"], math.nan)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IntegrityError, match="not finite"):
        judge_of(folder).labels([Pair("rain", "snow")])


def test_what_is_no_complete_and_safe_classifier_is_refused(folder, tmp_path):
    from safetensors.numpy import load_file, save_file

    with pytest.raises(ConfigError, match="no such file"):
        judge_of("./nowhere", root=tmp_path)
    with pytest.raises(UnknownNameError, match="entailment model"):
        judge_of("nowhere", root=tmp_path)
    with pytest.raises(ConfigError, match="device 'nonsense'"):
        judge_of(folder, device="nonsense")
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks weights.*classifier\.weight"):
        judge_of(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="safetensors"):
        judge_of(folder)


def test_arguments_outside_their_domain_are_named(saved_folder):
    with pytest.raises(InputError, match="rule must be one of"):
        judge_of(saved_folder, "mild")
    with pytest.raises(InputError, match="reads must be one of"):
        judge_of(saved_folder, reads="all")
    with pytest.raises(InputError, match="threads"):
        judge_of(saved_folder, threads=0)
    judge = judge_of(saved_folder)
    with pytest.raises(InputError, match="Unicode"):
        judge.groups([["rain", "\ud800"]], ["x"])
    with pytest.raises(InputError, match="one prompt per document"):
        judge.groups(GENERATIONS, [])
    with pytest.raises(InputError, match="same number"):
        judge.groups([["a"], []], ["x", "y"])
    assert judge.groups([], []).shape[0] == 0

"""Generations of a snapshot: sampled once, grouped by meaning, the same however they came."""

import numpy as np
import pytest

from databourse.config_models import MeaningByEntailment
from databourse.errors import ConfigError, IntegrityError
from databourse.language_models.entailment import load_entailment_judge
from databourse.language_models.generation import GenerationSettings
from databourse.language_models.generation import sample_generations as sample_alone
from databourse.language_models.loading import load_trained_model, save_trained_model
from databourse.progress import silent
from databourse.refresh.generation_sampling import sample_generations, stored_generations
from databourse.refresh.reference_model import model_folder
from databourse.seeds import stage_seed
from databourse.signals.folds import document_folds

GENERATIONS = (
    "select generations_id, document_id, prompt_characters, texts, log_likelihoods, meanings "
    "from generations order by all"
)


class InterruptedTestError(Exception):
    """What a test raises in the middle of the work."""


def sample(pool, trained=(), advance=silent):
    return sample_generations(pool.warehouse, pool.run, pool.snapshot_id, trained, advance=advance)


def with_generations(pool, **changes):
    section = pool.run.config.language_model.model_dump()
    section["generations"] |= changes
    return pool.configured(language_model=section)


@pytest.fixture
def frozen(open_pool, ingested_folder, trained_folder, tmp_path):
    """Return a pool whose texts a model of a local folder goes on with."""
    made = next((trained_folder / "warehouse" / "language_models").glob("*/training.json")).parent
    save_trained_model(load_trained_model(made), tmp_path / "frozen")
    pool = open_pool(ingested_folder)
    section = pool.run.config.language_model.model_dump() | {"name": str(tmp_path / "frozen")}
    return pool.configured(language_model=section)


@pytest.fixture
def sampled(trained):
    """Return a pool, its models, what was sampled, and what is stored."""
    pool, fingerprints = trained
    first = sample(pool, fingerprints)
    return pool, fingerprints, first, pool.query(GENERATIONS)


@pytest.fixture(scope="session")
def entailment_folder(tmp_path_factory):
    """Return a folder with an untrained classifier of entailment that reads words."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("judge")
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(
        models.WordLevel({each: place for place, each in enumerate(names)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.add_special_tokens(names[:4])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=40,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(str(folder))
    labels = ["contradiction", "entailment", "neutral"]
    config = transformers.BertConfig(
        vocab_size=len(names),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        initializer_range=0.7,
        id2label=dict(enumerate(labels)),
        label2id={name: place for place, name in enumerate(labels)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        transformers.BertForSequenceClassification(config).eval().save_pretrained(str(folder))
    return folder


def test_every_document_gets_its_samples_from_the_model_of_its_fold(sampled):
    pool, fingerprints, first, rows = sampled
    documents = pool.documents().to_pylist()
    texts = pool.texts()
    ids = [row["document_id"] for row in documents]
    folds = document_folds(ids, 2).tolist()

    assert first.n_sampled == len(rows) == 40
    assert len(set(first.generations_ids)) == 2
    stored = {row[1]: row for row in rows}
    settings = GenerationSettings(samples=2, new_tokens=4, prompt_tokens=16, temperature=1.0)
    seed = stage_seed(pool.run.config.seed, "generations")
    for fold, fingerprint in enumerate(fingerprints):
        model = load_trained_model(model_folder(pool.warehouse.root, fingerprint)).model
        for row, own in zip(documents, folds, strict=True):
            if own != fold:
                continue
            each, cut = row["document_id"], row["prompt_characters"]
            prompt = texts[each] if cut is None else texts[each][:cut]
            alone = sample_alone(model, [each], [prompt], settings=settings, seed=seed, threads=1)
            generations_id, _, stored_cut, written, likelihoods, meanings = stored[each]
            assert generations_id == first.generations_ids[fold]
            assert stored_cut == (cut or 0)
            assert written == list(alone.texts[0])
            assert likelihoods == alone.log_likelihoods[0].tolist()
            assert len(meanings) == 2


def test_a_second_run_samples_nothing_and_tells_of_everything(sampled):
    pool, fingerprints, first, rows = sampled
    done = []

    again = sample(pool.again("second"), fingerprints, done.append)

    assert (again.generations_ids, again.n_sampled, sum(done)) == (first.generations_ids, 0, 40)
    assert pool.query(GENERATIONS) == rows


@pytest.mark.parametrize("after", [1, 13, 35])
def test_an_interrupted_run_goes_on_where_it_stopped(trained, open_pool, trained_folder, after):
    pool, fingerprints = trained
    told = 0

    def interrupt(done):
        nonlocal told
        told += done
        if told >= after:
            raise InterruptedTestError

    with pytest.raises(InterruptedTestError):
        sample(pool, fingerprints, interrupt)
    kept = pool.query("select count(*) from generations")[0][0]
    assert kept < after

    done = []
    assert sample(pool, fingerprints, done.append).n_sampled == 40 - kept
    assert sum(done) == 40
    whole = open_pool(trained_folder)
    sample(whole, fingerprints)
    assert pool.query(GENERATIONS) == whole.query(GENERATIONS)
    assert pool.query("select sum(documents)::int, sum(model_calls)::int from model_costs") == [
        (40, 80)
    ]


@pytest.mark.parametrize(("batch", "threads"), [(7, 1), (1_000, 2)])
def test_batches_and_threads_change_no_bit(sampled, open_pool, trained_folder, batch, threads):
    _, fingerprints, _, rows = sampled
    other = open_pool(trained_folder).configured(
        compute={"batch_documents": batch, "threads": threads}
    )

    sample(other, fingerprints)

    assert other.query(GENERATIONS) == rows


def test_stored_generations_stand_beside_their_documents(sampled):
    pool, _, first, rows = sampled
    stored = {row[1]: row for row in rows}
    documents = pool.documents()
    for some in (documents, documents.slice(3, 5)):
        found = stored_generations(pool.warehouse, some, first.generations_ids)
        ids = some["document_id"].to_pylist()
        assert found.groups.tolist() == [stored[each][5] for each in ids]
        assert found.log_likelihoods.tolist() == [stored[each][4] for each in ids]
    reversed_ids = first.generations_ids[::-1]
    with pytest.raises(IntegrityError, match="holds generations of 0 of 40"):
        stored_generations(pool.warehouse, documents, reversed_ids)


def test_a_lost_row_is_noticed(sampled):
    pool, _, first, _ = sampled
    with pool.warehouse.transaction() as cursor:
        cursor.execute(
            "delete from generations where document_id = (select min(document_id) from generations)"
        )

    with pytest.raises(IntegrityError, match="39 of 40"):
        stored_generations(pool.warehouse, pool.documents(), first.generations_ids)


def test_a_frozen_model_goes_on_with_new_prompts_only(frozen, next_day, rows_of_pool):
    pairs, plain = rows_of_pool
    first = sample(frozen)
    assert len(first.generations_ids) == 1
    question, answer = pairs[0]["question"], pairs[0]["answer"]
    head, tail = answer.split(" ", 1)
    moved = {"question": f"{question} {head}", "answer": tail}

    later = next_day(frozen, [moved, *pairs[1:]], [*plain, {"text": "doc-99 of no wind"}])
    second = sample(later)

    assert (second.generations_ids, second.n_sampled) == (first.generations_ids, 2)
    assert stored_generations(
        later.warehouse, later.documents(), second.generations_ids
    ).groups.shape == (41, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": 3},
        {"new_tokens": 5},
        {"prompt_tokens": 15},
        {"temperature": 0.9},
        {"meaning": {"by": "embeddings", "threshold": 0.5}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_changes_generations_changes_their_id(frozen, changes):
    first = sample(frozen)

    second = sample(with_generations(frozen, **changes))

    assert second.n_sampled == 40
    assert second.generations_ids != first.generations_ids
    n_samples = changes.get("samples", 2)
    groups = stored_generations(frozen.warehouse, frozen.documents(), second.generations_ids)
    assert groups.groups.shape == (40, n_samples)


def test_another_seed_writes_other_texts(frozen):
    sample(frozen)
    other = frozen.configured(seed=18)

    assert sample(other).n_sampled == 40
    by_id = {}
    for generations_id, document_id, _, texts, *_ in frozen.query(GENERATIONS):
        by_id.setdefault(generations_id, {})[document_id] = texts
    one, two = by_id.values()
    assert sum(one[each] != two[each] for each in one) > 30


@pytest.mark.parametrize("rule", ["strict", "lenient"])
def test_a_classifier_of_entailment_groups_the_same_texts(frozen, entailment_folder, rule):
    plain = sample(with_generations(frozen, samples=4))
    judged = with_generations(
        frozen,
        samples=4,
        meaning={"by": "entailment", "model": str(entailment_folder), "rule": rule},
    )
    assert isinstance(judged.run.config.language_model.generations.meaning, MeaningByEntailment)

    second = sample(judged)

    assert second.n_sampled == 40
    rows = frozen.query(GENERATIONS)
    texts = {own: {row[1]: row[3] for row in rows if row[0] == own} for own in {r[0] for r in rows}}
    assert texts[plain.generations_ids[0]] == texts[second.generations_ids[0]]
    judge = load_entailment_judge(str(entailment_folder), rule=rule, threads=1)
    groups = stored_generations(judged.warehouse, judged.documents(), second.generations_ids).groups
    ids = judged.documents()["document_id"].to_pylist()
    prompts = [""] * len(ids)  # the judge reads the generations alone
    expected = judge.groups([texts[second.generations_ids[0]][each] for each in ids], prompts)
    assert groups.tolist() == expected.tolist()
    assert len({tuple(row) for row in np.asarray(groups).tolist()}) > 1
    assert sample(judged).n_sampled == 0


def test_the_rule_and_the_weights_of_the_judge_are_in_the_id(frozen, entailment_folder, tmp_path):
    import shutil

    own = shutil.copytree(entailment_folder, tmp_path / "judge")
    meaning = {"by": "entailment", "model": str(own), "rule": "strict"}
    ids = {sample(with_generations(frozen, meaning=meaning)).generations_ids}
    ids.add(sample(with_generations(frozen, meaning=meaning | {"rule": "lenient"})).generations_ids)
    content = bytearray((own / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (own / "model.safetensors").write_bytes(content)
    ids.add(sample(with_generations(frozen, meaning=meaning)).generations_ids)
    assert len(ids) == 3


def test_a_judge_that_is_no_classifier_is_refused_before_anything_is_sampled(frozen, tmp_path):
    meaning = {"by": "entailment", "model": str(tmp_path / "frozen"), "rule": "strict"}

    with pytest.raises(ConfigError, match="frozen"):
        sample(with_generations(frozen, meaning=meaning))

    assert frozen.query("select count(*) from generations") == [(0,)]

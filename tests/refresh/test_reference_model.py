"""Reference models of a snapshot: trained once, whole or absent, and never on what they score."""

import dataclasses
import json
import shutil

import pytest

from databourse.errors import ConfigError
from databourse.language_models.loading import folder_fingerprint, load_trained_model
from databourse.language_models.tokenizer import read_tokenizer
from databourse.language_models.training import TrainingSettings, fold_fingerprint, train_fold
from databourse.progress import silent
from databourse.refresh.reference_model import (
    model_folder,
    train_reference_models,
    training_progress_total,
    training_settings,
)
from databourse.seeds import stage_seed
from databourse.signals.folds import document_folds

CURVES = "select model_fingerprint, fold, folds, documents from language_models order by fold"


def train(pool, advance=silent):
    return train_reference_models(pool.warehouse, pool.run, pool.snapshot_id, advance=advance)


def weights(pool, fingerprints):
    """Return the digest of every file of each model."""
    return [folder_fingerprint(model_folder(pool.warehouse.root, each)) for each in fingerprints]


def reference_of(pool):
    return pool.run.config.language_model.reference


def with_reference(pool, **changes):
    section = pool.run.config.language_model.model_dump()
    section["reference"] |= changes
    return pool.configured(language_model=section)


def stored_tokenizer(pool):
    (folder,) = (pool.warehouse.root / "language_models").glob("tokenizer-*")
    return folder


class InterruptedTestError(Exception):
    """What a test raises in the middle of the work."""


def test_one_model_per_fold_is_trained_and_written_down(untrained):
    done = []
    models = train(untrained, done.append)

    assert models.n_trained == 2
    assert models.n_documents == 40
    assert len(set(models.fingerprints)) == 2
    ids = untrained.documents()["document_id"].to_pylist()
    in_fold = document_folds(ids, 2).tolist()
    rows = untrained.query(CURVES)
    assert [row[:3] for row in rows] == [
        (models.fingerprints[0], 0, 2),
        (models.fingerprints[1], 1, 2),
    ]
    # a few of them are held out of training, none of its own fold is in it
    for fold, row in enumerate(rows):
        assert row[3] == 40 - in_fold.count(fold) - 1
    assert sum(done) <= training_progress_total(reference_of(untrained))
    assert min(done) >= 0
    curve = json.loads(untrained.query("select curve from language_models limit 1")[0][0])
    assert curve[-1]["held_out_loss"] < curve[0]["held_out_loss"]


def test_a_second_run_trains_nothing(trained):
    pool, fingerprints = trained
    rows = pool.query("select * from language_models order by fold")
    done = []

    again = train(pool.again("second"), done.append)

    assert (again.fingerprints, again.n_trained) == (fingerprints, 0)
    assert pool.query("select * from language_models order by fold") == rows
    assert sum(done) == training_progress_total(reference_of(pool))


def test_another_document_gives_other_models(trained, next_day, rows_of_pool):
    pool, fingerprints = trained
    pairs, plain = rows_of_pool

    later = train(next_day(pool, pairs, [*plain, {"text": "doc-99 of no wind and no rain"}]))

    assert later.n_trained == 2
    assert not set(later.fingerprints) & set(fingerprints)
    assert later.n_documents == 41


@pytest.mark.parametrize(
    "changes", [{"width": 32}, {"epochs": 2}, {"vocabulary": 280}, {"learning_rate": 1e-3}]
)
def test_every_setting_of_training_makes_another_model(trained, changes):
    pool, fingerprints = trained

    assert not set(train(with_reference(pool, **changes)).fingerprints) & set(fingerprints)


def test_patience_and_most_tokens_are_part_of_the_models_name(trained):
    pool, _ = trained
    ids = pool.documents()["document_id"].to_pylist()
    tokenizer = read_tokenizer(stored_tokenizer(pool))
    names = {
        fold_fingerprint(
            ids,
            fold=0,
            folds=2,
            tokenizer=tokenizer,
            settings=training_settings(reference_of(with_reference(pool, **changes))),
            seed=1,
        )
        for changes in ({}, {"patience": 3}, {"most_tokens": 1_000}, {"layers": 2}, {"heads": 4})
    }
    assert len(names) == 5


def flip_a_weight(folder):
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate_the_record(folder):
    file = folder / "training.json"
    file.write_bytes(file.read_bytes()[:-20])


def change_the_record(**changes):
    def change(folder):
        file = folder / "training.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def forget(*keys):
    def change(folder):
        file = folder / "training.json"
        record = json.loads(file.read_text())
        file.write_text(json.dumps({k: v for k, v in record.items() if k not in keys}))

    return change


def put_another_there(folder):
    (other,) = {each.parent for each in folder.parent.glob("*/training.json")} - {folder}
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


DAMAGES = {
    "another model, whole": put_another_there,
    "a flipped bit of the weights": flip_a_weight,
    "truncated weights": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "a truncated record": truncate_the_record,
    "an empty record": lambda folder: (folder / "training.json").write_bytes(b""),
    "a record that is a list": lambda folder: (folder / "training.json").write_text("[]"),
    "a record of another model": change_the_record(fingerprint="0" * 64),
    "a record with another start token": change_the_record(start_token_id=5),
    "a record of other settings": change_the_record(settings={"depth": 3}),
    "a record without a curve": forget("curve"),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "no config": lambda folder: (folder / "config.json").unlink(),
    "nothing but a folder": lambda folder: [each.unlink() for each in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_trained_again_to_the_same_weights(trained, damage):
    pool, fingerprints = trained
    before = weights(pool, fingerprints)
    record = (model_folder(pool.warehouse.root, fingerprints[1]) / "training.json").read_text()
    DAMAGES[damage](model_folder(pool.warehouse.root, fingerprints[1]))

    again = train(pool)

    assert (again.fingerprints, again.n_trained) == (fingerprints, 1)
    assert weights(pool, fingerprints) == before
    repaired = model_folder(pool.warehouse.root, fingerprints[1]) / "training.json"
    assert repaired.read_text() == record


def test_what_a_kill_left_half_written_is_swept(trained):
    pool, fingerprints = trained
    folder = pool.warehouse.root / "language_models"
    shutil.copytree(folder / fingerprints[0], folder / f"{fingerprints[0]}.staging")
    shutil.rmtree(folder / fingerprints[0])
    (folder / "tokenizer-abc.staging").mkdir()

    again = train(pool)

    assert again.n_trained == 1
    assert not list(folder.glob("*.staging"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_text(file.read_text()[:-40]),
        # still a tokenizer, but another one
        lambda file: file.write_text(
            file.read_text().replace('"vocab": {', '"vocab": {"zz": 299,')
        ),
        lambda file: file.write_text(json.dumps(swapped(json.loads(file.read_text())))),
    ],
    ids=["gone", "truncated", "one token more", "two tokens swapped"],
)
def test_a_damaged_tokenizer_is_made_again_and_the_models_stay(trained, damage):
    pool, fingerprints = trained
    file = stored_tokenizer(pool) / "tokenizer.json"
    content = file.read_text()
    damage(file)

    again = train(pool)

    assert (again.fingerprints, again.n_trained) == (fingerprints, 0)
    assert file.read_text() == content


def swapped(tokenizer):
    vocabulary = tokenizer["model"]["vocab"]
    one, other = sorted(vocabulary, key=vocabulary.get)[30:32]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    return tokenizer


def test_a_model_without_its_row_gets_it_back(trained):
    pool, _ = trained
    rows = pool.query(CURVES)
    with pool.warehouse.transaction() as cursor:
        cursor.execute("delete from language_models where fold = 1")

    assert train(pool).n_trained == 0

    assert pool.query(CURVES) == rows


def test_an_interrupted_training_goes_on_with_the_folds_that_are_missing(untrained, trained):
    _, fingerprints = trained

    def interrupt(_):
        if untrained.query("select count(*) from language_models") == [(1,)]:
            raise InterruptedTestError

    with pytest.raises(InterruptedTestError):
        train(untrained, interrupt)
    assert [row[:2] for row in untrained.query(CURVES)] == [(fingerprints[0], 0)]

    again = train(untrained)

    assert (again.fingerprints, again.n_trained) == (fingerprints, 1)
    assert weights(untrained, fingerprints) == weights(trained[0], fingerprints)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_ends_the_training_of_all_folds(untrained, threads):
    pool = with_reference(untrained, folds=6, epochs=30).configured(compute={"threads": threads})
    steps, failed = [], []

    def fail_once(done):
        steps.append(done)
        if not failed and done:
            failed.append(len(steps))
            raise InterruptedTestError

    with pytest.raises(InterruptedTestError):
        train(pool, fail_once)

    assert pool.query(CURVES) == []
    assert len(steps) - failed[0] < 30  # of hundreds of steps of each of five folds


@pytest.mark.parametrize("threads", [2, 3])
def test_folds_at_a_time_change_no_weight(untrained, trained, threads):
    reference, fingerprints = trained

    models = train(untrained.configured(compute={"threads": threads, "batch_documents": 7}))

    assert models.fingerprints == fingerprints
    assert weights(untrained, fingerprints) == weights(reference, fingerprints)


def test_no_text_of_a_fold_is_in_the_weights_of_its_model(trained):
    pool, fingerprints = trained
    texts = pool.texts()
    ids = list(texts)
    in_fold = document_folds(ids, 2).tolist()
    assert 10 < sum(in_fold) < 30
    for fold, fingerprint in enumerate(fingerprints):
        garbage = [
            "zzz " * 50 if own == fold else texts[each]
            for each, own in zip(ids, in_fold, strict=True)
        ]
        twin = train_fold(
            ids,
            garbage,
            fold=fold,
            folds=2,
            tokenizer=read_tokenizer(stored_tokenizer(pool)),
            settings=training_settings(reference_of(pool)),
            seed=stage_seed(pool.run.config.seed, "reference model"),
        )
        stored = load_trained_model(model_folder(pool.warehouse.root, fingerprint)).model.module
        expected = twin.model.module.state_dict()
        assert all((value == expected[name]).all() for name, value in stored.state_dict().items())


def test_a_pool_larger_than_most_documents_is_trained_on_the_lowest_hashes(trained):
    pool, _ = trained
    reference = reference_of(pool).model_copy(update={"most_documents": 25})  # the least is 100
    section = pool.run.config.language_model.model_copy(update={"reference": reference})
    config = pool.run.config.model_copy(update={"language_model": section})
    few = dataclasses.replace(pool.run, config=config)

    models = train_reference_models(pool.warehouse, few, pool.snapshot_id, advance=silent)

    assert models.n_documents == 25
    lowest = sorted(pool.texts())[:25]
    in_fold = document_folds(lowest, 2).tolist()
    rows = pool.query(
        "select fold, documents from language_models "
        "where list_contains(?::varchar[], model_fingerprint) order by fold",
        list(models.fingerprints),
    )
    assert rows == [(fold, 25 - in_fold.count(fold) - 1) for fold in (0, 1)]


def test_a_pool_too_small_to_train_on_is_refused(untrained, next_day, rows_of_pool):
    pairs, plain = rows_of_pool

    with pytest.raises(ConfigError, match=r"needs at least 20 documents.* has 19; set language_mo"):
        train(next_day(untrained, pairs[:10], plain[:9]))

    assert train(next_day(untrained, pairs[:10], plain[:10], run_id="more")).n_documents == 20


def test_settings_that_the_config_does_not_name_are_the_trainers():
    fields = {field.name: field.default for field in dataclasses.fields(TrainingSettings)}
    from databourse.config_models import ReferenceModelConfig

    settings = training_settings(ReferenceModelConfig(width=64))
    assert settings.width == 64
    unnamed = set(fields) - set(ReferenceModelConfig.model_fields)
    assert {name: getattr(settings, name) for name in unnamed} == {n: fields[n] for n in unnamed}

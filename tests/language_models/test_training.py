"""The reference model: packing, learning, cross-fitting, identity."""

import copy
import dataclasses
import itertools
import math

import numpy as np
import pytest

from databourse.errors import InputError
from databourse.language_models import optimisation, packing, training
from databourse.language_models.scoring import score_documents
from databourse.language_models.tokenizer import train_tokenizer
from databourse.language_models.training import (
    TrainingSettings,
    fold_fingerprint,
    most_training_tokens,
    train_cross_fitted,
    train_fold,
    train_reference_model,
    train_to_the_end,
    training_fingerprint,
)
from databourse.signals.folds import document_folds

SETTINGS = TrainingSettings(
    layers=1,
    width=32,
    heads=2,
    context_tokens=32,
    batch_rows=8,
    micro_rows=8,
    epochs=12,
    learning_rate=1e-2,
    evaluations=4,
    patience=4,
)
PLANTED = "zyx 83 qwv 19 jkp 57 zzb 64"
SIZES = {"window_tokens": 32, "overlap_tokens": 16, "threads": 1}


def _texts(n=80):
    rng = np.random.default_rng(0)
    words = ["rain", "wind", "storm", "cloud", "sun", "frost", "snow", "heat"]
    return [
        " ".join(f"the {word} falls" for word in rng.choice(words, rng.integers(3, 8)))
        for _ in range(n)
    ]


TEXTS = [*_texts(), PLANTED]
IDS = [f"doc{number:03}" for number in range(len(TEXTS))]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(_texts(), vocabulary_size=300)


@pytest.fixture(scope="module")
def trained(tokenizer):
    return _train(tokenizer)


def _train(tokenizer, order=None, **changes):
    order = range(len(TEXTS)) if order is None else order
    return train_reference_model(
        [IDS[i] for i in order],
        [TEXTS[i] for i in order],
        tokenizer=tokenizer,
        settings=dataclasses.replace(SETTINGS, **changes),
        seed=5,
        threads=1,
    )


def test_training_lowers_the_loss_of_what_was_held_out(trained, tokenizer):
    first, *_, last = trained.curve
    assert first.step == 0
    # untrained it is near uniform; the pool has 8 words at every third place
    assert first.held_out_loss == pytest.approx(math.log(tokenizer.vocabulary_size), abs=0.3)
    assert min(point.held_out_loss for point in trained.curve) < 2.5
    assert last.train_loss < 2.5
    assert trained.n_documents == len(TEXTS) - 4  # 5 % of 81 are held out


def test_the_model_kept_is_the_one_of_the_lowest_held_out_loss(tokenizer):
    # random words: how often each comes can be learnt, what comes next only by heart
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["rain", "wind", "sun", "snow"], 12)) for _ in range(16)]
    settings = dataclasses.replace(SETTINGS, epochs=80, evaluations=16, patience=3)
    learnt = train_reference_model(
        IDS[:16], texts, tokenizer=tokenizer, settings=settings, seed=5, threads=1
    )
    losses = [point.held_out_loss for point in learnt.curve]
    best = int(np.argmin(losses))
    assert 0 < best == len(losses) - 1 - settings.patience  # it stopped after three worse ones
    assert len(losses) < 1 + settings.evaluations
    out = training._held_out(IDS[:16], settings)
    held_out = [text for text, is_out in zip(texts, out, strict=True) if is_out]
    scores = score_documents(learnt.model, held_out, **SIZES)
    found = scores.loss_sums.sum() / scores.token_counts.sum()
    assert found == pytest.approx(losses[best], abs=1e-6)
    assert losses[best + 1] > losses[best] + 1e-3


def test_the_order_of_documents_changes_no_weight(trained, tokenizer):
    again = _train(tokenizer, order=np.random.default_rng(1).permutation(len(TEXTS)))
    assert again.fingerprint == trained.fingerprint
    assert again.curve[1:] == trained.curve[1:]
    for name, weights in trained.model.module.state_dict().items():
        assert np.array_equal(weights.numpy(), again.model.module.state_dict()[name].numpy()), name


def test_training_leaves_the_random_state_of_torch_alone(tokenizer):
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)  # no state that an earlier training could have left
        before = torch.random.get_rng_state()
        _train(tokenizer, epochs=1)
        assert torch.equal(before, torch.random.get_rng_state())


def test_packed_rows_by_hand():
    # stream 0 5 6 | 0 7 | 0 8 9, rows of 4; targets are the next tokens, the last one is missing
    rows = packing.packed(
        np.array([0, 5, 6, 0, 7, 0, 8, 9]), np.array([1, 0, 0, 1, 0, 1, 0, 0]), 0, 4
    )
    assert rows.inputs.tolist() == [[0, 5, 6, 0], [7, 0, 8, 9]]
    assert rows.targets.tolist() == [[5, 6, 0, 7], [0, 8, 9, -100]]
    assert rows.positions.tolist() == [[0, 1, 2, 0], [0, 0, 1, 2]]


def test_an_epoch_holds_every_document_once_and_is_drawn_again():
    documents = [np.arange(10 * first, 10 * first + first) for first in range(1, 8)]
    packed = packing.PackedRows([each.astype(np.int32) for each in documents], 0, 5)
    rng = np.random.default_rng(0)
    epochs = [packed.epoch(rng) for _ in range(2)]
    for epoch in epochs:
        targets = epoch.targets[epoch.targets != -100]
        stream = [0, *targets.tolist()]
        ends = [i for i, token in enumerate(stream) if token == 0] + [len(stream)]
        found = [stream[i + 1 : j] for i, j in itertools.pairwise(ends)]
        assert sorted(found) == [each.tolist() for each in documents]
        assert len(epoch.inputs) == packed.n_rows
    assert epochs[0].inputs.tolist() != epochs[1].inputs.tolist()


def test_a_packed_document_is_predicted_as_if_it_were_alone(trained):
    import torch

    module = trained.model.module
    one, other = [0, 70, 71, 72], [0, 90, 91]
    packed = torch.tensor([one + other])
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2]])
    with torch.no_grad():
        together = module(input_ids=packed, position_ids=positions).logits[0]
        alone = [module(input_ids=torch.tensor([each])).logits[0] for each in (one, other)]
        blended = module(input_ids=packed).logits[0]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(blended[4:], alone[1], atol=1e-2)


def test_a_step_learns_packed_documents_as_if_each_had_its_own_row(trained):
    packed = packing.Rows(
        np.array([[0, 70, 71, 0, 90, 91]]),
        np.array([[0, 1, 2, 0, 1, 2]]),
        np.array([[70, 71, 0, 90, 91, -100]]),
    )
    apart = packing.Rows(
        np.array([[0, 70, 71], [0, 90, 91]]),
        np.array([[0, 1, 2], [0, 1, 2]]),
        np.array([[70, 71, 0], [90, 91, -100]]),
    )
    import torch

    losses, weights = [], []
    for rows in (packed, apart):
        module = copy.deepcopy(trained.model.module)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        losses.append(optimisation.take_step(torch, module, optimizer, rows, SETTINGS))
        weights.append(torch.cat([each.detach().flatten() for each in module.parameters()]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)


def test_a_document_is_unseen_by_the_model_of_its_fold_and_known_to_the_other(tokenizer):
    # the planted text is short and alone of its kind, so it is repeated under other ids
    ids = list(IDS)
    fold = int(document_folds([ids[-1]], 2)[0])
    copies = [
        each
        for each in (f"copy{number}" for number in range(60))
        if document_folds([each], 2)[0] == fold
    ]
    twin = "vqx 28 zkj 40 bzw 93 qqy 71"  # of the same kind, in nobody's training
    models = train_cross_fitted(
        [*ids, *copies],
        [*TEXTS, *[PLANTED] * len(copies)],
        folds=2,
        tokenizer=tokenizer,
        settings=SETTINGS,
        seed=5,
        threads=1,
    )
    own, other = models[fold], models[1 - fold]
    losses = {
        name: score_documents(each.model, [PLANTED, twin], **SIZES).mean_losses
        for name, each in (("own", own), ("other", other))
    }
    assert losses["other"][0] < 1.0  # it saw it
    assert losses["own"][0] > 4.0  # it did not:
    assert losses["own"][0] == pytest.approx(losses["own"][1], rel=0.25)  # as any such text


def test_a_step_learns_what_the_loss_of_all_logits_says(trained):
    import torch

    size = trained.model.tokenizer.vocabulary_size
    inputs, targets = np.random.default_rng(0).integers(0, size, (2, 4, 20))
    rows = packing.Rows(inputs, np.tile(np.arange(20), (4, 1)), targets)
    rows.targets[[0, 2], [3, 19]] = -100
    found, expected = (copy.deepcopy(trained.model.module) for _ in range(2))
    settings = dataclasses.replace(SETTINGS, micro_rows=3)
    optimizer = torch.optim.SGD(found.parameters(), lr=1.0)
    loss = optimisation.take_step(torch, found, optimizer, rows, settings)
    obvious = torch.nn.functional.cross_entropy(
        expected(
            input_ids=torch.from_numpy(rows.inputs), position_ids=torch.from_numpy(rows.positions)
        ).logits.flatten(0, 1),
        torch.from_numpy(rows.targets).flatten(),
        ignore_index=-100,
    )
    obvious.backward()
    torch.nn.utils.clip_grad_norm_(expected.parameters(), 1.0)
    assert loss / 78 == pytest.approx(obvious.item(), rel=1e-5)
    for (name, one), other in zip(found.named_parameters(), expected.parameters(), strict=True):
        # 1e-5 of a gradient whose norm is 1: sums of floats in another order
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_chunks_of_positions_change_no_loss_and_no_gradient():
    import torch

    rng = np.random.default_rng(1)
    states, embedding = (
        torch.from_numpy(rng.normal(size=shape)).float() for shape in ((10, 3), (7, 3))
    )
    targets = torch.tensor([0, 6, -100, 3, 3, 1, -100, 5, 2, 4])
    one, other = (
        optimisation.head_gradients(torch, states, embedding, targets, n_targets=8, chunk=chunk)
        for chunk in (4, 64)
    )
    assert one[0] == pytest.approx(other[0], rel=1e-6)
    torch.testing.assert_close(one[1:], other[1:])
    assert torch.equal(one[1][[2, 6]], torch.zeros(2, 3))  # what is ignored teaches nothing


def test_folds_trained_at_the_same_time_have_the_weights_of_folds_trained_one_by_one(tokenizer):
    import torch

    settings = dataclasses.replace(SETTINGS, epochs=3)
    before = torch.get_num_threads()
    told = []
    one_by_one, together, alone = (
        train(
            IDS,
            TEXTS,
            folds=3,
            tokenizer=tokenizer,
            settings=settings,
            seed=5,
            progress=told.append,
            **choices,
        )
        for train, choices in (
            (train_cross_fitted, {"threads": 1}),
            (train_cross_fitted, {"threads": 3}),
            (train_fold, {"fold": 1}),
        )
    )
    assert torch.get_num_threads() == before
    for one, other in zip(one_by_one, together, strict=True):
        assert one.fingerprint == other.fingerprint
        assert one.curve[1:] == other.curve[1:]
        assert _same_weights(one, other)
    assert _same_weights(together[1], alone)
    assert alone.fingerprint == together[1].fingerprint
    assert not _same_weights(together[0], together[1])


def _same_weights(one, other):
    pairs = zip(
        one.model.module.state_dict().values(),
        other.model.module.state_dict().values(),
        strict=True,
    )
    return all(np.array_equal(mine.numpy(), its.numpy()) for mine, its in pairs)


def test_the_fingerprint_of_a_fold_is_of_the_documents_of_the_others(tokenizer):
    def prints(ids, **changes):
        choices = {"folds": 2, "tokenizer": tokenizer, "settings": SETTINGS, "seed": 1, **changes}
        return [fold_fingerprint(ids, fold=fold, **choices) for fold in range(2)]

    before = prints(IDS)
    assert len(set(before)) == 2
    assert prints(IDS[::-1]) == before
    fold = int(document_folds(["another"], 2)[0])
    after = prints([*IDS, "another"])
    assert after[fold] == before[fold]  # its own document is none that it learns from
    assert after[1 - fold] != before[1 - fold]
    assert not set(prints(IDS, seed=2)) & set(before)
    assert not set(prints(IDS, folds=3)) & set(before)


def test_a_fold_has_the_fingerprint_that_was_told_before(tokenizer):
    choices = {"fold": 1, "folds": 2, "tokenizer": tokenizer, "seed": 3}
    settings = dataclasses.replace(SETTINGS, epochs=1, evaluations=1)
    trained = train_fold(IDS, TEXTS, settings=settings, **choices)
    assert trained.fingerprint == fold_fingerprint(IDS, settings=settings, **choices)
    assert trained.n_documents == np.count_nonzero(document_folds(IDS, 2) == 0) - 2


def test_the_fingerprint_changes_with_each_input(tokenizer):
    base = {
        "tokenizer": tokenizer,
        "settings": SETTINGS,
        "seed": 1,
        "threads": 1,
        "device": "cpu",
    }
    changes = [
        {"tokenizer": train_tokenizer(_texts(), vocabulary_size=265)},
        {"settings": dataclasses.replace(SETTINGS, width=64)},
        {"seed": 2},
        {"threads": 2},
        {"device": "cuda"},
    ]
    prints = [training_fingerprint(IDS, **{**base, **change}) for change in [{}, *changes]]
    prints.append(training_fingerprint(IDS[1:], **base))
    assert len(set(prints)) == len(prints)
    assert training_fingerprint(IDS[::-1], **base) == prints[0]


def test_the_fingerprint_changes_with_code_and_libraries(tokenizer, monkeypatch):
    def fingerprint():
        return training_fingerprint(
            IDS, tokenizer=tokenizer, settings=SETTINGS, seed=1, threads=1, device="cpu"
        )

    before = fingerprint()
    monkeypatch.setattr(training, "CODE_REVISION", training.CODE_REVISION + 1)
    after = fingerprint()
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"{name}-99")
    assert len({before, after, fingerprint()}) == 3


def test_the_learning_rate_rises_and_falls_to_a_tenth():
    settings = TrainingSettings(learning_rate=1.0, warmup_share=0.1)
    rates = [
        optimisation.learning_rate(step, steps=100, settings=settings) for step in (1, 10, 55, 100)
    ]
    # at step 55 half of the 90 steps after warm-up are done: 0.1 + 0.9 / 2
    assert rates == pytest.approx([0.1, 1.0, 0.55, 0.1])


def test_the_tokens_of_training_are_bounded_and_add_up(tokenizer):
    told = []
    settings = dataclasses.replace(SETTINGS, epochs=2, evaluations=1)
    tokens = tokenizer.encode(TEXTS)
    train_reference_model(
        IDS, TEXTS, tokenizer=tokenizer, settings=settings, seed=1, threads=1, progress=told.append
    )
    n_tokens = sum(len(each) + 1 for each in tokens)
    assert sum(told) <= most_training_tokens(n_tokens, settings)
    bounded = dataclasses.replace(settings, most_tokens=600)
    assert most_training_tokens(n_tokens, bounded) == 600
    told.clear()
    train_reference_model(
        IDS, TEXTS, tokenizer=tokenizer, settings=bounded, seed=1, threads=1, progress=told.append
    )
    assert sum(told) == 2 * 8 * 32


def test_documents_that_cannot_be_trained_on_are_refused(tokenizer):
    def train(ids, texts):
        train_reference_model(ids, texts, tokenizer=tokenizer, settings=SETTINGS, seed=1, threads=1)

    with pytest.raises(InputError, match="at least two documents"):
        train(["a"], ["x"])
    with pytest.raises(InputError, match="distinct"):
        train(["a", "a"], ["x", "y"])
    with pytest.raises(InputError, match="one text per document_id"):
        train(["a", "b"], ["x"])
    with pytest.raises(InputError, match="empty ones"):
        train(["a", "b"], ["", ""])
    with pytest.raises(InputError, match="folds must be >= 2"):
        train_cross_fitted(
            IDS, TEXTS, folds=1, tokenizer=tokenizer, settings=SETTINGS, seed=1, threads=1
        )
    with pytest.raises(InputError, match=r"fold must be in \[0, 2\), got 2"):
        train_fold(IDS, TEXTS, fold=2, folds=2, tokenizer=tokenizer, settings=SETTINGS, seed=1)
    with pytest.raises(InputError, match="multiple of heads"):
        TrainingSettings(width=30, heads=4)
    with pytest.raises(InputError, match="held_out_share"):
        TrainingSettings(held_out_share=1.0)


def test_training_to_the_end_learns_all_of_some_texts_and_holds_nothing_out(tokenizer):
    settings = dataclasses.replace(SETTINGS, held_out_share=0.5)

    def loss(tokens):
        seen = []
        model = train_to_the_end(
            [TEXTS[0]] * 4,
            tokenizer=tokenizer,
            settings=settings,
            tokens=tokens,
            seed=5,
            threads=1,
            progress=seen.append,
        )
        return float(training._held_out_loss(model, [TEXTS[0]], 1)), sum(seen)

    first, few = loss(1)
    last, many = loss(41 * 3 * 32)  # three rows are an epoch, and a step
    assert (few, many) == (3 * 32, 41 * 3 * 32)
    assert last < 0.5 * first


@pytest.mark.parametrize(
    ("tokens", "n_rows", "steps"),
    [(1, 5, 1), (64, 5, 1), (65, 5, 2), (160, 5, 3), (161, 5, 4), (320, 5, 6), (64, 1, 2)],
)
def test_steps_for_tokens_count_the_short_last_step_of_an_epoch(tokens, n_rows, steps):
    settings = dataclasses.replace(SETTINGS, batch_rows=2)
    assert optimisation.steps_for_tokens(tokens, n_rows, settings) == steps


def test_training_to_the_end_depends_on_seed_and_texts_alone(tokenizer):
    def weights(texts, seed):
        model = train_to_the_end(
            texts, tokenizer=tokenizer, settings=SETTINGS, tokens=300, seed=seed, threads=1
        )
        return [each.detach().numpy().tobytes() for each in model.module.parameters()]

    one = weights(TEXTS, 5)
    assert one == weights(TEXTS, 5)
    assert one != weights(TEXTS, 6)
    assert one != weights(TEXTS[1:], 5)


@pytest.mark.parametrize(("texts", "tokens"), [([""], 10), (TEXTS, 0)])
def test_training_to_the_end_of_nothing_is_refused(tokenizer, texts, tokens):
    with pytest.raises(InputError, match=r"texts to train on|must be >= 1, got 0"):
        train_to_the_end(
            texts, tokenizer=tokenizer, settings=SETTINGS, tokens=tokens, seed=1, threads=1
        )

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from databourse.comparison.proxies import CausalProxy, bits_per_token, linear_proxy
from databourse.errors import InputError
from databourse.influence.softmax_regression import fit_proxy, predict_log_proba
from databourse.language_models.tokenizer import train_tokenizer
from databourse.language_models.training import TrainingSettings, train_to_the_end
from databourse.samplers.interface import Candidates
from databourse.targets import TargetSet

SETTINGS = TrainingSettings(
    layers=1, width=32, heads=2, context_tokens=32, batch_rows=4, micro_rows=4, learning_rate=1e-2
)
RAIN = ["the rain falls on the roof and the street", "rain and wind fall on the street"] * 6
CODE = ["return 0 if x == y else f(x, y)", "def f(x, y): return x + y"] * 6


def vectors(n, seed):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, n)
    rows = np.eye(6)[classes] + 0.5 * rng.normal(size=(n, 6))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit.astype(np.float32), np.array(list("abc"), dtype=object)[classes]


def examples(rows, labels, name="dev"):
    return TargetSet(
        name=name,
        texts=[f"example {i}" for i in range(len(labels))],
        labels=np.array(labels, dtype=object),
        prompt_characters=np.zeros(len(labels), dtype=np.int64),
        embeddings=rows,
    )


@pytest.fixture(name="labelled", scope="module")
def _labelled():
    rows, labels = vectors(200, 0)
    labels[3] = None
    ids = [f"{i:03d}" for i in range(200)]
    costs = np.ones(200, dtype=np.int64)
    return Candidates(document_ids=ids, costs=costs, embeddings=rows, labels=labels)


def measured(proxy, positions, seed=0):
    found = proxy.measure(np.array(positions), seed=seed)
    return {(each.target, each.metric): each.value for each in found}


def test_the_linear_proxy_reports_what_scikit_learn_would_of_its_predictions(labelled):
    rows, labels = vectors(60, 1)
    proxy = linear_proxy(labelled, [examples(rows, labels)], l2=1.0)
    picked = np.arange(0, 200, 2)
    found = measured(proxy, picked[::-1])
    codes = np.array(["abc".index(label) for label in labelled.labels[picked]])
    fitted = fit_proxy(labelled.embeddings[picked], codes, n_classes=3, l2=1.0)
    log_p = predict_log_proba(fitted, rows)
    truth = np.array(["abc".index(label) for label in labels])
    predicted = log_p.argmax(axis=1)
    assert found["dev", "accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    macro = f1_score(truth, predicted, average="macro")
    assert found["dev", "macro_f1"] == pytest.approx(macro)
    assert found["dev", "loss"] == pytest.approx(-log_p[np.arange(60), truth].mean())


def test_the_order_of_a_pick_changes_no_measurement(labelled):
    proxy = linear_proxy(labelled, [examples(*vectors(60, 1))], l2=1.0)
    assert measured(proxy, range(50)) == measured(proxy, range(49, -1, -1))


def test_an_example_with_a_label_that_no_candidate_has_is_refused(labelled):
    rows, _ = vectors(1, 1)
    with pytest.raises(InputError, match="labelled 'z', which no document of the pool is"):
        linear_proxy(labelled, [examples(rows, ["z"])], l2=1.0)


def texts_as_examples(texts, cuts=None, name="dev"):
    return TargetSet(
        name=name,
        texts=texts,
        labels=np.array([None] * len(texts), dtype=object),
        prompt_characters=np.array(cuts or [0] * len(texts), dtype=np.int64),
    )


@pytest.fixture(name="causal", scope="module")
def _causal():
    tests = [
        texts_as_examples(["the rain falls on the street"], name="rain"),
        texts_as_examples(["def f(x): return x"], name="code"),
    ]
    return CausalProxy(
        texts=[*RAIN, *CODE],
        tests=tests,
        tokenizer=train_tokenizer([*RAIN, *CODE], vocabulary_size=300),
        settings=SETTINGS,
        training_tokens=3_000,
    )


def test_a_causal_proxy_is_better_at_what_it_was_trained_on(causal):
    on_rain = measured(causal, range(12))
    on_code = measured(causal, range(12, 24))
    assert on_rain["rain", "bits_per_token"] < on_code["rain", "bits_per_token"] - 1
    assert on_code["code", "bits_per_token"] < on_rain["code", "bits_per_token"] - 1


def test_a_causal_proxy_depends_on_pick_and_seed_alone(causal):
    assert measured(causal, range(4)) == measured(causal, [3, 2, 1, 0])
    assert measured(causal, range(4)) != measured(causal, range(4), seed=1)


def test_bits_are_those_of_completions_after_their_prompts(causal):
    model = train_to_the_end(
        RAIN, tokenizer=causal.tokenizer, settings=SETTINGS, tokens=500, seed=0, threads=1
    )
    text, cut = "the rain falls on the street", len("the rain falls ")
    whole = bits_per_token(model, texts_as_examples([text]), 1)
    completion = bits_per_token(model, texts_as_examples([text], [cut]), 1)
    torch = pytest.importorskip("torch")
    ids = [model.start_token_id]
    ids += causal.tokenizer.encode([text[:cut]])[0].tolist()
    before = len(ids)
    ids += causal.tokenizer.encode([text[cut:]])[0].tolist()
    with torch.no_grad():
        log_p = model.module(torch.tensor([ids])).logits[0].log_softmax(-1)
    losses = [-float(log_p[place - 1, ids[place]]) for place in range(before, len(ids))]
    assert completion == pytest.approx(sum(losses) / len(losses) / math.log(2), rel=1e-4)
    assert completion != pytest.approx(whole, rel=1e-3)


def test_examples_without_a_token_are_refused(causal):
    model = train_to_the_end(
        RAIN, tokenizer=causal.tokenizer, settings=SETTINGS, tokens=64, seed=0, threads=1
    )
    with pytest.raises(InputError, match="'dev' has no token to score"):
        bits_per_token(model, texts_as_examples([""]), 1)

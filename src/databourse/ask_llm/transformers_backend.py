"""Ask-LLM with a model of our own: encoder-decoder or causal, through transformers.

Notation: z = logits at the first answer position, V = vocabulary, Y = tokens that say yes.
ln P(yes) = ln sum_{i in Y} exp z_i - ln sum_{i in V} exp z_i, in float64 whatever the precision of
the model. Only safetensors weights are read, and no code that comes with a model is run.

Special tokens spelled out in a document (`</s>`) are read as its characters or, where a tokenizer
has no such reading, become a space. Documents are padded
on the right, where neither a masked encoder nor a causal model can see it, in batches whose shape
depends on the document alone (see `databourse.encoders.encoder`).
"""

from __future__ import annotations

import importlib.metadata
import inspect
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from databourse.ask_llm.prompt import (
    PromptSettings,
    build_prompt,
    cut_document,
    without_delimiters,
)
from databourse.ask_llm.results import Cost, Interval, QualityScore
from databourse.digests import digest_of, file_sha256
from databourse.encoders.encoder import Batch, BatchPlan, check_threads, padded, plan_batches
from databourse.encoders.locations import HubId, fetch, locate
from databourse.encoders.silence import without_loading_bar
from databourse.encoders.torch_backend import MODEL_PATTERNS, check_model_folder
from databourse.errors import ConfigError, InputError, IntegrityError, MissingExtraError
from databourse.progress import ProgressReport, silent

Precision = Literal["float32", "bfloat16"]

_REVISION = 1  # of tokenization and scoring: raise it when scores change
_DOCUMENTS_AT_ONCE = 1_024  # scored before the first of them is given out
_CPU_BATCH_TOKENS, _GPU_BATCH_TOKENS = 1_024, 16_384
_LENGTH_MULTIPLE = 8
_CAUSAL_HEADS = ("ForCausalLM", "LMHeadModel")


@dataclass(frozen=True)
class _Prepared:
    """A document in its prompt, as tokens, and whether it was cut."""

    token_ids: list[int]
    truncated: bool


class TransformersScorer:
    """A loaded model that answers; its scores depend on the document and `scorer_id` alone.

    Attributes:
        scorer_id: name, weights, precision, device, prompt: all that decides the scores.
        answer_tokens: by answer, the id of each token that counts as it and its spelling.
    """

    def __init__(self, name: str, model: _Model, prompt: PromptSettings, *, threads: int) -> None:
        self._model, self._prompt, self._threads = model, prompt, threads
        self.answer_tokens = {
            "yes": model.answer_tokens(prompt.yes, "yes"),
            "no": model.answer_tokens(prompt.no, "no"),
        }
        both = sorted(set(self.answer_tokens["yes"]) & set(self.answer_tokens["no"]))
        if both:
            raise ConfigError(
                f"the model's tokenizer takes {self.answer_tokens['yes'][both[0]]!r} for both yes "
                f"and no: {list(prompt.yes)} and {list(prompt.no)}; give other spellings"
            )
        frame_tokens = len(model.tokenize(build_prompt("", prompt)))
        if frame_tokens + prompt.max_document_tokens > model.max_tokens:
            raise ConfigError(
                f"the prompt takes {frame_tokens} tokens and max_document_tokens is "
                f"{prompt.max_document_tokens}, but the model reads {model.max_tokens}; "
                f"set max_document_tokens to {max(1, model.max_tokens - frame_tokens)} or less"
            )
        version = importlib.metadata.version("torch")
        self.scorer_id = (
            f"{name}@{model.fingerprint[:12]}/torch-{version}-{model.precision}-"
            f"{model.device_type}/{prompt.digest}/r{_REVISION}"
        )

    def score(
        self, documents: Iterable[tuple[str, str]], *, progress: ProgressReport = silent
    ) -> Iterator[QualityScore]:
        """Yield the score of each document, in the order given; stop and go on wherever you like.

        Args:
            documents: document_id and text; read a thousand at a time.
            progress: told of the documents of each batch.

        Raises:
            InputError: a text is not valid Unicode.
            IntegrityError: the model gave a probability that is not a number.
        """
        rest = iter(documents)
        while part := list(islice(rest, _DOCUMENTS_AT_ONCE)):
            prepared = [self._prepare(text) for _, text in part]
            logarithms = self._log_probabilities([each.token_ids for each in prepared], progress)
            for (document_id, _), own, (yes, no) in zip(
                part, prepared, logarithms.tolist(), strict=True
            ):
                yield QualityScore(
                    document_id=document_id,
                    log_p_yes=Interval(yes, yes),
                    log_p_no=Interval(no, no),
                    truncated=own.truncated,
                    cost=Cost(prompt_tokens=len(own.token_ids)),
                )

    def _prepare(self, text: str) -> _Prepared:
        clean = without_delimiters(text, self._prompt.delimiter)
        head = cut_document(
            clean, self._prompt.max_document_tokens, token_spans=self._model.token_spans
        )
        truncated = len(head) < len(clean)
        while True:
            prompt = build_prompt(head, self._prompt)
            start = prompt.index("\n") + 1
            controls = self._model.control_spans(prompt, start, start + len(head))
            if controls:
                # parts that the tokenizer knows as its own signs, whatever it was told, go
                head = _without_spans(head, [(low - start, high - start) for low, high in controls])
                continue
            token_ids = self._model.tokenize(prompt)
            if not head or len(token_ids) <= self._model.max_tokens:
                return _Prepared(token_ids, truncated)
            # a document may take a token more inside the prompt than by itself
            head, truncated = head[:-1], True

    def _log_probabilities(
        self, tokens: Sequence[Sequence[int]], progress: ProgressReport
    ) -> npt.NDArray[np.float64]:
        """Return ln P(yes) and ln P(no), shape (len(tokens), 2)."""
        on_gpu = self._model.device_type != "cpu"
        plan = BatchPlan(
            batch_tokens=_GPU_BATCH_TOKENS if on_gpu else _CPU_BATCH_TOKENS,
            length_multiple=_LENGTH_MULTIPLE,
            pad_token_id=self._model.pad_token_id,
        )
        answers = [list(self.answer_tokens["yes"]), list(self.answer_tokens["no"])]
        batches = plan_batches(
            [len(each) for each in tokens], plan, max_tokens=self._model.max_tokens
        )

        def compute(batch: Batch) -> npt.NDArray[np.float64]:
            own = [tokens[position] for position in batch.positions]
            return self._model.answer_log_probabilities(*padded(own, batch, plan), answers)

        values = np.empty((len(tokens), 2))
        try:
            threads = 1 if on_gpu else self._threads
            with ThreadPoolExecutor(threads, initializer=self._model.enter_worker) as pool:
                for batch, computed in zip(batches, pool.map(compute, batches), strict=True):
                    values[list(batch.positions)] = computed[: len(batch.positions)]
                    progress(len(batch.positions))
        finally:
            self._model.leave()
        if np.isnan(values).any():
            raise IntegrityError("the Ask-LLM model gave a probability that is not a number")
        return np.minimum(values, 0.0)  # a sum over all of the vocabulary may round above one


def load_scorer(
    name: str,
    prompt: PromptSettings,
    *,
    threads: int,
    device: str = "cpu",
    precision: Precision = "float32",
    root: Path = Path(),
) -> TransformersScorer:
    """Return the scorer of a name, ready to score.

    Args:
        name: a model folder (relative ones start at `root`), or a hub id `owner/name` or
            `owner/name@revision`: an instruction-tuned model.
        prompt: how it is asked.
        threads: on a CPU, batches computed at a time, >= 1; they change no score.
        device: "cpu", or a torch device such as "cuda".
        precision: of weights and activations.
        root: folder of the config.

    Raises:
        UnknownNameError: the name is neither a path nor a hub id.
        ConfigError: it cannot be loaded safely and completely, cannot answer, or an answer is not
            one token of it.
        MissingExtraError: a package is missing.
        TransientError: the hub failed.
    """
    check_threads(threads)
    place = locate(name, kind="Ask-LLM model", known=(), root=root)
    if isinstance(place, HubId):
        folder, label = fetch(place, MODEL_PATTERNS), str(place)
    else:
        folder, label = place, "local"
    return TransformersScorer(label, _Model(folder, device, precision), prompt, threads=threads)


def _without_spans(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return a text with spans, in order, turned into one space each; blank ones go entirely."""
    kept: list[str] = []
    start = 0
    for low, high in spans:
        kept += [text[start:low], " " if text[low:high].strip() else ""]
        start = high
    return "".join([*kept, text[start:]])


class _Model:
    """A transformer with its tokenizer: prompts to tokens, tokens to probabilities of answers."""

    def __init__(self, folder: Path, device: str, precision: Precision) -> None:
        self._encodes = _encodes_and_decodes(folder)
        self._torch, self._tokenizer, self._model = _load(
            folder, device, precision, encodes=self._encodes
        )
        config = self._model.config
        self.precision = precision
        self.device_type = str(self._model.device.type)
        self.fingerprint = _fingerprint(folder)
        self.max_tokens = _limit(
            folder,
            self._tokenizer.model_max_length,
            getattr(config, "max_position_embeddings", None),
            getattr(config, "n_positions", None),
        )
        self.pad_token_id = int(self._tokenizer.pad_token_id or 0)
        ends = {getattr(self._tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
        unknown = {self._tokenizer.unk_token_id} - ends  # any odd character, not a control
        self._control_ids = set(self._tokenizer.all_special_ids) - unknown
        self._start_token_id = getattr(config, "decoder_start_token_id", None)
        if self._encodes and self._start_token_id is None:
            raise ConfigError(
                f"{folder} does not say how answers begin; "
                "set decoder_start_token_id in its config.json"
            )
        parameters = inspect.signature(self._model.forward).parameters
        self._keeps_logits = "logits_to_keep" in parameters
        self._threads_before = self._torch.get_num_threads()

    def tokenize(self, prompt: str) -> list[int]:
        """Return the token ids of a prompt, with the model's own special tokens around it."""
        return list(self._encode(prompt, add_special_tokens=True).ids)

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the span of characters of each token."""
        spans: list[tuple[int, int]] = self._encode(text, add_special_tokens=False).offsets
        return spans

    def control_spans(self, prompt: str, first: int, last: int) -> list[tuple[int, int]]:
        """Return the spans of a prompt within [first, last) that are read as special tokens.

        A tokenizer that looks for the likeliest pieces may find its own `</s>` among them.
        """
        encoding = self._encode(prompt, add_special_tokens=False)
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        return [
            (max(low, first), min(high, last))
            for token_id, (low, high) in spans
            if token_id in self._control_ids and max(low, first) < min(high, last)
        ]

    def answer_tokens(self, words: Sequence[str], side: str) -> dict[int, str]:
        """Return the tokens that say one of the words, with or without a space before it.

        A tokenizer of byte pairs has two tokens for a word, one for its place after a space; which
        of them a causal model means depends on the end of the prompt, so both count. A spelling of
        more than one piece is no candidate, as long as the other one is a single token.

        Raises:
            ConfigError: neither is one token, or it is the unknown token.
        """
        found: dict[int, str] = {}
        unknown = self._tokenizer.unk_token_id
        for word in words:
            splits = {}
            single = {}
            for spelling in (word, f" {word}"):
                encoding = self._encode(spelling, add_special_tokens=False)
                splits[spelling] = list(encoding.tokens)
                if len(encoding.ids) == 1 and encoding.ids[0] != unknown:
                    single[encoding.ids[0]] = encoding.tokens[0]
            if not single:
                pieces = "; ".join(f"{each!r} is {pieces}" for each, pieces in splits.items())
                raise ConfigError(
                    f"the answer {word!r} for {side} must be one token of the model, but {pieces}; "
                    "give another spelling"
                )
            found.update(single)
        return found

    def answer_log_probabilities(
        self,
        token_ids: npt.NDArray[np.int64],
        mask: npt.NDArray[np.int64],
        answers: Sequence[Sequence[int]],
    ) -> npt.NDArray[np.float64]:
        """Return ln P of each answer for each row, shape (rows, len(answers))."""
        torch = self._torch
        with torch.inference_mode():
            logits = self._first_answer_logits(
                torch.from_numpy(token_ids).to(self._model.device),
                torch.from_numpy(mask).to(self._model.device),
            ).double()
            total = logits.logsumexp(dim=-1)
            chosen = [logits[:, list(ids)].logsumexp(dim=-1) - total for ids in answers]
            values: npt.NDArray[np.float64] = torch.stack(chosen, dim=1).cpu().numpy()
        return values

    def enter_worker(self) -> None:
        """Compute on one thread: sums split over threads would depend on how many there are."""
        self._torch.set_num_threads(1)

    def leave(self) -> None:
        """Give the process its threads back."""
        self._torch.set_num_threads(self._threads_before)

    def _first_answer_logits(self, token_ids: Any, mask: Any) -> Any:  # noqa: ANN401 - tensors
        torch = self._torch
        if self._encodes:
            start = torch.full_like(token_ids[:, :1], self._start_token_id)
            output = self._model(
                input_ids=token_ids, attention_mask=mask, decoder_input_ids=start, use_cache=False
            )
            return output.logits[:, 0]
        last = mask.sum(dim=1) - 1
        rows = torch.arange(len(token_ids), device=token_ids.device)
        if not self._keeps_logits:
            output = self._model(input_ids=token_ids, attention_mask=mask, use_cache=False)
            return output.logits[rows, last]
        # the rows end within few positions of each other: logits of all others are not needed
        kept, own = torch.unique(last, return_inverse=True)
        output = self._model(
            input_ids=token_ids, attention_mask=mask, use_cache=False, logits_to_keep=kept
        )
        return output.logits[rows, own]

    def _encode(self, text: str, *, add_special_tokens: bool) -> Any:  # noqa: ANN401 - an Encoding
        try:
            return self._tokenizer.backend_tokenizer.encode(
                text, add_special_tokens=add_special_tokens
            )
        except (TypeError, UnicodeEncodeError) as error:
            raise InputError(
                "texts must be valid Unicode to be scored; one is no text or has a lone surrogate"
            ) from error


def _encodes_and_decodes(folder: Path) -> bool:
    """Return whether the model has an encoder and a decoder, after checking that it can answer."""
    check_model_folder(folder)
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        architectures = [str(each) for each in config.get("architectures") or ()]
        encodes = bool(config.get("is_encoder_decoder", False))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError, TypeError) as error:
        raise ConfigError(f"{file} is not the config of a model: {error}") from error
    if not encodes and not any(each.endswith(_CAUSAL_HEADS) for each in architectures):
        raise ConfigError(
            f"{folder} is no model that answers: expected an encoder-decoder or a causal language "
            f"model, got {', '.join(architectures) or 'no architectures'} in its config.json"
        )
    return encodes


def _load(
    folder: Path, device: str, precision: Precision, *, encodes: bool
) -> tuple[Any, Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError(str(error.name), "pipeline", "Ask-LLM with a model") from error
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if precision not in dtypes:
        raise ConfigError(f"precision must be one of {sorted(dtypes)}, got {precision!r}")
    head: Any = transformers.AutoModelForSeq2SeqLM if encodes else transformers.AutoModelForCausalLM
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        raise ConfigError(f"device {device!r} cannot be used: {_first_line(error)}") from error
    safe = {"trust_remote_code": False, "local_files_only": True}
    try:
        with without_loading_bar():
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **safe)
            model, loading = head.from_pretrained(
                str(folder),
                use_safetensors=True,
                dtype=dtypes[precision],
                output_loading_info=True,
                **safe,
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ConfigError(f"{folder} cannot be loaded: {_first_line(error)}") from error
    if loading["missing_keys"] or loading.get("mismatched_keys"):
        missing = sorted(map(str, loading["missing_keys"] or loading["mismatched_keys"]))
        raise ConfigError(
            f"{folder} lacks weights of its model ({missing[0]}, {len(missing)} in all): "
            "they would be random"
        )
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"{folder} has no tokenizer.json: only tokenizers of that form can be used"
        )
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.encode_special_tokens = True  # those in a document are its text
    return torch, tokenizer, model.to(device).eval()


def _fingerprint(folder: Path) -> str:
    """Return the digest of every file of a model that decides its scores."""
    files = {file for pattern in MODEL_PATTERNS for file in folder.rglob(pattern)}
    return digest_of({str(file.relative_to(folder)): file_sha256(file) for file in files})


def _limit(folder: Path, *limits: object) -> int:
    """Return the least limit that is one: a tokenizer without any says 10^30."""
    real = [int(limit) for limit in limits if isinstance(limit, int) and 0 < limit < 1 << 31]
    if not real:
        raise ConfigError(
            f"{folder} says nowhere how many tokens it reads; set model_max_length in its "
            "tokenizer_config.json"
        )
    return min(real)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

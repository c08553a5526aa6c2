"""Ask-LLM with a model of our own: encoder-decoder or causal, through transformers.

Notation: z = logits at the first answer position, V = vocabulary, Y = tokens that say yes.
ln P(yes) = ln sum_{i in Y} exp z_i - ln sum_{i in V} exp z_i, in float64 whatever the precision of
the model. Only safetensors weights are read, and no code that comes with a model is run.

Special tokens spelled out in a document (`</s>`) are read as its characters or, where a tokenizer
has no such reading, become a space. Documents are padded on the right, where neither a masked
encoder nor a causal model can see it, in batches whose shape depends on the document alone (see
`databourse.encoders.encoder`).

Chat templates are programs that come with a model. transformers renders them in Jinja's immutable
sandbox (`ImmutableSandboxedEnvironment`): they reach neither files nor the network nor attributes
that begin with an underscore; one may still take long. A template never sees a document: it is
rendered once, around a word in the document's place, so no document can change what it does. Within
the chat the signs of the template must be read as such, so those in a document cannot be told apart
by the tokenizer; there they become a space, until none of a document's characters is read as one.
"""

from __future__ import annotations

import datetime as dt
import importlib
import importlib.metadata
import inspect
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from databourse.ask_llm.model_folder import ModelKind, check_folder, find_model, fingerprint
from databourse.ask_llm.prompt import (
    PromptSettings,
    Wrap,
    cut_document,
    prompt_frame,
    without_delimiters,
)
from databourse.ask_llm.results import Cost, Interval, QualityScore
from databourse.encoders.encoder import Batch, BatchPlan, check_threads, padded, plan_batches
from databourse.encoders.model_files import least_limit
from databourse.encoders.silence import one_quiet_load
from databourse.errors import ConfigError, InputError, IntegrityError, MissingExtraError, first_line
from databourse.progress import ProgressReport, silent

Precision = Literal["float32", "bfloat16"]

_REVISION = 1  # of tokenization and scoring: raise it when scores change
_DOCUMENTS_AT_ONCE = 1_024  # scored before the first of them is given out
_CPU_BATCH_TOKENS, _GPU_BATCH_TOKENS = 1_024, 16_384
_LENGTH_MULTIPLE = 8
_DOCUMENT_MARK = "databourse4fe1c2d7document"  # stands for it while a template is rendered
_TEMPLATE_DATE = dt.date(2024, 7, 26)  # what templates are told today is: scores must not change


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
        self._before, self._after = model.frame(prompt)
        frame_tokens = len(model.tokenize(self._before + self._after))
        if frame_tokens + prompt.max_document_tokens > model.max_tokens:
            raise ConfigError(
                f"the prompt takes {frame_tokens} tokens and max_document_tokens is "
                f"{prompt.max_document_tokens}, but the model reads {model.max_tokens}; "
                f"set max_document_tokens to {max(1, model.max_tokens - frame_tokens)} or less"
            )
        self.scorer_id = scorer_identity(
            name,
            model.fingerprint,
            prompt,
            device=model.device_type,
            precision=model.precision,
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
        kept = cut_document(
            clean,
            self._prompt.max_document_tokens,
            token_spans=self._model.token_spans,
            truncate=self._prompt.truncate,
        )
        truncated = kept != clean
        start = len(self._before)
        while True:
            prompt = self._before + kept + self._after
            controls = self._model.control_spans(prompt, start, start + len(kept))
            if controls:
                # parts that the tokenizer reads as its own signs go; what is left may join to more
                spans = [(low - start, high - start) for low, high in controls]
                kept = without_delimiters(_without_spans(kept, spans), self._prompt.delimiter)
                continue
            token_ids = self._model.tokenize(prompt)
            if not kept or len(token_ids) <= self._model.max_tokens:
                return _Prepared(token_ids, truncated)
            # a document may take a token more inside the prompt than by itself
            kept, truncated = kept[:-1], True

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
    place = find_model(name, root=root)
    model = _Model(place.folder, device, precision, prompt.wrap)
    return TransformersScorer(place.label, model, prompt, threads=threads)


def scorer_identity(
    label: str, model_fingerprint: str, prompt: PromptSettings, *, device: str, precision: str
) -> str:
    """Return the scorer_id of a model, which can be known without loading it.

    Which tokens say yes follows from the files and the prompt, so it needs no place of its own.

    Args:
        label: the model's name.
        model_fingerprint: of its files.
        prompt: how it is asked.
        device: a torch device; scores are taken to be the same on all of a kind.
        precision: of weights and activations.

    Raises:
        ConfigError: there is no such precision.
        MissingExtraError: torch is not installed.
    """
    check_precision(precision)
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtraError("torch", "pipeline", "Ask-LLM with a model") from error
    kind_of_device = device.partition(":")[0]
    return (
        f"{label}@{model_fingerprint[:12]}/torch-{version}-{precision}-{kind_of_device}/"
        f"{prompt.digest}/r{_REVISION}"
    )


def check_precision(precision: str) -> None:
    """Pass if a model can be run in a precision, otherwise raise ConfigError."""
    known = get_args(Precision)
    if precision not in known:
        raise ConfigError(f"precision must be one of {sorted(known)}, got {precision!r}")


def check_wrap(kind: ModelKind, wrap: Wrap) -> None:
    """Pass if a model of this kind may be asked in such a wrap, otherwise raise ConfigError."""
    if wrap == "chat_template" and kind == "encoder-decoder":
        raise ConfigError(
            "wrap 'chat_template' is for causal models; an encoder-decoder has no chat: "
            "set wrap to 'plain'"
        )


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

    def __init__(self, folder: Path, device: str, precision: Precision, wrap: Wrap) -> None:
        kind = check_folder(folder)
        check_wrap(kind, wrap)
        check_precision(precision)
        self._encodes = kind == "encoder-decoder"
        self._wrap = wrap
        self._tokenizer = _load_tokenizer(folder)
        self._template = _chat_template(folder, self._tokenizer) if wrap == "chat_template" else ""
        # in a chat the template's own signs are to be read as such, else none is
        self._tokenizer.backend_tokenizer.encode_special_tokens = wrap == "plain"
        self._torch, self._model = _load_model(folder, device, precision, kind)
        config = self._model.config
        self.precision = precision
        self.device_type = str(self._model.device.type)
        self.fingerprint = fingerprint(folder)
        self.max_tokens = least_limit(
            folder,
            self._tokenizer.model_max_length,
            getattr(config, "max_position_embeddings", None),
            getattr(config, "n_positions", None),
        )
        self.pad_token_id = int(self._tokenizer.pad_token_id or 0)
        ends = {getattr(self._tokenizer, f"{end}_token_id") for end in ("bos", "eos", "pad")}
        unknown = {self._tokenizer.unk_token_id} - ends  # any odd character, not a control
        added = self._tokenizer.added_tokens_decoder  # some are special without a name of their own
        special = {token_id for token_id, token in added.items() if token.special}
        self._control_ids = {*self._tokenizer.all_special_ids, *special} - unknown
        self._start_token_id = getattr(config, "decoder_start_token_id", None)
        if self._encodes and self._start_token_id is None:
            raise ConfigError(
                f"{folder} does not say how answers begin; "
                "set decoder_start_token_id in its config.json"
            )
        parameters = inspect.signature(self._model.forward).parameters
        self._keeps_logits = "logits_to_keep" in parameters
        self._threads_before = self._torch.get_num_threads()

    def frame(self, prompt: PromptSettings) -> tuple[str, str]:
        """Return what the model reads before a document, and what after it.

        Raises:
            ConfigError: the chat template cannot be used, or does not repeat the message once.
        """
        before, after = prompt_frame(prompt)
        if self._wrap == "plain":
            return before, after
        message = before + _DOCUMENT_MARK + after
        chat = self._render(message)
        if chat.count(_DOCUMENT_MARK) != 1 or message.strip() not in chat:
            raise ConfigError(
                "the model's chat template must hold the message of the user once and as it is; "
                "this one does not: set wrap to 'plain'"
            )
        before, _, after = chat.partition(_DOCUMENT_MARK)
        self._control_ids |= {
            token_id
            for token_id, token in self._tokenizer.added_tokens_decoder.items()
            # turns may be marked by tokens that are not called special; blank ones are only text
            if token.content.strip() and token.content in self._template + before + after
        }
        return before, after

    def _render(self, message: str) -> str:
        from jinja2 import TemplateError

        try:
            chat = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": message}],
                chat_template=_fixed_date() + self._template,
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,  # where a template knows it: the answer comes first
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise ConfigError(
                f"the model's chat template cannot be rendered: {first_line(error)}; "
                "set wrap to 'plain'"
            ) from error
        return str(chat)

    def tokenize(self, prompt: str) -> list[int]:
        """Return the token ids of a prompt, with the model's own special tokens around it.

        A chat template has written those already.
        """
        return list(self._encode(prompt, add_special_tokens=self._wrap == "plain").ids)

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
        return np.minimum(values, 0.0)  # a sum of all but all of it may round to more than 1

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


def _load_tokenizer(folder: Path) -> Any:  # noqa: ANN401 - transformers' own
    transformers = _import("transformers")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ConfigError(f"{folder} cannot be loaded: {first_line(error)}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"{folder} has no tokenizer.json: only tokenizers of that form can be used"
        )
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _chat_template(folder: Path, tokenizer: Any) -> str:  # noqa: ANN401 - transformers' own
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise ConfigError(
            f"{folder} has no chat template to wrap a prompt in; set wrap to 'plain', or use an "
            "instruction-tuned model that has one"
        ) from error


def _fixed_date() -> str:
    """Return the Jinja of a `strftime_now` that knows one day: that of the sandbox has a clock.

    Its line break belongs to its last tag, so what follows is read as if it stood alone.
    """
    told = "".join(
        f" | replace('%{letter}', '{_TEMPLATE_DATE.strftime(f'%{letter}')}')"
        for letter in "aAbBdeHIjmMpSyY"
    )
    return "{% macro strftime_now(format) %}{{ format" + told + " }}{% endmacro %}\n"


def _load_model(
    folder: Path, device: str, precision: Precision, kind: ModelKind
) -> tuple[Any, Any]:
    torch, transformers = _import("torch"), _import("transformers")
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    heads = {
        "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
        "causal": transformers.AutoModelForCausalLM,
    }
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        raise ConfigError(f"device {device!r} cannot be used: {first_line(error)}") from error
    try:
        with one_quiet_load():
            model, loading = heads[kind].from_pretrained(
                str(folder),
                use_safetensors=True,
                dtype=dtypes[precision],
                output_loading_info=True,
                trust_remote_code=False,
                local_files_only=True,
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ConfigError(f"{folder} cannot be loaded: {first_line(error)}") from error
    if loading["missing_keys"] or loading.get("mismatched_keys"):
        missing = sorted(map(str, loading["missing_keys"] or loading["mismatched_keys"]))
        raise ConfigError(
            f"{folder} lacks weights of its model ({missing[0]}, {len(missing)} in all): "
            "they would be random"
        )
    return torch, model.to(device).eval()


def _import(package: str) -> Any:  # noqa: ANN401 - a module
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(package, "pipeline", "Ask-LLM with a model") from error

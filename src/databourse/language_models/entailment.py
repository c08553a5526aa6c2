"""A judge of meaning that asks a classifier of textual entailment; see `meaning` for its rules.

The classifier is a transformers model for sequence classification of three labels, known by their
names. Only safetensors weights are read, and no code that comes with a model is run.

What it says of two texts may not depend on which others are asked with them: batches have shapes
that depend on the two alone, as in `databourse.encoders.encoder`, each computed by one thread.
"""

from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from databourse.encoders.encoder import Batch, BatchPlan, check_threads, padded, plan_batches
from databourse.encoders.locations import HubId, fetch, locate
from databourse.encoders.model_files import least_limit, on_device
from databourse.encoders.silence import one_quiet_load
from databourse.encoders.torch_backend import MODEL_PATTERNS, check_model_folder
from databourse.errors import ConfigError, InputError, IntegrityError, MissingExtraError, first_line
from databourse.language_models.loading import folder_fingerprint
from databourse.language_models.meaning import (
    LABELS,
    Label,
    Rule,
    check_rule,
    connected_groups,
    may_mean_the_same,
    means_the_same,
    stripped,
)
from databourse.progress import ProgressReport, silent

Reads = Literal["generations", "prompts and generations"]

_REVISION = 1  # of tokenization and batching: raise it when judgements change
_READS: tuple[Reads, ...] = ("generations", "prompts and generations")
_PAIRS_AT_ONCE = 8_192  # bounds the memory of tokens and batches in flight
_CPU_BATCH_TOKENS, _GPU_BATCH_TOKENS = 1_024, 32_768
_LENGTH_MULTIPLE = 8


class Pair(NamedTuple):
    """Two texts: does the premise entail the hypothesis?"""

    premise: str
    hypothesis: str


class EntailmentJudge:
    """A loaded classifier; its groups depend on the texts and `judge_id` alone.

    Attributes:
        judge_id: name, weights, device, rule, what is read: all that decides the groups.
        pairs_asked: how many pairs of texts the classifier has read so far.
    """

    def __init__(self, name: str, model: _Model, *, rule: Rule, reads: Reads, threads: int) -> None:
        check_rule(rule)
        if reads not in _READS:
            raise InputError(f"reads must be one of {', '.join(_READS)}, got {reads!r}")
        self._model, self._rule, self._reads = model, rule, reads
        self._threads = check_threads(threads)
        self.pairs_asked = 0
        self.judge_id = _judge_id(name, model.fingerprint, model.device_type, rule, reads)

    def groups(
        self,
        generations: Sequence[Sequence[str]],
        prompts: Sequence[str],
        *,
        progress: ProgressReport = silent,
    ) -> npt.NDArray[np.int64]:
        """Return the groups of generations; see `meaning.MeaningJudge.groups`.

        Every two distinct texts of a document are asked about in alphabetical order, and the other
        way round where that still decides: up to R(R-1) pairs, each asked once however many
        documents have it.

        Args:
            generations: of n documents, R each.
            prompts: of the documents, put before each generation if the judge reads them.
            progress: told of pairs of texts.

        Raises:
            InputError: as `meaning.MeaningJudge.groups`, or a text is not valid Unicode.
            IntegrityError: the classifier gave a number that is none.
        """
        texts = stripped(generations, prompts)
        n_generations = len(texts[0]) if texts else 0
        same = np.zeros((len(texts), n_generations, n_generations), dtype=np.bool_)
        questions: list[tuple[int, int, int, Pair]] = []
        for document, (row, prompt) in enumerate(zip(texts, prompts, strict=True)):
            first = {text: row.index(text) for text in row}
            for place, text in enumerate(row):
                same[document, first[text], place] = True
            for texts_asked in itertools.combinations(sorted(filter(None, first)), 2):
                pair = Pair(*(self._as_read(prompt, text) for text in texts_asked))
                one, other = (first[text] for text in texts_asked)
                questions.append((document, one, other, pair))
        forward = self._labels_of({pair for *_, pair in questions}, progress)
        open_pairs = {
            pair for pair, label in forward.items() if may_mean_the_same(label, rule=self._rule)
        }
        backward = self._labels_of({_turned(pair) for pair in open_pairs}, progress)
        for document, one, other, pair in questions:
            same[document, one, other] = pair in open_pairs and means_the_same(
                forward[pair], backward[_turned(pair)], rule=self._rule
            )
        return connected_groups(same)

    def labels(self, pairs: Sequence[Pair], *, progress: ProgressReport = silent) -> list[Label]:
        """Return the likeliest label of each pair; of equally likely ones the first of `LABELS`.

        Args:
            pairs: texts that are not empty; the head of a text too long for the model is cut.
            progress: told of the pairs of each batch.

        Raises:
            InputError: a text is not valid Unicode.
            IntegrityError: the classifier gave a number that is none.
        """
        found: list[Label] = []
        try:
            threads = self._threads if self._model.device_type == "cpu" else 1
            with ThreadPoolExecutor(threads, initializer=self._model.enter_worker) as pool:
                for first in range(0, len(pairs), _PAIRS_AT_ONCE):
                    logits = self._logits(pairs[first : first + _PAIRS_AT_ONCE], pool, progress)
                    if not np.isfinite(logits).all():
                        raise IntegrityError(f"{self.judge_id} gave a number that is not finite")
                    found += [LABELS[each] for each in logits.argmax(axis=1)]
        finally:
            self._model.leave()
        self.pairs_asked += len(pairs)
        return found

    def _as_read(self, prompt: str, text: str) -> str:
        return text if self._reads == "generations" else f"{prompt.strip()} {text}".strip()

    def _labels_of(self, pairs: set[Pair], progress: ProgressReport) -> dict[Pair, Label]:
        ordered = sorted(pairs)
        return dict(zip(ordered, self.labels(ordered, progress=progress), strict=True))

    def _logits(
        self, pairs: Sequence[Pair], pool: ThreadPoolExecutor, progress: ProgressReport
    ) -> npt.NDArray[np.float64]:
        """Return the logits of `LABELS`, shape (len(pairs), 3)."""
        tokens = self._model.tokenize(pairs)
        on_cpu = self._model.device_type == "cpu"
        plan = BatchPlan(
            batch_tokens=_CPU_BATCH_TOKENS if on_cpu else _GPU_BATCH_TOKENS,
            length_multiple=_LENGTH_MULTIPLE,
            pad_token_id=self._model.pad_token_id,
        )
        # a token of padding at least: without any the library would take another kernel
        lengths = [len(ids) + 1 for ids, _ in tokens]
        batches = plan_batches(lengths, plan, max_tokens=self._model.max_tokens)
        values = np.empty((len(pairs), len(LABELS)))

        def compute(batch: Batch) -> npt.NDArray[np.float64]:
            own = [tokens[position] for position in batch.positions]
            token_ids, mask = padded([ids for ids, _ in own], batch, plan)
            type_ids, _ = padded([types for _, types in own], batch, plan)
            return self._model.logits(token_ids, mask, type_ids * mask)

        for batch, computed in zip(batches, pool.map(compute, batches), strict=True):
            values[list(batch.positions)] = computed[: len(batch.positions)]
            progress(len(batch.positions))
        return values


def _turned(pair: Pair) -> Pair:
    return Pair(pair.hypothesis, pair.premise)


def load_entailment_judge(
    name: str,
    *,
    rule: Rule,
    reads: Reads = "generations",
    threads: int,
    device: str = "cpu",
    root: Path = Path(),
) -> EntailmentJudge:
    """Return the judge of a name, ready to be asked.

    Args:
        name: a model folder (relative ones start at `root`), or a hub id `owner/name` or
            `owner/name@revision`: a classifier of textual entailment.
        rule: which labels make two texts the same; see `meaning`.
        reads: "prompts and generations" puts the prompt before each generation, as the reference
            implementation does.
        threads: on a CPU, batches computed at a time, >= 1; they change no judgement.
        device: "cpu", or a torch device such as "cuda".
        root: folder of the config.

    Raises:
        InputError: there is no such rule, or `reads` is none of the two.
        UnknownNameError: the name is neither a path nor a hub id.
        ConfigError: it cannot be loaded safely and completely, or its labels are others.
        MissingExtraError: a package is missing.
        TransientError: the hub failed.
    """
    folder, label = _place_of(name, root)
    return EntailmentJudge(label, _Model(folder, device), rule=rule, reads=reads, threads=threads)


def entailment_judge_id(
    name: str,
    *,
    rule: Rule,
    reads: Reads = "generations",
    device: str = "cpu",
    root: Path = Path(),
) -> str:
    """Return the judge_id that `load_entailment_judge` would give, without loading the model.

    Raises:
        UnknownNameError: the name is neither a path nor a hub id.
        ConfigError: there is no such model.
        TransientError: the hub failed.
    """
    folder, label = _place_of(name, root)
    check_model_folder(folder)
    return _judge_id(label, folder_fingerprint(folder), device.partition(":")[0], rule, reads)


def _place_of(name: str, root: Path) -> tuple[Path, str]:
    """Return the folder of a model, fetched if it is on the hub, and what its id begins with."""
    place = locate(name, kind="entailment model", known=(), root=root)
    if isinstance(place, HubId):
        return fetch(place, MODEL_PATTERNS), str(place)
    return place, "local"


def _judge_id(name: str, fingerprint: str, device_type: str, rule: Rule, reads: Reads) -> str:
    version = importlib.metadata.version("torch")
    return (
        f"entailment-{rule}/{reads}/{name}@{fingerprint[:16]}/torch-{version}-{device_type}"
        f"/r{_REVISION}"
    )


class _Model:
    """A classifier with its tokenizer: pairs to tokens, padded tokens to logits."""

    def __init__(self, folder: Path, device: str) -> None:
        check_model_folder(folder)
        self._torch, tokenizer, self._model = _load(folder, device)
        config = self._model.config
        self._places = _label_places(folder, config.id2label)
        self.fingerprint = folder_fingerprint(folder)
        self.device_type = str(self._model.device.type)
        self.pad_token_id = int(tokenizer.pad_token_id or 0)
        self._backend = tokenizer.backend_tokenizer
        self._takes_types = "token_type_ids" in tokenizer.model_input_names
        self.max_tokens = _limit(folder, tokenizer, config)
        # one token less for the padding that every row has
        room = self.max_tokens - 1 - self._backend.num_special_tokens_to_add(True)
        self._most_tokens = room // 2  # of each of the two
        if self._most_tokens < 1:
            raise ConfigError(f"{folder} reads {self.max_tokens} tokens, too few for two texts")
        self._threads_before = self._torch.get_num_threads()

    def tokenize(self, pairs: Sequence[Pair]) -> list[tuple[list[int], list[int]]]:
        """Return ids of tokens and of parts of each pair, special tokens included."""
        return [self._tokenized(pair) for pair in pairs]

    def _tokenized(self, pair: Pair) -> tuple[list[int], list[int]]:
        try:
            parts = [self._backend.encode(text, add_special_tokens=False) for text in pair]
        except (TypeError, UnicodeEncodeError) as error:
            raise InputError(
                "texts must be valid Unicode to be judged; one is no text or has a lone surrogate"
            ) from error
        for part in parts:
            # the end of a text is what was generated
            part.truncate(self._most_tokens, direction="left")
        both = self._backend.post_process(*parts)
        return list(both.ids), list(both.type_ids)

    def logits(
        self,
        token_ids: npt.NDArray[np.int64],
        mask: npt.NDArray[np.int64],
        type_ids: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.float64]:
        """Return the logits of `LABELS` for each row, shape (rows, 3)."""
        torch, device = self._torch, self._model.device
        types = (
            {"token_type_ids": torch.from_numpy(type_ids).to(device)} if self._takes_types else {}
        )
        with torch.inference_mode():
            output = self._model(
                input_ids=torch.from_numpy(token_ids).to(device),
                attention_mask=torch.from_numpy(mask).to(device),
                **types,
            )
            values: npt.NDArray[np.float64] = output.logits.double().cpu().numpy()
        return values[:, self._places]

    def enter_worker(self) -> None:
        """Compute on one thread: sums split over threads would depend on how many there are."""
        self._torch.set_num_threads(1)

    def leave(self) -> None:
        """Give the process its threads back."""
        self._torch.set_num_threads(self._threads_before)


def _label_places(folder: Path, names: dict[int, str]) -> list[int]:
    """Return where the logits of `LABELS` are, by the names that a config gives them."""
    places = []
    for label in LABELS:
        found = [int(place) for place, name in names.items() if name.strip().lower() == label]
        if len(found) != 1:
            raise ConfigError(
                f"{folder} must name its labels {', '.join(LABELS)}, once each, in id2label of its "
                f"config.json; got {', '.join(map(repr, names.values()))}"
            )
        places += found
    return places


def _load(folder: Path, device: str) -> tuple[Any, Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError(str(error.name), "pipeline", "judging by entailment") from error
    safe = {"trust_remote_code": False, "local_files_only": True}
    head: Any = transformers.AutoModelForSequenceClassification
    try:
        with one_quiet_load():
            tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(folder), **safe)
            model, loading = head.from_pretrained(
                str(folder),
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **safe,
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ConfigError(f"{folder} cannot be loaded: {first_line(error)}") from error
    lacking = sorted(map(str, [*loading["missing_keys"], *loading.get("mismatched_keys", ())]))
    if lacking:
        raise ConfigError(
            f"{folder} lacks weights of a classifier ({lacking[0]}, {len(lacking)} in all): "
            "they would be random"
        )
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"{folder} has no tokenizer.json: only tokenizers of that form can be used"
        )
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.encode_special_tokens = True  # those in a text are its text
    return torch, tokenizer, on_device(model, device)


def _limit(folder: Path, tokenizer: Any, config: Any) -> int:  # noqa: ANN401 - transformers' own
    """Return the most tokens of a pair; models of the RoBERTa family count positions from 2."""
    limit = getattr(config, "max_position_embeddings", None)
    return least_limit(
        folder, tokenizer.model_max_length, limit - 2 if isinstance(limit, int) else None
    )

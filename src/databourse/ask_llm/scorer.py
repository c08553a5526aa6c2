"""One way to ask, whether a model of our own answers or an endpoint.

Exactly one of the two is named. The default prompt is the paper's for an encoder-decoder, as the
paper's scorers are; our choice for a causal model and for an endpoint, behind which there hardly
ever is another kind, is the prompt with its options on one line and a cue.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from databourse.ask_llm.endpoint_backend import score_through_endpoint
from databourse.ask_llm.endpoint_settings import EndpointSettings
from databourse.ask_llm.model_folder import (
    ModelKind,
    check_folder,
    count_parameters,
    find_model,
    find_model_config,
    fingerprint,
    has_chat_template,
    kind_of_model,
    locate_model,
)
from databourse.ask_llm.pending import pending_documents
from databourse.ask_llm.prompt import CAUSAL_PROMPT, PAPER_PROMPT, PromptSettings
from databourse.ask_llm.results import QualityScore, ScoreFailure
from databourse.ask_llm.transformers_backend import (
    Precision,
    TransformersScorer,
    check_precision,
    check_wrap,
    load_scorer,
    scorer_identity,
)
from databourse.encoders.locations import HubId
from databourse.errors import ConfigError, MissingExtraError
from databourse.progress import ProgressReport, silent


class Scorer(Protocol):
    """Answers for documents; a score depends on its document and the scorer_id alone.

    An endpoint may change behind its name, which nothing here can see.
    """

    @property
    def scorer_id(self) -> str:
        """Return all that decides the scores."""

    def score(
        self,
        documents: Iterable[tuple[str, str]],
        *,
        already_scored: AbstractSet[str],
        rng: np.random.Generator,
        progress: ProgressReport = silent,
    ) -> Iterator[QualityScore | ScoreFailure]:
        """Yield one outcome for each document without a score, in an order of its own.

        What was yielded is done: stop where you like, and go on with its ids in `already_scored`.

        Args:
            documents: document_id and text, read as needed.
            already_scored: ids to leave out.
            rng: draws the waits of an endpoint; changes no score.
            progress: told of each document.

        Raises:
            InputError: an id comes twice, or a model of our own meets a text that is not Unicode.
            DatabourseError: as `load_scorer` and `score_through_endpoint`.
        """


def open_scorer(
    *,
    model: str | None,
    endpoint: EndpointSettings | None,
    prompt: PromptSettings,
    device: str,
    precision: Precision,
    threads: int,
    root: Path,
) -> Scorer:
    """Return what answers, ready to answer: loads the model, or reads the key of the endpoint.

    Args:
        model: a model folder (relative ones start at `root`) or a hub id; None for an endpoint.
        endpoint: what is asked; None for a model.
        prompt: how it is asked, see `default_prompt`.
        device: "cpu", or a torch device such as "cuda"; of a model.
        precision: of a model.
        threads: of a model on a CPU, >= 1; they change no score.
        root: folder of the config.

    Raises:
        ConfigError: both or neither are named, or what is named cannot be used.
        DatabourseError: as `load_scorer`.
    """
    named = _named(model, endpoint)
    if isinstance(named, EndpointSettings):
        named.check_prompt(prompt)
        named.read_key()
        return _EndpointScorer(named, prompt)
    return _LocalScorer(
        load_scorer(named, prompt, threads=threads, device=device, precision=precision, root=root)
    )


def scorer_id(
    *,
    model: str | None,
    endpoint: EndpointSettings | None,
    prompt: PromptSettings,
    device: str,
    precision: Precision,
    root: Path,
) -> str:
    """Return the scorer_id that `open_scorer` would have, without loading or asking anything.

    The files of a model are hashed, once in the life of a process; one of a hub is downloaded if it
    is not here yet.

    Raises:
        ConfigError: both or neither are named, or the model cannot be had.
        DatabourseError: as `find_model`.
    """
    named = _named(model, endpoint)
    if isinstance(named, EndpointSettings):
        return named.scorer_id(prompt)
    place = find_model(named, root=root)
    return scorer_identity(
        place.label, fingerprint(place.folder), prompt, device=device, precision=precision
    )


def default_prompt(
    *, model: str | None, endpoint: EndpointSettings | None, root: Path
) -> PromptSettings:
    """Return the prompt for a kind of model, see the module.

    The config.json of a model of a hub is downloaded if it is not here yet.

    Raises:
        ConfigError: both or neither are named, or the model is of neither kind.
        DatabourseError: as `find_model`.
    """
    named = _named(model, endpoint)
    if isinstance(named, EndpointSettings):
        return CAUSAL_PROMPT
    return _DEFAULT_PROMPTS[kind_of_model(find_model_config(named, root=root))]


def check_scorer(
    *,
    model: str | None,
    endpoint: EndpointSettings | None,
    prompt: PromptSettings | None,
    precision: Precision,
    root: Path,
) -> str:
    """Return in one line what would answer, after checking all that can be without trying it.

    Nothing is loaded, downloaded or asked: of a hub id the form alone is checked, of a folder its
    config, the size of its weights and whether it has a chat template if one is wanted, of an
    endpoint its key.

    Args:
        model: as in `open_scorer`.
        endpoint: as in `open_scorer`.
        prompt: None is the default for what is named, whatever that is.
        precision: as in `open_scorer`.
        root: folder of the config.

    Raises:
        ConfigError: both or neither are named, or what is named cannot be used.
        MissingExtraError: a package is missing.
    """
    named = _named(model, endpoint)
    if isinstance(named, EndpointSettings):
        return _checked_endpoint(named, prompt)
    for package in ("torch", "transformers"):
        _check_installed(package, "Ask-LLM with a model")
    check_precision(precision)
    place = locate_model(named, root=root)
    if isinstance(place, HubId):
        return f"model {place} of the hub, not yet looked at"
    return _checked_folder(place, prompt)


_DEFAULT_PROMPTS: dict[ModelKind, PromptSettings] = {
    "encoder-decoder": PAPER_PROMPT,
    "causal": CAUSAL_PROMPT,
}


@dataclass(frozen=True)
class _LocalScorer:
    """A model of our own."""

    loaded: TransformersScorer

    @property
    def scorer_id(self) -> str:
        return self.loaded.scorer_id

    def score(
        self,
        documents: Iterable[tuple[str, str]],
        *,
        already_scored: AbstractSet[str],
        rng: np.random.Generator,  # noqa: ARG002 - it never waits
        progress: ProgressReport = silent,
    ) -> Iterator[QualityScore | ScoreFailure]:
        return self.loaded.score(pending_documents(documents, already_scored), progress=progress)


@dataclass(frozen=True)
class _EndpointScorer:
    """An endpoint; each call opens connections of its own."""

    endpoint: EndpointSettings
    prompt: PromptSettings

    @property
    def scorer_id(self) -> str:
        return self.endpoint.scorer_id(self.prompt)

    def score(
        self,
        documents: Iterable[tuple[str, str]],
        *,
        already_scored: AbstractSet[str],
        rng: np.random.Generator,
        progress: ProgressReport = silent,
    ) -> Iterator[QualityScore | ScoreFailure]:
        return score_through_endpoint(
            documents,
            prompt=self.prompt,
            endpoint=self.endpoint,
            rng=rng,
            already_scored=already_scored,
            progress=progress,
        )


def _named(model: str | None, endpoint: EndpointSettings | None) -> str | EndpointSettings:
    if model is not None and endpoint is not None:
        raise ConfigError(
            f"Ask-LLM asks either a model or an endpoint, got model {model!r} and the endpoint "
            f"{endpoint.base_url}; leave one out"
        )
    named = endpoint if model is None else model
    if named is None:
        raise ConfigError("Ask-LLM asks either a model or an endpoint, got neither; name one")
    return named


def _checked_endpoint(endpoint: EndpointSettings, prompt: PromptSettings | None) -> str:
    _check_installed("httpx", "Ask-LLM through an endpoint")
    if prompt is not None:
        endpoint.check_prompt(prompt)
    endpoint.read_key()
    key = endpoint.api_key_variable
    return (
        f"endpoint {endpoint.base_url} (model {endpoint.model!r}, api {endpoint.api!r}, "
        f"{f'key from {key}' if key else 'no key'})"
    )


def _checked_folder(folder: Path, prompt: PromptSettings | None) -> str:
    kind = check_folder(folder)
    if prompt is not None:
        check_wrap(kind, prompt.wrap)
        if prompt.wrap == "chat_template" and not has_chat_template(folder):
            raise ConfigError(
                f"{folder} has no chat template to wrap a prompt in; set wrap to 'plain', or use "
                "an instruction-tuned model that has one"
            )
    return f"local model {folder} ({kind}, {_rounded(count_parameters(folder))} parameters)"


def _rounded(count: int) -> str:
    """Return a count with three digits and K, M or B, as models are named."""
    for scale, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= scale:
            return f"{float(f'{count / scale:.3g}'):g}{letter}"
    return str(count)


def _check_installed(package: str, purpose: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(package, "pipeline", purpose)

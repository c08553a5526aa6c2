"""From the words of the config to the things that stages work with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from databourse.config import RefreshConfig
from databourse.config_models import REFERENCE
from databourse.config_sources import FilesConfig
from databourse.errors import InputError, UnknownNameError
from databourse.market.board import Board
from databourse.market.clearing import Liquidity
from databourse.market.liquidity import EffectiveShare
from databourse.market.lmsr import FloatArray
from databourse.market.masses import PowerMass, TopicMass
from databourse.market.pooling import FixedOrders, RiskAverse, Traders
from databourse.market.standardisation import IntArray
from databourse.refresh.context import RunContext
from databourse.selection.limits import GroupLimits, group_limits
from databourse.signals.registry import parse_signal
from databourse.signals.specification import Need, SignalParameters, SignalSpec

if TYPE_CHECKING:  # sources, encoders and tokenizers load much that pricing does without
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from databourse.encoders import Encoder
    from databourse.sources import Source
    from databourse.tokenization import Tokenizer


def open_configured_source(config: RefreshConfig, source: FilesConfig, root: Path) -> Source:
    """Return what a section of the config says to read, its files found and allowed."""
    from databourse.sources import open_source

    return open_source(root=root, data_roots=config.data_roots, **source.model_dump())


def configured_signing_key(config: RefreshConfig, root: Path) -> Ed25519PrivateKey | None:
    """Return the key that signs manifests: of the config's file, of the environment, or none.

    Raises:
        ConfigError: there is a file or variable, and it holds no ed25519 private key.
    """
    from databourse.manifests.signatures import SIGNING_KEY_VARIABLE, key_file, private_key

    if config.manifest.signing_key is not None:
        path = root / config.manifest.signing_key
        return private_key(key_file(path), str(path))
    pem = os.environ.get(SIGNING_KEY_VARIABLE)
    return private_key(pem.encode("utf-8"), f"${SIGNING_KEY_VARIABLE}") if pem else None


def source_named(run: RunContext, name: str) -> tuple[int, Source]:
    """Return the position of a source in the config, and the source."""
    names = [source.name for source in run.config.sources]
    if name not in names:
        raise UnknownNameError("source", name, names, where="the config")
    rank = names.index(name)
    return rank, open_configured_source(run.config, run.config.sources[rank], Path(run.root))


@dataclass(frozen=True)
class ConfiguredSignal:
    """A signal of the registry with the parameters that the config gives it."""

    spec: SignalSpec[SignalParameters]
    parameters: SignalParameters

    @property
    def needs(self) -> frozenset[Need]:
        """Return what must be there before it is computed."""
        return self.spec.needs_of(self.parameters)


def configured_signals(config: RefreshConfig) -> list[ConfiguredSignal]:
    """Return the signals of the config, in its order."""
    return [ConfiguredSignal(*parse_signal(entry)) for entry in config.signals]


def configured_signal(config: RefreshConfig, name: str) -> ConfiguredSignal:
    """Return the signal of a name."""
    return next(each for each in configured_signals(config) if each.spec.name == name)


def signal_names(config: RefreshConfig) -> list[str]:
    """Return the names of the config's signals, in its order."""
    return [signal.spec.name for signal in configured_signals(config)]


def neighbours_needed(config: RefreshConfig) -> int:
    """Return the largest number of neighbours that a signal looks at; 0 if none does."""
    looking = [each for each in configured_signals(config) if "neighbours" in each.needs]
    return max((int(getattr(each.parameters, "k", 0)) for each in looking), default=0)


def all_needs(config: RefreshConfig) -> frozenset[Need]:
    """Return what any signal of the config needs."""
    return frozenset(need for signal in configured_signals(config) for need in signal.needs)


@dataclass(frozen=True)
class ModelWork:
    """What language models must do for the signals of a config.

    Attributes:
        trains: the reference model is trained first.
        scores: tokens are scored.
        generates: continuations are sampled.
        asks: a model is asked about quality.
        derives: gradients of documents are taken, of few or of all.
        measures: those of all documents are kept.
        steps: Adam's steps on all documents are kept.
        retrains: a proxy is retrained on random subsets.
    """

    trains: bool
    scores: bool
    generates: bool
    asks: bool
    derives: bool
    measures: bool
    steps: bool
    retrains: bool


def model_work(config: RefreshConfig) -> ModelWork:
    """Return what the signals of a config ask of language models."""
    needs = all_needs(config)
    scores = bool(needs & {"text_losses", "completion_losses", "conditioned_losses"})
    generates = "generations" in needs
    derives = bool(needs & {"influence_of", "gradients", "steps"})
    return ModelWork(
        trains=(scores or generates or derives) and config.language_model.name == REFERENCE,
        scores=scores,
        generates=generates,
        asks="answers" in needs,
        derives=derives,
        measures="gradients" in needs,
        steps="steps" in needs,
        retrains="retrainings" in needs,
    )


def trader_weights(config: RefreshConfig) -> dict[str, float]:
    """Return each trader's weight as configured, not yet normalised.

    Raises:
        InputError: the config leaves them to settlements; see `as_settled`.
    """
    names = signal_names(config)
    weights = config.market.weights
    if weights == "equal":
        return dict.fromkeys(names, 1.0)
    if weights == "settled":
        raise InputError("weights that are settled must be looked up in the warehouse first")
    return {name: weights[name] for name in names}


def market_liquidity(config: RefreshConfig, topics: Sequence[str]) -> Liquidity:
    """Return the liquidity as the market takes it.

    Raises:
        UnknownNameError: an exception is made for a topic that is not there.
        InputError: the config leaves it to settlements; see `as_settled`.
    """
    liquidity = config.market.liquidity
    if isinstance(liquidity, str):
        raise InputError("liquidity that is settled must be looked up in the warehouse first")
    for topic in liquidity.by_topic:
        if topic not in topics:
            raise UnknownNameError("topic", topic, topics, where="market.liquidity.by_topic")

    def maker(number: float) -> float | EffectiveShare:
        return number if liquidity.shares is not None else EffectiveShare(number)

    usual = float(liquidity.shares or liquidity.effective_share or 0)
    if not liquidity.by_topic:
        return maker(usual)
    return tuple(maker(liquidity.by_topic.get(topic, usual)) for topic in topics)


def market_traders(config: RefreshConfig) -> Traders:
    """Return how traders turn signals into orders; positions go by name of trader."""
    traders = config.market.traders
    if isinstance(traders, str):
        return FixedOrders()
    names = signal_names(config)
    in_order = sorted(names)
    return RiskAverse(
        risk_aversion=traders.risk_aversion,
        confidence=traders.confidence,
        order=tuple(in_order.index(name) for name in traders.order or names),
    )


def document_prior(config: RefreshConfig, board: Board) -> FloatArray | None:
    """Return the weight of each document before anyone trades, shape (n,); None if equal."""
    prior = config.market.prior
    if prior == "uniform":
        return None
    if isinstance(prior, str):
        return board.tokens.astype(np.float64)
    by_source = np.array([prior.sources.get(source, 1.0) for source in board.sources])
    weights: FloatArray = by_source[board.source_index]
    return weights


def selection_limits(
    config: RefreshConfig, board: Board, *, costs: IntArray, budget: int
) -> tuple[GroupLimits, ...]:
    """Return the floors and caps of topics and sources that the config sets, if any.

    Raises:
        UnknownNameError: a limit names a topic or source that has no candidates.
        InputError: a floor by name asks for more than the group holds.
    """
    chosen = config.selection
    ways = (
        ("topic", board.topics, board.topic_index, chosen.topic_floor, chosen.topic_cap),
        ("source", board.sources, board.source_index, chosen.source_floor, chosen.source_cap),
    )
    return tuple(
        group_limits(
            kind=kind,
            names=names,
            group_index=group_index,
            costs=costs,
            budget=budget,
            floor=floor,
            cap=cap,
        )
        for kind, names, group_index, floor, cap in ways
        if floor or cap
    )


def market_topic_mass(config: RefreshConfig) -> TopicMass:
    """Return the rule of topic masses as the market takes it."""
    mass = config.market.topic_mass
    return mass if isinstance(mass, str) else PowerMass(mass.power)


def tokenizer_of(run: RunContext) -> Tokenizer:
    """Return the tokenizer of a run, loaded."""
    from databourse.tokenization import load_tokenizer

    return load_tokenizer(run.config.tokenizer, root=Path(run.root))


def encoder_of(run: RunContext) -> Encoder:
    """Return the encoder of a run, loaded; what it converts is cached in the warehouse."""
    from databourse.encoders import load_encoder

    return load_encoder(
        run.config.encoder,
        root=Path(run.root),
        cache_dir=run.warehouse_path / "models",
        threads=run.config.compute.threads,
        device=run.config.compute.device,
    )

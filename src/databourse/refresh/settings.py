"""From the words of the config to the things that stages work with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from databourse.config import RefreshConfig, SourceConfig
from databourse.encoders import Encoder, load_encoder
from databourse.errors import UnknownNameError
from databourse.market.liquidity import EffectiveShare
from databourse.market.masses import PowerMass, TopicMass
from databourse.refresh.context import RunContext
from databourse.signals.registry import parse_signal
from databourse.signals.specification import SignalParameters, SignalSpec
from databourse.sources import Source, open_source
from databourse.tokenization import Tokenizer, load_tokenizer


def open_configured_source(config: RefreshConfig, source: SourceConfig, root: Path) -> Source:
    """Return a source of the config, its files found and allowed."""
    return open_source(root=root, data_roots=config.data_roots, **source.model_dump())


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
    looking = [each for each in configured_signals(config) if "neighbours" in each.spec.needs]
    return max((int(getattr(each.parameters, "k", 0)) for each in looking), default=0)


def trader_weights(config: RefreshConfig) -> dict[str, float]:
    """Return each trader's weight as configured, not yet normalised."""
    names = signal_names(config)
    weights = config.market.weights
    return dict.fromkeys(names, 1.0) if weights == "equal" else {k: weights[k] for k in names}


def market_liquidity(config: RefreshConfig) -> float | EffectiveShare:
    """Return the liquidity as the market takes it."""
    liquidity = config.market.liquidity
    if liquidity.shares is not None:
        return liquidity.shares
    return EffectiveShare(float(liquidity.effective_share or 0))


def market_topic_mass(config: RefreshConfig) -> TopicMass:
    """Return the rule of topic masses as the market takes it."""
    mass = config.market.topic_mass
    return mass if isinstance(mass, str) else PowerMass(mass.power)


def tokenizer_of(run: RunContext) -> Tokenizer:
    """Return the tokenizer of a run, loaded."""
    return load_tokenizer(run.config.tokenizer, root=Path(run.root))


def encoder_of(run: RunContext) -> Encoder:
    """Return the encoder of a run, loaded; what it converts is cached in the warehouse."""
    return load_encoder(
        run.config.encoder,
        root=Path(run.root),
        cache_dir=run.warehouse_path / "models",
        threads=run.config.compute.threads,
        device=run.config.compute.device,
    )

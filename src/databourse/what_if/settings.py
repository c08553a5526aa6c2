"""From the words of a what-if to overrides of the config."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from databourse.config import LiquidityConfig, RefreshConfig, load_config
from databourse.errors import ConfigError, UnknownNameError
from databourse.refresh.settings import signal_names, trader_weights
from databourse.refresh.standing_wealth import SETTLED, as_settled, published_wealth


@dataclass(frozen=True)
class Changes:
    """What to try instead of the config; None leaves what the config says.

    Floors and caps are a number, or shares of the budget by name.
    """

    budget: tuple[str, float] | None = None
    """Kind (tokens, documents, share) and amount."""
    liquidity: tuple[str, float] | None = None
    """Kind (shares, effective_share) and amount; the same for every topic."""
    length_bias: float | None = None
    topic_mass: str | None = None
    method: str | None = None
    rule: str | None = None
    diversity: float | None = None
    limits: Mapping[str, float | Mapping[str, float]] = field(default_factory=dict)
    """topic_floor, topic_cap, source_floor, source_cap."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Trader to weight; the others keep theirs."""
    without: Sequence[str] = ()
    """Traders that stay out."""


def changed_config(path: Path, overrides: Sequence[str], changes: Changes) -> RefreshConfig:
    """Return the config in a file with overrides and changes applied.

    Args:
        path: the YAML file.
        overrides: `key=value` pairs.
        changes: applied after the overrides.

    Raises:
        UnknownNameError: a trader is not one of the config's.
        ConfigError: no trader would be left, or a value is wrong.
    """
    settings = [*overrides, *market_overrides(changes)]
    config = load_config(path, settings)
    if not changes.weights and not changes.without:
        return config
    return load_config(path, [*settings, *_settled_overrides(path, config, changes)])


def _settled_overrides(path: Path, config: RefreshConfig, changes: Changes) -> list[str]:
    """Return who trades under the changes; wealth that a settlement left is written out."""
    warehouse_root = (path.resolve().parent / config.warehouse).resolve()
    standing = published_wealth(warehouse_root, config.pool)
    if config.market.weights != SETTLED:
        return trader_overrides(changes, config)
    if standing is None:
        market = config.market.model_copy(update={"weights": "equal"})
        return trader_overrides(changes, config.model_copy(update={"market": market}))
    settled = as_settled(config, standing)
    found = trader_overrides(changes, settled)
    liquidity = settled.market.liquidity
    if config.market.liquidity == "auto" and isinstance(liquidity, LiquidityConfig):
        pinned = liquidity.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        found += _overrides({"market.liquidity": pinned})
    return found


def market_overrides(changes: Changes) -> list[str]:
    """Return the changes that do not speak of traders as `key=value` overrides."""
    choices: dict[str, object] = {
        "selection.length_bias": changes.length_bias,
        "market.topic_mass": changes.topic_mass,
        "selection.method": changes.method,
        "selection.rule": changes.rule,
        "selection.diversity": changes.diversity,
        **{f"selection.{key}": value for key, value in changes.limits.items()},
    }
    if changes.budget is not None:
        choices["budget"] = dict([changes.budget])
    if changes.liquidity is not None:
        choices["market.liquidity"] = dict([changes.liquidity])
    return _overrides(choices)


def trader_overrides(changes: Changes, config: RefreshConfig) -> list[str]:
    """Return who trades and with which weight as `key=value` overrides of a config.

    Raises:
        UnknownNameError: a trader is not one of the config's.
        ConfigError: no trader would be left, or one is both weighted and left out.
    """
    names = signal_names(config)
    for name in (*changes.weights, *changes.without):
        if name not in names:
            raise UnknownNameError("signal", name, names, where="the config")
    left = [name for name in names if name not in changes.without]
    if not left:
        raise ConfigError("no signal is left to trade; leave at least one in")
    both = sorted(set(changes.weights) & set(changes.without))
    if both:
        raise ConfigError(f"signal {both[0]!r} is given a weight and left out; choose one")
    entries = [
        entry
        for name, entry in zip(names, config.signals, strict=True)
        if name not in changes.without
    ]
    result: dict[str, object] = {"signals": entries}
    if changes.weights or config.market.weights != "equal":
        weights = {**trader_weights(config), **changes.weights}
        result["market.weights"] = {name: weights[name] for name in left}
    traders = config.market.traders
    if not isinstance(traders, str) and traders.order is not None:
        result["market.traders.order"] = [name for name in traders.order if name in left]
    return _overrides(result)


def _overrides(choices: Mapping[str, object]) -> list[str]:
    return [f"{key}={_yaml(value)}" for key, value in choices.items() if value is not None]


def _yaml(value: object) -> str:
    """Return a value as YAML on one line. JSON is not it: YAML reads 1e-05 as text."""
    text = yaml.safe_dump(value, default_flow_style=True, width=sys.maxsize, allow_unicode=False)
    return text.removesuffix("...\n").rstrip("\n")

"""The wealth that a pool's last settlement left, as the next market trades with it.

The tables hold every settlement; a file beside them holds the last one, so that a what-if reads it
without waiting for a refresh that holds the tables. The file is written again from the tables
whenever it says something else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from databourse.config import USUAL_LIQUIDITY, LiquidityConfig, RefreshConfig
from databourse.errors import IntegrityError
from databourse.refresh.settings import signal_names
from databourse.warehouse.store import Warehouse

FOLDER = "wealth"
SETTLED = "settled"
"""`market.weights` of a config that leaves them to settlements."""


@dataclass(frozen=True)
class StandingWealth:
    """What the last settlement of a pool left.

    Attributes:
        settlement_id: of the settlement.
        weights: trader to weight, >= 0, not all 0.
        shares: liquidity, LMSR b > 0, at which their orders are as large as contracts bore; None
            where nobody earned.
    """

    settlement_id: str
    weights: dict[str, float]
    shares: float | None


def standing_wealth(warehouse: Warehouse, pool: str) -> StandingWealth | None:
    """Return what the last settlement of a pool left; None before the first."""
    rows = warehouse.rows("stg_pool__wealth", {"pool": pool}).to_pylist()
    last = [row for row in rows if row["settlement_id"] == rows[0]["settlement_id"]]
    if not last:
        return None
    column = "fitted_weight" if last[0]["weights"] == "regression" else "wealth"
    weights = {row["trader"]: row[column] for row in last}
    return StandingWealth(last[0]["settlement_id"], weights, last[0]["liquidity"])


def publish_wealth(warehouse: Warehouse, pool: str) -> StandingWealth | None:
    """Return what the last settlement left, and make the file beside the tables say so."""
    standing = standing_wealth(warehouse, pool)
    if standing is None:
        return None
    path = _path(warehouse.root, pool)
    text = json.dumps(asdict(standing), indent=1, sort_keys=True) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_suffix(f".{os.getpid()}.staging")
        staging.write_text(text, encoding="utf-8")
        staging.replace(path)
    return standing


def published_wealth(warehouse_root: Path, pool: str) -> StandingWealth | None:
    """Return what the file beside the tables says; None before the first settlement.

    Raises:
        IntegrityError: the file is damaged.
    """
    path = _path(warehouse_root, pool)
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        weights = {str(trader): float(weight) for trader, weight in found["weights"].items()}
        shares = None if found["shares"] is None else float(found["shares"])
        return StandingWealth(str(found["settlement_id"]), weights, shares)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"{path} is damaged ({type(error).__name__}: {error}); remove it, and the next refresh "
            "or settlement writes it again"
        ) from None


def as_settled(config: RefreshConfig, standing: StandingWealth | None) -> RefreshConfig:
    """Return a config with every weight and the liquidity, where it leaves them to settlements.

    Args:
        config: any; what it sets itself stays as it is.
        standing: of its pool.
    """
    market = config.market
    is_settled = market.weights == SETTLED
    found: dict[str, object] = {}
    if is_settled:
        names = signal_names(config)
        found["weights"] = (
            dict.fromkeys(names, 1.0) if standing is None else shared_out(standing.weights, names)
        )
    if market.liquidity == "auto":
        fitted = standing.shares if is_settled and standing is not None else None
        found["liquidity"] = USUAL_LIQUIDITY if fitted is None else LiquidityConfig(shares=fitted)
    if not found:
        return config
    return config.model_copy(update={"market": market.model_copy(update=found)})


def shared_out(wealth: Mapping[str, float], traders: Sequence[str]) -> dict[str, float]:
    """Return the weight of each trader, sum 1, where some are new and others have left.

    A trader that the settlement did not know gets an even share, 1 / traders; the others divide
    the rest as they own. Where none of them owns anything, all have the same.

    Args:
        wealth: >= 0, of the traders of the settlement.
        traders: of the market, distinct.
    """
    even = 1 / len(traders)
    known = {name: wealth[name] for name in traders if name in wealth}
    total = sum(known.values())
    if total <= 0:
        return dict.fromkeys(traders, even)
    rest = even * len(known)
    return {name: rest * known[name] / total if name in known else even for name in traders}


def _path(warehouse_root: Path, pool: str) -> Path:
    return warehouse_root / FOLDER / f"{pool}.json"

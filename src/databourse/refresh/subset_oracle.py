"""The oracle that retrains: what documents are worth among what a budget buys.

Random markets of the last refresh's signals buy at the budget of the config, a proxy is trained on
each pick for as many tokens, and `databourse.settlement.random_markets` says what its losses on the
oracle's examples tell of documents. Every training is stored as it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from databourse.attribution.bank import drawn_examples
from databourse.attribution.retraining import LinearRetraining, Retraining
from databourse.errors import ConfigError
from databourse.influence.datamodels import subset_key
from databourse.market.board import Board
from databourse.market.lmsr import FloatArray
from databourse.market.standardisation import standardise_within_topics
from databourse.progress import ProgressReport
from databourse.refresh.context import RunContext
from databourse.refresh.reference_model import pool_texts
from databourse.refresh.retraining_bank import RetrainingBank, stored_losses, train_missing
from databourse.refresh.retraining_proxies import causal_retraining
from databourse.seeds import stage_rng, stage_seed
from databourse.selection.greedy import costs_within
from databourse.settlement.random_markets import (
    DocumentWorth,
    random_market_picks,
    worth_of_documents,
)
from databourse.signals.influence import known_examples
from databourse.signals.inputs import SignalInputs, required
from databourse.signals.labels import NO_LABEL, label_codes
from databourse.targets import TargetSet
from databourse.warehouse.store import Warehouse


@dataclass(frozen=True, eq=False)
class RetrainedMarkets:
    """Utilities of all documents by retraining on what random markets buy.

    Attributes:
        warehouse: that keeps the bank.
        run: the refresh, with the config of now.
        board: of its market.
        retraining: the proxy, and the examples it is measured on.
        sets: size of each set of examples, in order.
        bank_id: digest of what decides the loss of a model that was trained on a pick.
        remarks: filled by `utilities`: how many markets, and by target what they explain.
    """

    warehouse: Warehouse
    run: RunContext
    board: Board
    retraining: Retraining
    sets: tuple[int, ...]
    bank_id: str
    remarks: dict[str, Any] = field(default_factory=dict)

    def utilities(self, advance: ProgressReport) -> FloatArray:
        """Return the worth of every document, shape (n,): a mean over targets in units of spread.

        Raises:
            ConfigError: the budget buys no document.
            InputError: a pick cannot be trained on.
        """
        config = self.run.config
        chosen, budget = config.settlement.subsets, config.budget
        values = np.stack(list(self.board.signals.values()), axis=1)
        scores = standardise_within_topics(values, self.board.topic_index).scores
        costs, amount = costs_within(self.board.tokens, budget.kind, budget.amount)
        seed = stage_seed(config.seed, "random markets")
        picks = random_market_picks(
            scores,
            costs,
            budget=min(amount, int(costs.sum())),
            n_markets=chosen.markets,
            heat=chosen.heat,
            least_share=chosen.least_share,
            length_bias=config.selection.length_bias,
            rng=stage_rng(config.seed, "random markets"),
        )
        bank = RetrainingBank(self.bank_id, self.retraining, sum(self.sets))
        train_missing(
            self.warehouse,
            bank,
            [(pick, seed) for pick in picks],
            at_a_time=config.compute.threads if _on_cpu(self) else 1,
            advance=advance,
        )
        stored = stored_losses(self.warehouse, bank)
        losses = np.stack([stored[subset_key(pick, seed)] for pick in picks])
        ends = np.cumsum(self.sets)
        found = [
            worth_of_documents(picks, part.mean(axis=1), scores=scores, costs=costs)
            for part in np.split(losses, ends[:-1], axis=1)
        ]
        self.remarks["markets"] = len(picks)
        self.remarks["explained"] = [each.explained for each in found]
        self.remarks["signal_share"] = [each.signal_share for each in found]
        self.remarks["token_value"] = [each.token_value for each in found]
        return _mixed(found)


def _on_cpu(markets: RetrainedMarkets) -> bool:
    return markets.retraining.draws and markets.run.config.compute.device == "cpu"


def _mixed(found: Sequence[DocumentWorth]) -> FloatArray:
    """Return the mean over targets of worth in units of its spread."""
    spreads = [float(each.values.std()) or 1.0 for each in found]
    mixed = [each.values / spread for each, spread in zip(found, spreads, strict=True)]
    values: FloatArray = np.mean(mixed, axis=0)
    return values


def linear_markets(inputs: SignalInputs, *, l2: float) -> tuple[LinearRetraining, tuple[int, ...]]:
    """Return the softmax regression as what is retrained, and the sizes of its sets of examples.

    Raises:
        InputError: labels or examples are missing.
    """
    labels = required(inputs.labels, "labels")
    codes = label_codes(labels)
    examples = known_examples(required(inputs.targets, "targets"), labels, codes)
    retraining = LinearRetraining(
        embeddings=required(inputs.embeddings, "embeddings"),
        label_index=codes,
        example_embeddings=np.concatenate([rows for rows, _ in examples]),
        example_labels=np.concatenate([own for _, own in examples]),
        n_classes=int(codes.max(initial=NO_LABEL)) + 1,
        l2=l2,
    )
    return retraining, tuple(len(own) for _, own in examples)


def causal_markets(
    warehouse: Warehouse, run: RunContext, documents: pa.Table, targets: Sequence[TargetSet]
) -> tuple[Retraining, tuple[int, ...]]:
    """Return the causal transformer as what is retrained, and the sizes of its sets of examples.

    It is trained as a comparison trains on a pick: in the same steps, for as many tokens as
    `compare.causal_lm.epochs` epochs of the budget have. What is worth buying depends on that: a
    model of fewer and larger steps, still learning the commonest words, wants other documents.

    Raises:
        ConfigError: a target has no example with a completion to score.
    """
    config = run.config
    chosen = config.settlement.subsets
    costs, amount = costs_within(
        documents["tokens"].to_numpy(), config.budget.kind, config.budget.amount
    )
    drawn = tuple(_drawn(run, target, most=chosen.examples) for target in targets)
    texts = pool_texts(warehouse, run, documents["document_id"].to_pylist())
    retraining = causal_retraining(
        run,
        texts,
        drawn,
        share=min(1.0, amount / int(costs.sum())),
        epochs=config.compare.causal_lm.epochs,
    )
    return retraining, tuple(len(each.texts) for each in drawn)


def _drawn(run: RunContext, target: TargetSet, *, most: int) -> TargetSet:
    """Return the examples of a target that are scored: those with a completion, no more than so."""
    cuts = target.prompt_characters.tolist()
    scorable = [len(text) > cut for text, cut in zip(target.texts, cuts, strict=True)]
    places = np.flatnonzero(scorable)
    if not places.size:
        raise ConfigError(
            f"settlement.oracle: subsets scores the completions of examples, and target "
            f"{target.name!r} has none; give it a template of text, or of prompt and completion"
        )
    rng = stage_rng(run.config.seed, "examples of random markets", target.name)
    places = places[drawn_examples(len(places), most=most, rng=rng)]
    return TargetSet(
        name=target.name,
        texts=tuple(target.texts[place] for place in places.tolist()),
        labels=target.labels[places],
        prompt_characters=target.prompt_characters[places],
    )


def asked_once(
    utilities: Callable[[ProgressReport], FloatArray], advance: ProgressReport
) -> Callable[[np.ndarray[tuple[int, ...], np.dtype[np.int64]]], FloatArray]:
    """Return positions to utilities, all of which are found when the first is asked for."""
    found: list[FloatArray] = []

    def utilities_of(positions: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> FloatArray:
        if not found:
            found.append(utilities(advance))
        return found[0][positions]

    return utilities_of

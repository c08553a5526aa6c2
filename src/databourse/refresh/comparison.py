"""Samplers side by side on the documents of the last refresh: cells that are done stay done."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from databourse.comparison.grid import ALL, Cell, Pick, cells_of, described, measured, pick
from databourse.comparison.proxies import (
    CausalProxy,
    EncoderProxy,
    LinearProxy,
    Measurement,
    encoder_proxy,
    linear_proxy,
)
from databourse.comparison.signal_costs import SignalCost
from databourse.comparison.summary import SummaryRow
from databourse.config import USUAL_LIQUIDITY, RefreshConfig
from databourse.digests import digest_of
from databourse.errors import ConfigError, IntegrityError
from databourse.progress import ProgressReport, silent
from databourse.refresh.candidates import pool_candidates
from databourse.refresh.context import RunContext
from databourse.refresh.examples import (
    embed_examples,
    n_shared,
    read_examples,
    stored_examples,
    target_sets,
)
from databourse.refresh.label_truth import check_truth, wrong_labels
from databourse.refresh.oracles import read_settlement_targets
from databourse.refresh.past_runs import PastRun, last_run
from databourse.refresh.reference_model import pool_tokenizer, training_settings
from databourse.refresh.sampler_costs import sampler_costs
from databourse.refresh.settlement import settlement_rules, wealth_terms
from databourse.refresh.standing_wealth import as_settled, standing_wealth
from databourse.reports.comparison import ComparisonResults
from databourse.samplers.interface import Candidates, SamplerSpec, required
from databourse.samplers.market import MarketTerms, market_spec
from databourse.samplers.registry import sampler_spec
from databourse.selection.greedy import FloatArray
from databourse.targets import TargetSet
from databourse.warehouse.store import Warehouse, append

REVISION = 2
"""Raised when the same documents, settings and seeds give other numbers."""

AnyProxy = LinearProxy | EncoderProxy | CausalProxy

_held: dict[str, Comparison] = {}
_guard = threading.Lock()


@dataclass(frozen=True, eq=False)
class Comparison:
    """What the cells of a comparison share.

    Attributes:
        comparison_id: digest of all that decides the numbers of a cell.
        run: of the comparison.
        candidates: the documents of the refresh.
        proxy: of the smallest budget; see `proxy_for`.
        tokens_per_cost: of the proxy's tokenizer, where it reads tokens; else 0.
        budgets: in the unit of the costs, as configured.
        wrong: which labels are known to be wrong, see `wrong_labels`; no sampler is given it.
        costs: of the signals that each sampler reads.
        refresh_id: run_id of the refresh whose documents are for sale.
        examples: how many each test set has.
    """

    comparison_id: str
    run: RunContext
    candidates: Candidates
    proxy: AnyProxy
    tokens_per_cost: float
    budgets: tuple[int, ...]
    wrong: FloatArray | None
    costs: Mapping[str, SignalCost]
    refresh_id: str
    examples: Mapping[str, int]

    @property
    def proxy_says(self) -> str:
        """Return the proxy in words."""
        compare = self.run.config.compare
        if isinstance(self.proxy, LinearProxy):
            return (
                "Trained is softmax regression on frozen embeddings, to its optimum, penalty "
                f"{self.proxy.l2:g}"
            )
        if isinstance(self.proxy, EncoderProxy):
            return (
                f"Trained is {self.proxy.encoder.model_id} with a linear head, all weights, on "
                f"{compare.encoder.epochs:g} times the budget's tokens in steps of "
                f"{self.proxy.settings.batch_tokens:,}, documents cut at "
                f"{self.proxy.encoder.most_tokens} tokens"
            )
        settings = self.proxy.settings
        return (
            f"Trained is a causal transformer of {settings.layers} layers and width "
            f"{settings.width}, from scratch on {compare.causal_lm.epochs:g} times the budget's "
            "tokens; what follows the prompt of an example is scored"
        )

    @property
    def cells(self) -> list[Cell]:
        """Return every cell of the config."""
        compare = self.run.config.compare
        whole = int(self.candidates.costs.sum())
        return cells_of(compare.samplers, self.budgets, compare.seeds, whole_pool=whole)

    def proxy_for(self, budget: int) -> AnyProxy:
        """Return the proxy that is trained on picks of a budget."""
        if isinstance(self.proxy, LinearProxy):
            return self.proxy
        compare = self.run.config.compare
        of_encoder = isinstance(self.proxy, EncoderProxy)
        epochs = compare.encoder.epochs if of_encoder else compare.causal_lm.epochs
        tokens = max(1, round(epochs * budget * self.tokens_per_cost))
        return dataclasses.replace(self.proxy, training_tokens=tokens)


def prepare_comparison(
    warehouse: Warehouse, run: RunContext, *, advance: ProgressReport = silent
) -> Comparison:
    """Prepare a comparison; tasks of this process find it by the run's id until it is released.

    Raises:
        ConfigError: nothing was refreshed yet, there is no test set, or a sampler is not known.
        InputError: the pool cannot be compared with this proxy.
    """
    comparison = _prepared(warehouse, run, advance=advance)
    with _guard:
        _held[run.run_id] = comparison
    return comparison


def release_comparison(run_id: str) -> None:
    """Let go of what was prepared for a run, if anything was."""
    with _guard:
        _held.pop(run_id, None)


def held_comparison(run_id: str) -> Comparison:
    """Return the comparison that this process holds for a run."""
    with _guard:
        return _held[run_id]


def check_comparison(config: RefreshConfig) -> None:
    """Check what a comparison can be refused for before anything is read.

    Raises:
        ConfigError: there is no test set, a sampler is not known, or the truth about labels is
            not kept.
    """
    if not config.compare.test:
        raise ConfigError(
            "a comparison measures on examples that no sampler has seen, and the config names "
            'none; add compare: {test: {name: NAME, path: FILE, text: "{text}"}}'
        )
    repeated = [name for name in config.compare.samplers if config.compare.samplers.count(name) > 1]
    if repeated:
        raise ConfigError(f"compare.samplers names {repeated[0]!r} twice; name each once")
    for name in config.compare.samplers:
        if name != ALL:
            sampler_spec(name)
    check_truth(config)


def compare_sampler(
    warehouse: Warehouse, comparison: Comparison, sampler: str, *, advance: ProgressReport
) -> int:
    """Train and measure the cells of a sampler that are not done; return how many those were.

    Raises:
        InputError: the sampler cannot run on these candidates.
    """
    run, seed = comparison.run, comparison.run.config.seed
    done = _done_cells(warehouse, comparison.comparison_id)
    standing = as_settled(run.config, standing_wealth(warehouse, run.pool))
    spec = None if sampler == ALL else _spec(sampler, standing)
    new = 0
    for cell in comparison.cells:
        if cell.sampler != sampler:
            continue
        if cell not in done:
            chosen = pick(
                comparison.candidates,
                spec,
                cell,
                root_seed=seed,
                share=run.config.compare.pool_share,
            )
            started = time.perf_counter()
            found = measured(comparison.proxy_for(cell.budget), chosen, cell, root_seed=seed)
            seconds = time.perf_counter() - started
            found += described(comparison.candidates, chosen, wrong=comparison.wrong)
            _store(
                warehouse,
                comparison.comparison_id,
                cell,
                chosen=chosen,
                found=found,
                train_seconds=seconds,
            )
            new += 1
        advance(1)
    return new


def results_of(warehouse: Warehouse, comparison: Comparison) -> pa.Table:
    """Return a row per cell, target and metric of the cells that the config asks for.

    What the signals of a sampler cost is the same in all of its rows.
    """
    table = warehouse.rows("stg_comparison__results", {"comparison_id": comparison.comparison_id})
    wanted = {(each.sampler, each.budget, each.seed) for each in comparison.cells}
    keys = zip(
        *(table[name].to_pylist() for name in ("sampler", "budget_tokens", "seed")), strict=True
    )
    found = table.filter(pa.array([key in wanted for key in keys], pa.bool_()))
    costs = [comparison.costs[name] for name in found["sampler"].to_pylist()]
    for name, values in (
        ("signal_seconds", [each.seconds for each in costs]),
        ("signal_cpu_seconds", [each.cpu_seconds for each in costs]),
    ):
        found = found.append_column(name, pa.array(values, pa.float64()))
    return found


def comparison_results(
    comparison: Comparison, rows: Sequence[SummaryRow], left_out: Mapping[str, str]
) -> ComparisonResults:
    """Return a summary with how it was measured, for reports.

    Args:
        comparison: that the rows are of.
        rows: of its summary.
        left_out: samplers that cannot run, and why.
    """
    config = comparison.run.config
    truth = config.compare.truth
    return ComparisonResults(
        pool=comparison.run.pool,
        comparison_id=comparison.comparison_id,
        run_id=comparison.refresh_id,
        proxy=config.compare.proxy,
        proxy_says=comparison.proxy_says,
        examples=comparison.examples,
        n_documents=len(comparison.candidates.document_ids),
        whole_pool=int(comparison.candidates.costs.sum()),
        unit="documents" if config.budget.kind == "documents" else "tokens",
        seeds=config.compare.seeds,
        pool_share=config.compare.pool_share,
        truth=None if truth is None else truth.label or truth.is_wrong,
        rows=rows,
        left_out=left_out,
    )


def _prepared(warehouse: Warehouse, run: RunContext, *, advance: ProgressReport) -> Comparison:
    check_comparison(run.config)
    past = last_run(warehouse, run.pool)
    read_examples(warehouse, run, kind="test", advance=advance)
    read_examples(warehouse, run, kind="target", advance=advance)
    needs_vectors = run.config.compare.proxy == "linear"
    if needs_vectors:
        embed_examples(warehouse, run, kind="test", advance=advance)
    tests = target_sets(
        warehouse,
        run,
        encoder_id=past.ids.encoder_id if needs_vectors else None,
        kind="test",
    )
    read_settlement_targets(warehouse, run, past, advance=advance)
    _check_disjoint(warehouse, run, past)
    candidates = pool_candidates(warehouse, run, past)
    proxy, tokens_per_cost = _proxy(warehouse, run, candidates, tests)
    whole = int(candidates.costs.sum())
    budgets = tuple(
        round(each * whole) if each <= 1 else round(each) for each in run.config.compare.budgets
    )
    standing = standing_wealth(warehouse, run.pool)
    epochs = run.config.compare.causal_lm.epochs
    if isinstance(proxy, EncoderProxy):
        epochs = run.config.compare.encoder.epochs
    truth = run.config.compare.truth
    identity = {
        "documents": past.ids.snapshot_id,
        "ids": dataclasses.asdict(past.ids),
        "signals": list(past.signal_ids),
        "tests": stored_examples(warehouse, run.run_id, "test").to_pylist(),
        "market": as_settled(run.config, standing).market.model_dump(mode="json"),
        "settlement": run.config.settlement.model_dump(mode="json"),
        "settlement_targets": stored_examples(warehouse, run.run_id, "settlement").to_pylist(),
        "selection": run.config.selection.model_dump(mode="json"),
        "budget": run.config.budget.kind,
        "proxy": proxy.proxy_id,
        "epochs": epochs,
        "truth": None if truth is None else truth.model_dump(mode="json"),
        "pool_share": run.config.compare.pool_share,
        "seed": run.config.seed,
        "revision": REVISION,
    }
    return Comparison(
        digest_of(identity)[:32],
        run,
        candidates,
        proxy,
        tokens_per_cost,
        budgets,
        wrong_labels(warehouse, run.config, past),
        sampler_costs(warehouse, run, past, run.config.compare.samplers),
        past.run_id,
        {test.name: len(test.texts) for test in tests},
    )


def _check_disjoint(warehouse: Warehouse, run: RunContext, past: PastRun) -> None:
    """Refuse a test set of which an example is a target, or a document for sale."""
    tests = stored_examples(warehouse, run.run_id, "test")["document_id"]
    targets = pa.chunked_array(
        [
            chunk
            for kind in ("target", "settlement")
            for chunk in stored_examples(warehouse, run.run_id, kind)["document_id"].chunks
        ],
        pa.string(),
    )
    members = warehouse.rows("stg_snapshot__members", {"snapshot_id": past.ids.snapshot_id})
    for others, what, cure in (
        (targets, "targets", "take them out of one of the two"),
        (members["document_id"], "documents of the pool", "refresh the pool: it drops them"),
    ):
        if shared := n_shared(tests, others):
            raise ConfigError(
                f"{shared:,} of {len(tests):,} test examples are {what} too, so a comparison would "
                f"measure what was selected by; {cure}"
            )


def _proxy(
    warehouse: Warehouse, run: RunContext, candidates: Candidates, tests: Sequence[TargetSet]
) -> tuple[AnyProxy, float]:
    """Return the proxy, training tokens still to be set, and its tokens per unit of cost."""
    compare = run.config.compare
    if compare.proxy == "linear":
        return linear_proxy(candidates, tests, l2=compare.linear.l2), 0.0
    if compare.proxy == "encoder":
        fine_tuned = _encoder_proxy(run, candidates, tests)
        read = sum(len(each) for each in fine_tuned.documents)
        return fine_tuned, read / int(candidates.costs.sum())
    tokenizer = pool_tokenizer(warehouse, run, sorted(candidates.document_ids))
    texts = [text for batch in required(candidates.texts, "texts")() for text in batch]
    tokens = sum(len(each) + 1 for each in tokenizer.encode(texts))
    proxy = CausalProxy(
        texts=texts,
        tests=tests,
        tokenizer=tokenizer,
        settings=training_settings(run.config.language_model.reference),
        training_tokens=0,
        threads=1,
        device=run.config.compute.device,
    )
    return proxy, tokens / int(candidates.costs.sum())


def _encoder_proxy(
    run: RunContext, candidates: Candidates, tests: Sequence[TargetSet]
) -> EncoderProxy:
    from databourse.encoders.fine_tuning import FineTuningSettings, load_trainable_encoder

    chosen = run.config.compare.encoder
    encoder = load_trainable_encoder(
        chosen.model or run.config.encoder,
        root=Path(run.root),
        most_tokens=chosen.max_document_tokens,
        device=run.config.compute.device,
    )
    settings = FineTuningSettings(
        learning_rate=chosen.learning_rate,
        head_learning_rate=chosen.head_learning_rate,
        batch_tokens=chosen.batch_tokens,
        most_tokens=chosen.max_document_tokens,
    )
    return encoder_proxy(candidates, tests, encoder=encoder, settings=settings)


def _spec(sampler: str, config: RefreshConfig) -> SamplerSpec:
    """Return a sampler; those of the config's market trade on its terms, not the product's.

    `market` has the weights and liquidity of the config, or of the last settlement;
    `market_settled` and `market_regression` learn both anew on every pool, by the config's rules.
    """
    summary = "the highest price per token, as configured"
    if sampler == "market":
        return market_spec(sampler, market_terms(config), summary)
    learnt: dict[str, Literal["settled", "regression"]] = {
        "market_settled": "settled",
        "market_regression": "regression",
    }
    if sampler not in learnt:
        return sampler_spec(sampler)
    terms = dataclasses.replace(
        market_terms(config),
        weights=learnt[sampler],
        liquidity="fitted",
        rules=settlement_rules(config.settlement),
        wealth=wealth_terms(config.settlement),
    )
    return market_spec(sampler, terms, f"{summary}, weights learnt on a sample of each pool")


def market_terms(config: RefreshConfig) -> MarketTerms:
    """Return the terms of a config's market as a sampler takes them.

    Raises:
        ConfigError: the config asks for what a sampler of the market has not.
    """
    from databourse.market.liquidity import EffectiveShare
    from databourse.refresh.settings import market_topic_mass, market_traders

    market, selection = config.market, config.selection
    liquidity = USUAL_LIQUIDITY if isinstance(market.liquidity, str) else market.liquidity
    unknown = [
        name
        for name, is_set in (
            ("market.prior", market.prior != "uniform"),
            ("market.liquidity.by_topic", bool(liquidity.by_topic)),
            ("selection.topic_floor", bool(selection.topic_floor)),
            ("selection.topic_cap", bool(selection.topic_cap)),
            ("selection.source_floor", bool(selection.source_floor)),
            ("selection.source_cap", bool(selection.source_cap)),
            ("selection.best_single", selection.best_single),
            ("selection.rule", selection.rule != "skip"),
        )
        if is_set
    ]
    if unknown:
        raise ConfigError(
            f"{unknown[0]} is not part of a comparison yet; leave it out of the config that is "
            "compared, or leave out the sampler 'market'"
        )
    return MarketTerms(
        topic_mass=market_topic_mass(config),
        liquidity=(
            liquidity.shares
            if liquidity.shares is not None
            else EffectiveShare(float(liquidity.effective_share or 0))
        ),
        traders=market_traders(config),
        length_bias=selection.length_bias,
        method=selection.method,
        diversity=selection.diversity,
    )


def _done_cells(warehouse: Warehouse, comparison_id: str) -> set[Cell]:
    found = warehouse.rows("stg_comparison__results", {"comparison_id": comparison_id})
    columns = (found[name].to_pylist() for name in ("sampler", "budget_tokens", "seed"))
    return {Cell(*key) for key in zip(*columns, strict=True)}


def _store(
    warehouse: Warehouse,
    comparison_id: str,
    cell: Cell,
    *,
    chosen: Pick,
    found: Sequence[Measurement],
    train_seconds: float,
) -> None:
    """Keep what was measured of a cell, all of it or nothing."""
    if not found:
        raise IntegrityError(f"nothing was measured of {cell.sampler!r}")
    rows = [
        {
            "comparison_id": comparison_id,
            "sampler": cell.sampler,
            "budget": cell.budget,
            "seed": cell.seed,
            "target": each.target,
            "metric": each.metric,
            "metric_value": each.value,
            "tokens": chosen.spent,
            "documents": int(chosen.positions.size),
            "select_seconds": chosen.seconds,
            "select_cpu_seconds": chosen.cpu_seconds,
            "train_seconds": train_seconds,
        }
        for each in found
    ]
    with warehouse.transaction() as cursor:
        append(cursor, "comparisons", pa.Table.from_pylist(rows))

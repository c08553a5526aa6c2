"""Quad: clusters are arms of a bandit, and influence is measured on what is drawn alone.

Notation: v_i = value of document i (larger is better), t_i = its cost, x_i = v_i / t_i or v_i, what
a reward is the mean of; K arms a round, B documents probed per pull, b documents per block, tau =
threshold, n documents, C clusters, E = the most documents whose value may be asked for.

    every cluster is shuffled once; a pull takes the next b documents of it, the block
    r = mean of x_i over the first B documents of the block, which are a uniform sample of it
    the block is accepted where r > tau, and bought as far as the budget goes
    K arms of the highest priority (`databourse.influence.bandit`), the next K, ...

Source: Quad (Zhang et al. 2025, arXiv 2409.16986): clusters as arms, the score, the acceptance by
tau. Its values of alpha and tau are not known to us, nor what its third hyper-parameter gamma does;
there is none here. Its released script probes other documents than it buys, and buys other blocks
than it accepted; neither is followed.

Our choices. Arms that nothing is known of come first. Tau, where none is given, is a quantile of
the rewards of one visit to each cluster, so no cluster is visited twice before and the blocks of
these visits wait for it. Blocks of one round are
bought in falling order of reward, and within a block as shuffled, by the skip rule. Of an accepted
block the documents that were probed and found no better than tau are left out unless
`drop_probed_below_tau` is off: their value is known, and the budget buys better ones. A document
that costs more than the budget is never probed; a block of which nothing fits into what is left is
passed over without a probe.

What is planned from the pool (`plan_of`): first visits may take half of E, so B is E / (2 C) at
most; a block is the C-th part of what the budget buys, so that first visits alone cannot spend it,
and at least so long that E suffices where every second pull is accepted; never longer than the
setting.

The loop ends where the budget is spent (less is left than the cheapest document costs, or a block
was cut and at most 1 % is left), all clusters are read, nothing was bought for `patience_rounds`
rounds, or E does not allow the next probe. What is then unspent is reported and never filled.

Caveats. Quad can buy good clusters, not good documents: on synthetic pools of 5,000 to 20,000
documents in 50 to 200 clusters with heavy tails it recovers 0.88 to 1 of what the same rules buy
with all influences known (`recovered_share`, blocks bought whole) where a fifth of the variance of
x lies between clusters, at least 0.95 where half does, and 0.67 to 0.86 where a twentieth does;
beside the documents of the highest x the yardstick itself has 0.25 to 0.65. A higher `tau_quantile`
pays where the budget is small and E is not used up, and leaves a shortfall elsewhere. Rewards say
nothing of what a block repeats: diversity is reported, not sought.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from databourse.digests import digest_of
from databourse.errors import InputError
from databourse.influence.bandit import (
    Arms,
    arms_from_json,
    arms_in_order,
    fresh_arms,
    neighbour_credit,
    passed_over,
    pulled,
)
from databourse.market.lmsr import entropy, exact_sum
from databourse.selection.greedy import FloatArray, IntArray, buy_within_budget, check_costs

ValuesOf: TypeAlias = Callable[[IntArray], FloatArray]
"""Positions, distinct, int64, to the value of each document, float64: larger is better."""
Json: TypeAlias = Any

StopReason = Literal["budget_reached", "all_exhausted", "no_accept", "most_evaluated"]
"""Why a run ended; all but the first leave some of the budget."""

ACCEPTED_SHARE = 0.5
"""Share of pulls that a plan takes to be accepted; our choice, that of tau = median."""
FIRST_VISITS_SHARE = 0.5
"""Of the documents that may be evaluated, for the first visit to every cluster; our choice."""
SETTLED_SHARE = 0.01
"""Of the budget: once a block was cut, so much may be left; our choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuadSettings:
    """How a budget is spent. The defaults are those of our specification, not Quad's.

    Attributes:
        arms_per_round: K >= 1, clusters whose probes go into one call.
        probe_documents: B >= 1 at most.
        block_documents: b >= 1 at most.
        alpha: weight of what is little known, in standard deviations of cluster means, >= 0.
        tau: threshold of rewards; None: a quantile of the first rewards.
        tau_quantile: which, in [0, 1]; without meaning where tau is given.
        patience_rounds: >= 1, rounds without a purchase after which a run ends.
        most_evaluated: E as a share of all documents, in (0, 1].
        evaluate: "probe", or "block": the whole block, without a limit: the yardstick.
        reward_per: "token": a document counts with its value per token (per unit of cost);
            "document": with its value.
        drop_probed_below_tau: whether documents that were probed and found no better than tau are
            left out of the accepted block.
        neighbour_radius: distance of centroids up to which a pull counts for other clusters; None:
            for none.

    Raises:
        InputError: one is outside its domain.
    """

    arms_per_round: int = 5
    probe_documents: int = 8
    block_documents: int = 64
    alpha: float = 0.3
    tau: float | None = None
    tau_quantile: float = 0.5
    patience_rounds: int = 10
    most_evaluated: float = 0.10
    evaluate: Literal["probe", "block"] = "probe"
    reward_per: Literal["token", "document"] = "token"
    drop_probed_below_tau: bool = True
    neighbour_radius: float | None = None

    def __post_init__(self) -> None:
        for name in ("arms_per_round", "probe_documents", "block_documents", "patience_rounds"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be >= 1, got {getattr(self, name)!r}")
        if self.probe_documents > self.block_documents:
            raise InputError(
                f"a probe is part of its block: probe_documents must be at most "
                f"{self.block_documents}, got {self.probe_documents}"
            )
        if not 0 <= self.alpha < math.inf:
            raise InputError(f"alpha must be >= 0 and finite, got {self.alpha!r}")
        if self.tau is not None and not math.isfinite(self.tau):
            raise InputError(f"tau must be finite, got {self.tau!r}")
        if not 0 <= self.tau_quantile <= 1:
            raise InputError(f"tau_quantile must be in [0, 1], got {self.tau_quantile!r}")
        if not 0 < self.most_evaluated <= 1:
            raise InputError(f"most_evaluated must be in (0, 1], got {self.most_evaluated!r}")
        if self.evaluate not in ("probe", "block"):
            raise InputError(f"evaluate must be probe or block, got {self.evaluate!r}")
        if self.reward_per not in ("token", "document"):
            raise InputError(f"reward_per must be token or document, got {self.reward_per!r}")
        radius = self.neighbour_radius
        if radius is not None and not 0 < radius < math.inf:
            raise InputError(f"neighbour_radius must be > 0 and finite, got {radius!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class QuadPlan:
    """What the settings come to for a pool and a budget.

    Attributes:
        probe_documents: B.
        block_documents: b.
        most_documents: E, in documents; all of them where whole blocks are evaluated.
        first_visits: clusters that are visited before tau is set, where it is not given.
        notes: what differs from the settings and why, one line each.
    """

    probe_documents: int
    block_documents: int
    most_documents: int
    first_visits: int
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class QuadResult:
    """What was bought, and what it took.

    Attributes:
        positions: of the documents bought, int64, in the order of buying.
        evaluated: positions whose value was asked for, int64, in the order of asking.
        values: of these, float64, per document whatever `reward_per` is.
        evaluated_share: of all documents of the pool.
        calls: of the callback.
        tau: the threshold; None where it was never set.
        budget, spent, shortfall: in the unit of the costs; the shortfall is what is unspent.
        stop_reason: why the run ended.
        plan: what the settings came to.
        cluster_numbers: the clusters that have documents, ascending, shape (C,).
        cluster_index: shape (n,), position of each document's cluster in `cluster_numbers`.
        costs: of all documents, as given.
        reward_per: as in the settings.
        pulls, accepted_blocks, bought_documents: of each cluster, shape (C,), int64.
        mean_rewards: of each cluster, shape (C,); NaN where it was never visited.
        effective_clusters: exp of the entropy of the documents bought over clusters; 0 of none.
        coverage: share of the clusters of which at least one document was bought.
        history: one mapping of JSON types per round.
    """

    positions: IntArray
    evaluated: IntArray
    values: FloatArray
    evaluated_share: float
    calls: int
    tau: float | None
    budget: int
    spent: int
    shortfall: int
    stop_reason: StopReason
    plan: QuadPlan
    cluster_numbers: IntArray
    cluster_index: IntArray
    costs: IntArray
    reward_per: Literal["token", "document"]
    pulls: IntArray
    accepted_blocks: IntArray
    bought_documents: IntArray
    mean_rewards: FloatArray
    effective_clusters: float
    coverage: float
    history: tuple[Mapping[str, Json], ...]

    def summary(self) -> dict[str, Json]:
        """Return what a report shows beside the history, as JSON types."""
        means = [None if math.isnan(mean) else mean for mean in self.mean_rewards.tolist()]
        return {
            "documents": int(self.positions.size),
            "budget": self.budget,
            "spent": self.spent,
            "shortfall": self.shortfall,
            "stop_reason": self.stop_reason,
            "evaluated_documents": int(self.evaluated.size),
            "evaluated_share": self.evaluated_share,
            "calls": self.calls,
            "tau": self.tau,
            "rounds": len(self.history),
            "probe_documents": self.plan.probe_documents,
            "block_documents": self.plan.block_documents,
            "most_documents": self.plan.most_documents,
            "notes": list(self.plan.notes),
            "effective_clusters": self.effective_clusters,
            "coverage": self.coverage,
            "clusters": [
                {
                    "cluster": number,
                    "pulls": pulls,
                    "accepted_blocks": accepted,
                    "bought_documents": bought,
                    "mean_reward": mean,
                }
                for number, pulls, accepted, bought, mean in zip(
                    self.cluster_numbers.tolist(),
                    self.pulls.tolist(),
                    self.accepted_blocks.tolist(),
                    self.bought_documents.tolist(),
                    means,
                    strict=True,
                )
            ],
        }


def quad_select(
    cluster_index: IntArray,
    costs: IntArray,
    values_of: ValuesOf,
    *,
    budget: int,
    settings: QuadSettings,
    rng: np.random.Generator,
    centroids: FloatArray | None = None,
) -> QuadResult:
    """Return what Quad buys of a pool.

    Args:
        cluster_index: cluster of each document in order of document_id, shape (n,), integers >= 0.
        costs: of each document, shape (n,), int64 >= 1: tokens.
        values_of: measures influence; called once a round, never twice for one document.
        budget: in the unit of the costs, >= 0; what is bought costs at most that.
        settings: how it is spent.
        rng: one number is drawn, from which each cluster has a seed of its own.
        centroids: row c for cluster c; needed for a neighbour radius alone.

    Returns:
        The selection; what is bought depends on the documents of each cluster, their order, the
        values and the seed, and not on how clusters lie in the pool.

    Raises:
        InputError: an argument is outside its domain, or a value is not finite.
    """
    run = QuadRun(
        cluster_index, costs, budget=budget, settings=settings, rng=rng, centroids=centroids
    )
    while run.stop_reason is None:
        run.step(values_of)
    return run.result()


def plan_of(
    settings: QuadSettings, *, n_documents: int, n_clusters: int, budget_share: float
) -> QuadPlan:
    """Return how long probes and blocks are for a pool, and how many values may be asked for.

    Args:
        settings: the most of everything.
        n_documents: of the pool, >= 1.
        n_clusters: that have documents, 1 .. n_documents.
        budget_share: of the cost of all documents, in [0, 1].

    Returns:
        b >= B >= 1; a plan for whole blocks has the same b and B as one for probes.
    """
    notes = []
    allowed = int(settings.most_evaluated * n_documents)
    first = int(FIRST_VISITS_SHARE * allowed)
    probe = min(settings.probe_documents, max(1, first // n_clusters))
    if probe < settings.probe_documents:
        notes.append(
            f"a probe takes {probe} documents in place of {settings.probe_documents}: a visit to "
            f"each of {n_clusters:,} clusters may take {first:,} documents"
        )
    first_visits = min(n_clusters, max(1, first // probe))
    if first_visits < n_clusters:
        notes.append(
            f"tau comes from the {first_visits:,} largest of {n_clusters:,} clusters: {first:,} "
            "documents do not reach more; make fewer clusters"
        )
    wanted = budget_share * n_documents
    fair = int(wanted / n_clusters)
    enough = math.ceil(probe * wanted / (allowed * ACCEPTED_SHARE)) if allowed else 1
    block = min(settings.block_documents, max(probe, fair, enough))
    if block < settings.block_documents:
        notes.append(
            f"a block has {block} documents in place of {settings.block_documents}: the budget "
            f"buys about {wanted:,.0f} documents of {n_clusters:,} clusters"
        )
    if enough > block:
        notes.append(
            f"blocks of {block} documents may be too short to spend the budget within {allowed:,} "
            f"evaluated documents; {enough} would do where every second one is accepted"
        )
    if settings.evaluate == "block":
        allowed = n_documents
    return QuadPlan(
        probe_documents=probe,
        block_documents=block,
        most_documents=allowed,
        first_visits=first_visits,
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _Pull:
    """A block that was read: whose, x of the documents that open it, and their mean."""

    arm: int
    block: IntArray
    terms: FloatArray
    reward: float


class QuadRun:
    """A run of Quad that is taken round by round, and can be saved between rounds.

    Attributes:
        plan: what the settings come to.
        arms: books of the clusters.
        tau: the threshold; None before it is set.
        stop_reason: None while the run goes on.
    """

    def __init__(
        self,
        cluster_index: IntArray,
        costs: IntArray,
        *,
        budget: int,
        settings: QuadSettings,
        rng: np.random.Generator,
        centroids: FloatArray | None = None,
    ) -> None:
        """Start a run; arguments as for `quad_select`."""
        _check_pool(cluster_index, costs, budget)
        self._settings, self._budget = settings, int(budget)
        self._costs = costs
        self._numbers, dense = np.unique(cluster_index, return_inverse=True)
        self._cluster_of: IntArray = dense.astype(np.int64)
        self._credit = _credit_of(settings, centroids, self._numbers)
        self._digest = _pool_digest(cluster_index, costs, budget, settings, self._credit)
        self.plan = plan_of(
            settings,
            n_documents=costs.size,
            n_clusters=self._numbers.size,
            budget_share=min(1.0, budget / int(costs.sum())),
        )
        self._begin(int(rng.integers(2**63)))

    def _begin(self, seed: int) -> None:
        self._seed = seed
        self._queues = self._shuffled_clusters()
        self.arms: Arms = fresh_arms(np.array([queue.size for queue in self._queues]))
        self.tau: float | None = self._settings.tau
        self._waiting: list[_Pull] = []
        self._bought: list[int] = []
        self._evaluated: list[int] = []
        self._values: list[float] = []
        self._accepted = np.zeros(self._numbers.size, dtype=np.int64)
        self._spent = self._calls = self._idle_rounds = 0
        self._was_cut = False
        self._history: list[dict[str, Json]] = []
        self._cheapest = int(self._costs.min())
        self.stop_reason: StopReason | None = None
        self._settle()

    def _shuffled_clusters(self) -> list[IntArray]:
        """Return the documents of each cluster that the budget could buy, in random order."""
        by_cluster = np.argsort(self._cluster_of, kind="stable")
        bounds = np.searchsorted(self._cluster_of[by_cluster], np.arange(1, self._numbers.size))
        queues = []
        for number, members in zip(
            self._numbers.tolist(), np.split(by_cluster, bounds), strict=True
        ):
            # shuffled before the dear ones leave, so that budgets share one order
            order = np.random.default_rng([self._seed, number]).permutation(members)
            queues.append(order[self._costs[order] <= self._budget].astype(np.int64))
        return queues

    def step(self, values_of: ValuesOf) -> None:
        """Take one round: one call of `values_of`, or none where that ends the run.

        Args:
            values_of: as for `quad_select`. Where it raises, the run is as it was before.

        Raises:
            InputError: the run has ended, or a value is not finite.
        """
        if self.stop_reason is not None:
            raise InputError(f"the run has ended ({self.stop_reason}); start another one")
        arms, blocks, is_limited = self._next_blocks()
        if not blocks:
            self.arms = arms
            self.stop_reason = "most_evaluated" if is_limited else "all_exhausted"
            return
        probes = [block[: self._probe_length(block.size)] for block in blocks.values()]
        asked = np.concatenate(probes)
        values = _checked_values(values_of(asked.copy()), asked)
        terms = values / self._costs[asked] if self._settings.reward_per == "token" else values
        pieces = np.split(terms, np.cumsum([probe.size for probe in probes])[:-1])
        pulls = [
            _Pull(arm, block, piece, math.fsum(piece.tolist()) / piece.size)
            for (arm, block), piece in zip(blocks.items(), pieces, strict=True)
        ]
        self.arms = pulled(
            arms,
            np.array(list(blocks), dtype=np.int64),
            rewards=np.array([pull.reward for pull in pulls]),
            documents=np.array([block.size for block in blocks.values()]),
            credit=self._credit,
        )
        self._calls += 1
        self._evaluated += asked.tolist()
        self._values += values.tolist()
        self._history.append(
            {
                "round": len(self._history) + 1,
                "clusters": self._numbers[list(blocks)].tolist(),
                "rewards": [pull.reward for pull in pulls],
                "evaluated_documents": len(self._evaluated),
                "accepted_clusters": [],
            }
        )
        self._waiting += pulls
        self._settle()

    def _next_blocks(self) -> tuple[Arms, dict[int, IntArray], bool]:
        """Return the books, the block of each arm of the next round, and whether E cut it."""
        arms = self.arms
        left = self._budget - self._spent
        allowed = self.plan.most_documents - len(self._evaluated)
        n_wanted = self._settings.arms_per_round
        if self.tau is None:  # unknown arms come first, so these are first visits all
            n_wanted = min(n_wanted, self._first_visits_left())
        blocks: dict[int, IntArray] = {}
        for arm in map(int, arms_in_order(arms, alpha=self._settings.alpha, unit="spread")):
            queue, cursor = self._queues[arm], int(arms.cursors[arm])
            passed = cursor
            while passed < queue.size:
                block = queue[passed : passed + self.plan.block_documents]
                if (self._costs[block] <= left).any():
                    break
                passed += block.size
            if passed > cursor:
                arms = passed_over(arms, np.array([arm]), documents=np.array([passed - cursor]))
            if passed == queue.size:
                continue
            allowed -= self._probe_length(block.size)
            if allowed < 0:
                return arms, blocks, True
            blocks[arm] = block
            if len(blocks) == n_wanted:
                break
        return arms, blocks, False

    def _probe_length(self, block_length: int) -> int:
        if self._settings.evaluate == "block":
            return block_length
        return min(self.plan.probe_documents, block_length)

    def _settle(self) -> None:
        """Set tau once it can be, buy what is accepted, and end the run where it must end."""
        if self.tau is None and self._waiting and self._first_visits_left() == 0:
            rewards = [pull.reward for pull in self._waiting]
            self.tau = float(np.quantile(rewards, self._settings.tau_quantile))
        bought_before = len(self._bought)
        is_judged = self.tau is not None and bool(self._waiting)
        if self.tau is not None:
            self._buy(self.tau)
        if self._history:
            self._history[-1].update(
                tau=self.tau, spent=self._spent, bought_documents=len(self._bought)
            )
        if is_judged:
            self._idle_rounds = 0 if len(self._bought) > bought_before else self._idle_rounds + 1
        left = self._budget - self._spent
        if left < self._cheapest or (self._was_cut and left <= SETTLED_SHARE * self._budget):
            self.stop_reason = "budget_reached"
        elif self.arms.is_exhausted.all():
            self.stop_reason = "all_exhausted"
        elif self._idle_rounds >= self._settings.patience_rounds:
            self.stop_reason = "no_accept"

    def _first_visits_left(self) -> int:
        unknown = int((~self.arms.is_visited & ~self.arms.is_exhausted).sum())
        return min(unknown, self.plan.first_visits - len(self._waiting))

    def _buy(self, tau: float) -> None:
        """Buy the accepted of the waiting blocks, the best first, and forget the rest."""
        by_reward = sorted(self._waiting, key=lambda pull: (-pull.reward, pull.arm))
        accepted = []
        for pull in by_reward:
            if not pull.reward > tau:
                continue
            self._accepted[pull.arm] += 1
            accepted.append(int(self._numbers[pull.arm]))
            wanted = pull.block
            if self._settings.drop_probed_below_tau:
                is_better = np.ones(pull.block.size, dtype=np.bool_)
                is_better[: pull.terms.size] = pull.terms > tau  # the probe opens the block
                wanted = pull.block[is_better]
            is_bought = buy_within_budget(
                costs=self._costs[wanted], budget=self._budget, already_spent=self._spent
            )
            self._was_cut |= not is_bought.all()
            self._spent += int(self._costs[wanted[is_bought]].sum())
            self._bought += wanted[is_bought].tolist()
        if accepted:
            self._history[-1]["accepted_clusters"] = accepted
        self._waiting = []

    def to_json(self) -> dict[str, Json]:
        """Return the state between two rounds as JSON types, for `resumed_run`."""
        return {
            "digest": self._digest,
            "seed": self._seed,
            "arms": self.arms.to_json(),
            "tau": self.tau,
            "waiting": [
                {
                    "arm": pull.arm,
                    "block": pull.block.tolist(),
                    "terms": pull.terms.tolist(),
                    "reward": pull.reward,
                }
                for pull in self._waiting
            ],
            "bought": list(self._bought),
            "evaluated": list(self._evaluated),
            "values": list(self._values),
            "accepted": self._accepted.tolist(),
            "spent": self._spent,
            "calls": self._calls,
            "idle_rounds": self._idle_rounds,
            "was_cut": self._was_cut,
            "history": [dict(each) for each in self._history],
            "stop_reason": self.stop_reason,
        }

    def restore(self, saved: Mapping[str, Json]) -> None:
        """Take on a state that `to_json` wrote.

        Raises:
            InputError: it is of another pool, budget or settings.
        """
        if saved.get("digest") != self._digest:
            raise InputError(
                "the saved run is of another pool, budget, settings or centroids; resume it with "
                "its own, or start another one"
            )
        self._begin(int(saved["seed"]))
        self.arms = arms_from_json(saved["arms"])
        self.tau = saved["tau"]
        self._waiting = [
            _Pull(
                pull["arm"],
                np.array(pull["block"], dtype=np.int64),
                np.array(pull["terms"], dtype=np.float64),
                pull["reward"],
            )
            for pull in saved["waiting"]
        ]
        self._bought, self._evaluated = list(saved["bought"]), list(saved["evaluated"])
        self._values = list(saved["values"])
        self._accepted = np.array(saved["accepted"], dtype=np.int64)
        self._spent, self._calls = saved["spent"], saved["calls"]
        self._idle_rounds, self._was_cut = saved["idle_rounds"], saved["was_cut"]
        self._history = [dict(each) for each in saved["history"]]
        self.stop_reason = saved["stop_reason"]

    def result(self) -> QuadResult:
        """Return what was bought.

        Raises:
            InputError: the run has not ended.
        """
        if self.stop_reason is None:
            raise InputError("the run has not ended; take steps until stop_reason is set")
        n_clusters = self._numbers.size
        positions = np.array(self._bought, dtype=np.int64)
        bought = np.bincount(self._cluster_of[positions], minlength=n_clusters).astype(np.int64)
        return QuadResult(
            positions=positions,
            evaluated=np.array(self._evaluated, dtype=np.int64),
            values=np.array(self._values, dtype=np.float64),
            evaluated_share=len(self._evaluated) / self._costs.size,
            calls=self._calls,
            tau=self.tau,
            budget=self._budget,
            spent=self._spent,
            shortfall=self._budget - self._spent,
            stop_reason=self.stop_reason,
            plan=self.plan,
            cluster_numbers=self._numbers,
            cluster_index=self._cluster_of,
            costs=self._costs,
            reward_per=self._settings.reward_per,
            pulls=self.arms.pulls,
            accepted_blocks=self._accepted,
            bought_documents=bought,
            mean_rewards=self.arms.means,
            effective_clusters=math.exp(entropy(bought / bought.sum())) if positions.size else 0.0,
            coverage=float((bought > 0).mean()),
            history=tuple(self._history),
        )


def resumed_run(
    saved: Mapping[str, Json],
    cluster_index: IntArray,
    costs: IntArray,
    *,
    budget: int,
    settings: QuadSettings,
    centroids: FloatArray | None = None,
) -> QuadRun:
    """Return the run that `QuadRun.to_json` saved; it goes on as if it had never stopped.

    Args:
        saved: the state, as it was or after a journey through JSON.
        cluster_index: these and all others as the run was started with.
        costs: likewise.
        budget: likewise.
        settings: likewise.
        centroids: likewise.

    Raises:
        InputError: an argument is not as it was.
    """
    rng = np.random.default_rng(0)  # overwritten: the state has the seed that was drawn
    run = QuadRun(
        cluster_index, costs, budget=budget, settings=settings, rng=rng, centroids=centroids
    )
    run.restore(saved)
    return run


def exhaustive_of(settings: QuadSettings) -> QuadSettings:
    """Return the settings of full-influence selection by the same rules: the yardstick.

    Every document of a block is evaluated, so that a reward is the mean over the whole block, and
    there is no limit on evaluations. All else stays as it is. For a comparison by the same rules
    turn `drop_probed_below_tau` off on both sides: it leaves out what is known to be bad, and here
    every document is known, so that the yardstick would choose documents and no longer blocks.
    """
    return dataclasses.replace(settings, evaluate="block")


def excess_utility(values: FloatArray, costs: IntArray, positions: IntArray) -> float:
    """Return by how much a selection is worth more than a random one of equal cost is expected to.

        sum of v_i over the selection - (its cost) * (sum of v_i over all) / (cost of all)

    Args:
        values: v, of all documents, shape (n,), finite, any sign.
        costs: of all documents, shape (n,).
        positions: the selection, distinct.

    Returns:
        In the unit of the values; 0 for nothing and for the whole pool. What is left of a budget
        counts as no gain and no loss.

    Raises:
        InputError: values are not finite or of another length.
    """
    if values.shape != costs.shape or not np.isfinite(values).all():
        raise InputError(f"values must be {costs.size:,} finite numbers, got shape {values.shape}")
    rate = exact_sum(values) / int(costs.sum())
    return exact_sum(values[positions]) - rate * int(costs[positions].sum())


def recovered_share(
    values: FloatArray, costs: IntArray, *, selection: IntArray, yardstick: IntArray
) -> float:
    """Return which part of the excess utility of a yardstick a selection has.

    Excess over random is compared because sums of values can be negative, and adding one number per
    token to all values changes no selection: it cancels here, and would not in a ratio of sums.

    Args:
        values: of all documents, shape (n,); measured for this purpose alone.
        costs: likewise.
        selection: positions bought by what is judged.
        yardstick: positions bought by full-influence selection (`exhaustive_of`) at equal budget.

    Returns:
        1 for the yardstick itself, 0 for as good as random, negative for worse.

    Raises:
        InputError: the yardstick is not better than random, so that there is nothing to recover.
    """
    best = excess_utility(values, costs, yardstick)
    if not best > 0:
        raise InputError(
            f"the yardstick must be worth more than a random selection, got an excess of {best!r}; "
            "clusters do not tell good documents from bad ones here"
        )
    return excess_utility(values, costs, selection) / best


def quad_signal(result: QuadResult, *, own_weight: float) -> FloatArray:
    """Return what is expected of each document after a run, larger is better.

    Model: x_i = theta_c + e_i in cluster c, theta_c with mean mu and variance V over clusters, e_i
    with mean 0 and variance S. Of n_c evaluated documents with mean m_c the best linear guess is

        theta_c = mu + V / (V + S / n_c) * (m_c - mu)

    and of document i theta_c where it was not evaluated, else theta_c + own_weight * (x_i -
    theta_c). S is pooled within clusters, V by moments (from general knowledge: one-way analysis of
    variance with unequal n_c), at least 0, and mu the mean of m_c weighted by 1 / (V + S / n_c).
    With own_weight w a measured x_i is taken to be true up to noise that makes up 1 - w of S; what
    this share is cannot be learnt from single measurements.

    Our choice, not Quad's, whose result is a selection alone. Caveats: a bandit stops pulling
    arms that began badly, so means are a little too low; x_i has heavy tails, so S is rough.

    Args:
        result: of a run that evaluated at least one document.
        own_weight: in [0, 1].

    Returns:
        Shape (n,), float64, in the unit of rewards: per token or per document. Where no cluster has
        two evaluated documents V and S cannot be told apart, and every theta_c is mu.

    Raises:
        InputError: nothing was evaluated, or own_weight is outside its domain.
    """
    if not 0 <= own_weight <= 1:
        raise InputError(f"own_weight must be in [0, 1], got {own_weight!r}")
    if not result.evaluated.size:
        raise InputError("the run evaluated no document, so that there is nothing to go by")
    terms = result.values
    if result.reward_per == "token":
        terms = terms / result.costs[result.evaluated]
    cluster = result.cluster_index[result.evaluated]
    means = _posterior_means(terms, cluster, n_clusters=result.cluster_numbers.size)
    signal = means[result.cluster_index]
    signal[result.evaluated] += own_weight * (terms - signal[result.evaluated])
    return signal


def _posterior_means(terms: FloatArray, cluster: IntArray, *, n_clusters: int) -> FloatArray:
    counts = np.bincount(cluster, minlength=n_clusters).astype(np.float64)
    is_seen = counts > 0
    n_seen, n_terms = int(is_seen.sum()), terms.size
    means = np.zeros(n_clusters)
    np.divide(np.bincount(cluster, terms, n_clusters), counts, out=means, where=is_seen)
    within = between = 0.0
    if n_terms > n_seen:
        within = float(((terms - means[cluster]) ** 2).sum()) / (n_terms - n_seen)
    if n_terms > n_seen > 1:
        grand = float(terms.mean())
        scatter = float((counts * (means - grand) ** 2).sum())
        spread = n_terms - float((counts**2).sum()) / n_terms
        between = max(0.0, (scatter - (n_seen - 1) * within) / spread)
    if between > 0:
        variances = between + within / counts[is_seen]
        center = float((means[is_seen] / variances).sum() / (1 / variances).sum())
        shrunk = between / variances * (means[is_seen] - center)
    else:  # clusters tell nothing: all documents count alike
        center, shrunk = float(terms.mean()), np.zeros(n_seen)
    posterior = np.full(n_clusters, center)
    posterior[is_seen] += shrunk
    return posterior


def _check_pool(cluster_index: IntArray, costs: IntArray, budget: int) -> None:
    check_costs(costs)
    if not costs.size:
        raise InputError("there must be at least one document to buy, got none")
    if cluster_index.shape != costs.shape or not np.issubdtype(cluster_index.dtype, np.integer):
        raise InputError(
            f"cluster_index must be {costs.size:,} integers, got {cluster_index.dtype} of shape "
            f"{cluster_index.shape}"
        )
    if cluster_index.min() < 0:
        position = int(np.argmin(cluster_index))
        raise InputError(
            f"clusters must be >= 0, got {int(cluster_index[position])} at position {position}"
        )
    if budget < 0:
        raise InputError(f"the budget must be >= 0, got {budget}")


def _credit_of(
    settings: QuadSettings, centroids: FloatArray | None, numbers: IntArray
) -> FloatArray | None:
    if settings.neighbour_radius is None:
        return None
    if centroids is None or centroids.ndim != 2 or len(centroids) <= int(numbers.max()):
        got = "none" if centroids is None else f"shape {centroids.shape}"
        raise InputError(
            f"a neighbour radius needs a centroid for each cluster up to {int(numbers.max())}, "
            f"got {got}"
        )
    return neighbour_credit(centroids[numbers], settings.neighbour_radius)


def _pool_digest(
    cluster_index: IntArray,
    costs: IntArray,
    budget: int,
    settings: QuadSettings,
    credit: FloatArray | None,
) -> str:
    return digest_of(
        {
            "clusters": _bytes_digest(cluster_index.astype("<i8")),
            "costs": _bytes_digest(costs.astype("<i8")),
            "budget": int(budget),
            "settings": dataclasses.asdict(settings),
            "credit": None if credit is None else _bytes_digest(credit.astype("<f8")),
        }
    )


def _bytes_digest(rows: IntArray | FloatArray) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()


def _checked_values(values: FloatArray, asked: IntArray) -> FloatArray:
    values = np.asarray(values, dtype=np.float64)
    if values.shape != asked.shape:
        raise InputError(
            f"values_of was asked for {asked.size:,} documents and must give one value each, got "
            f"shape {values.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise InputError(
            f"values_of must give finite values, got {float(values[bad[0]])} for the document at "
            f"position {int(asked[bad[0]])}; look at its gradient"
        )
    return values

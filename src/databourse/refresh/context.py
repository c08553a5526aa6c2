"""What a stage is told and what it reports: small values that travel between tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from databourse.config import RefreshConfig
from databourse.engines import Engine, held_engine
from databourse.warehouse import Warehouse, held_warehouse


@dataclass(frozen=True)
class RunContext:
    """One run of a flow over a pool."""

    run_id: str
    pool: str
    root: str
    """Folder of the config file: relative paths of the config start here."""
    config: RefreshConfig

    @property
    def warehouse_path(self) -> Path:
        """Return the folder of the warehouse."""
        return (Path(self.root) / self.config.warehouse).resolve()

    @property
    def manifests_path(self) -> Path:
        """Return the folder of the published manifests."""
        return (Path(self.root) / self.config.manifests).resolve()

    def open_warehouse(self) -> Warehouse:
        """Return the warehouse that this process holds."""
        return held_warehouse(self.warehouse_path)

    def engine(self) -> Engine:
        """Return what computes batches: this process, or what it holds."""
        return held_engine(self.config.engine)


@dataclass(frozen=True)
class ModelIds:
    """What language models have said of a snapshot, as far as a signal asks for it.

    Attributes:
        trained: fingerprints of the reference models, by fold; none if another model scores.
        losses: under which ids token losses are stored, by fold; one id if there are no folds.
        generations: likewise of sampled generations.
        gradients: folders of features of gradients, by checkpoint.
        scorer: who answered about quality.
        unanswered: digest of the documents about which it did not.
        steps: folders of features of Adam's steps, by checkpoint.
        rates: learning rates of these checkpoints.
        bank: of models that were retrained on subsets.
    """

    trained: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    generations: tuple[str, ...] = ()
    gradients: tuple[str, ...] = ()
    scorer: str = ""
    unanswered: str = ""
    steps: tuple[str, ...] = ()
    rates: tuple[float, ...] = ()
    bank: str = ""


@dataclass(frozen=True)
class SnapshotIds:
    """Which version of what the market of a run stands on."""

    snapshot_id: str
    tokenizer_id: str
    encoder_id: str
    topics_id: str
    neighbours_id: str | None
    models: ModelIds = ModelIds()
    targets_id: str | None = None
    decontamination: str = "null"
    """What the pool was compared with before the snapshot was taken, as JSON."""


@dataclass(frozen=True)
class StageReport:
    """What a stage did: rows in, rows out, and what it cost."""

    stage: str
    rows_in: int
    rows_out: int
    note: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    started_seconds: float = 0.0
    """When it started, seconds since 1970; 0 where nobody looked."""
    values: dict[str, str] = field(default_factory=dict)
    """Ids that later stages need, such as the snapshot's."""

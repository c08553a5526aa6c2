"""The config of a refresh: YAML, environment overrides, frozen models, unknown keys refused.

Layers, the later wins: defaults, the YAML file, environment variables
(`DATABOURSE_BUDGET__TOKENS`), `--set key=value`. Paths stay as written; they are relative to the
folder of the config file, the `root` that travels beside the config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from databourse.config_compare import CompareConfig
from databourse.config_drift import DriftConfig
from databourse.config_engine import EngineConfig
from databourse.config_influence import InfluenceConfig
from databourse.config_lineage import LineageConfig
from databourse.config_models import AskLlmConfig, LanguageModelConfig
from databourse.config_retention import RetentionConfig
from databourse.config_section import Section, Slug
from databourse.config_settlement import SettlementConfig
from databourse.config_sources import (
    DecontaminateConfig,
    SourceConfig,
    TargetConfig,
)
from databourse.digests import digest_of
from databourse.errors import ConfigError, nearest_names


class NearDuplicates(Section):
    """MinHash near dedup, verified by true shingle Jaccard."""

    threshold: float = Field(default=0.8, gt=0, le=1, description="Least Jaccard of duplicates.")
    ngram: int = Field(default=5, ge=1, le=50, description="Words in a shingle.")
    permutations: int = Field(default=128, ge=16, le=1024, description="Hashes per signature.")


class SemanticDuplicates(Section):
    """Dedup by meaning: the cosine of embeddings, every document against every survivor."""

    threshold: float = Field(default=0.95, gt=0, le=1, description="Least cosine of duplicates.")


class DeduplicateConfig(Section):
    """What counts as a duplicate. Exact duplicates are always removed."""

    near: NearDuplicates | Literal[False] = Field(
        default=NearDuplicates(), description="False: off."
    )
    semantic: SemanticDuplicates | Literal[False] = Field(
        default=False, description="{}: the default threshold. False: off."
    )
    max_removed_share_per_source: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="A source that loses more than this share stops the run.",
    )
    max_removed_share_per_label: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="A label that loses more than this share stops the run. null: any share.",
    )


class TopicsConfig(Section):
    """How the snapshot is divided into topics."""

    by: Literal["kmeans", "label"] = Field(
        default="kmeans", description="Clusters, or given labels."
    )
    count: int | None = Field(
        default=None,
        ge=1,
        description="Number of clusters; by default sqrt(documents / 2), at most 50.",
    )
    smallest: int = Field(
        default=10, ge=1, description="Smaller topics are merged into the nearest."
    )


class LiquidityConfig(Section):
    """How far orders move prices: exactly one of effective_share, shares."""

    effective_share: float | None = Field(
        default=None, gt=0, lt=1, description="ESS of a topic's prices / its documents."
    )
    shares: float | None = Field(
        default=None,
        ge=1e-9,  # beyond these bounds all prices are one document's, or all are equal
        le=1e9,
        description="LMSR b: the larger, the less one share moves a price.",
    )
    by_topic: dict[str, Annotated[float, Field(ge=1e-9, le=1e9)]] = Field(
        default={}, description="Exceptions: topic to a number of the same kind."
    )

    @model_validator(mode="after")
    def _is_one_setting(self) -> Self:
        if (self.effective_share is None) == (self.shares is None):
            raise ValueError(
                "market.liquidity needs exactly one of effective_share, shares; "
                "such as {effective_share: 0.3}"
            )
        too_large = [name for name, value in self.by_topic.items() if value >= 1]
        if self.effective_share is not None and too_large:
            raise ValueError(
                f"market.liquidity.by_topic.{too_large[0]} must be an effective share below 1, "
                f"got {self.by_topic[too_large[0]]}"
            )
        return self


USUAL_LIQUIDITY = LiquidityConfig(effective_share=0.3)
"""Where neither a config nor a settlement says otherwise."""


class PowerMassConfig(Section):
    """Topic mass proportional to a power of the topic's size."""

    power: float = Field(ge=0, le=1, description="0 is balanced, 1 is proportional.")


class RiskAverseConfig(Section):
    """Traders who believe in their signal and fear losses; they move prices one after another."""

    risk_aversion: float = Field(
        gt=0, description="Of a trader of average weight, per unit of account: 0 dares all."
    )
    confidence: float = Field(
        default=1.0, gt=0, description="Log odds that a trader sees in one standard deviation."
    )
    order: tuple[str, ...] | None = Field(
        default=None, description="Who trades first to last; by default in the order of signals."
    )


class SourcePriorConfig(Section):
    """Opening prices by source: how much a document is trusted before any signal speaks."""

    sources: dict[str, Annotated[float, Field(gt=0)]] = Field(
        min_length=1, description="Source to weight; sources that are not named have 1."
    )


class MarketConfig(Section):
    """How signals become prices."""

    prior: Literal["uniform", "tokens"] | SourcePriorConfig = Field(
        default="uniform", description="Opening prices within a topic, before anyone trades."
    )
    traders: Literal["fixed_orders"] | RiskAverseConfig = Field(
        default="fixed_orders", description="How a signal turns into orders."
    )
    liquidity: Literal["auto"] | LiquidityConfig = Field(
        default="auto",
        description="How far orders move prices; auto: what the last settlement fitted where "
        "weights are settled, else an effective share of 0.3.",
    )
    weights: Literal["equal", "settled"] | dict[str, Annotated[float, Field(ge=0)]] = Field(
        default="settled",
        description="Size of each trader's orders, normalised to sum 1; settled: what the last "
        "settlement says, equal before the first.",
    )
    topic_mass: Literal["proportional", "balanced"] | PowerMassConfig = "proportional"


class BudgetConfig(Section):
    """What a selection may spend: exactly one of tokens, documents, share."""

    tokens: int | None = Field(
        default=None, ge=1, description="Tokens of the configured tokenizer."
    )
    documents: int | None = Field(default=None, ge=1, description="Number of documents.")
    share: float | None = Field(
        default=None, gt=0, le=1, description="Share of the snapshot's tokens."
    )

    @model_validator(mode="after")
    def _is_one_limit(self) -> Self:
        given = [key for key in ("tokens", "documents", "share") if getattr(self, key) is not None]
        if len(given) != 1:
            came = " and ".join(given) if given else "none"
            raise ValueError(f"budget needs exactly one of tokens, documents, share; got {came}")
        return self

    @property
    def kind(self) -> Literal["tokens", "documents", "share"]:
        """Return which limit is set."""
        if self.tokens is not None:
            return "tokens"
        return "documents" if self.documents is not None else "share"

    @property
    def amount(self) -> float:
        """Return the limit, in the unit of its kind."""
        return next(
            value for value in (self.tokens, self.documents, self.share) if value is not None
        )


Share = Annotated[float, Field(gt=0, le=1)]
Floor = Annotated[float, Field(ge=0, le=1)] | dict[str, Share]
"""A part of an even split between all groups, or shares of the budget by name of group."""
Cap = Annotated[float, Field(ge=1)] | dict[str, Share]
"""A multiple of an even split between all groups, or shares of the budget by name of group."""


class SelectionConfig(Section):
    """How the budget is spent."""

    length_bias: float = Field(
        default=1.0,
        ge=-10,
        le=10,
        description="Exponent of the length in price per token: 0 ignores length.",
    )
    method: Literal["greedy", "sample"] = Field(
        default="greedy",
        description="Dearest first, or a random sample in proportion to the price per token.",
    )
    rule: Literal["skip", "stop"] = Field(
        default="skip", description="At a document that does not fit: go on, or end."
    )
    best_single: bool = Field(
        default=False,
        description="Buy the dearest document first where it alone is worth more than the rest.",
    )
    diversity: float = Field(
        default=0.0, ge=0, description="Log price that a document unlike all bought ones gains."
    )
    topic_floor: Floor = Field(default=0.0, description="Least spent on topics.")
    topic_cap: Cap | None = Field(default=None, description="Most spent on topics.")
    source_floor: Floor = Field(default=0.0, description="Least spent on sources.")
    source_cap: Cap | None = Field(default=None, description="Most spent on sources.")

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        limits = [
            key
            for key in ("topic_floor", "topic_cap", "source_floor", "source_cap")
            if getattr(self, key)
        ]
        deciding = [*limits, *(["diversity"] if self.diversity else [])]
        if self.method == "sample":
            greedy = [*deciding, *(["best_single"] if self.best_single else [])]
            greedy += ["rule"] if self.rule == "stop" else []
            if greedy:
                raise ValueError(
                    f"selection.{greedy[0]} is for method greedy; a sample is drawn by price "
                    "alone: remove it, or spread the sample by market.topic_mass"
                )
        elif self.best_single and deciding:
            raise ValueError(
                f"selection.best_single is a guarantee of the plain greedy rule; remove it or "
                f"selection.{deciding[0]}"
            )
        return self


class ManifestConfig(Section):
    """What a published manifest holds."""

    include_text: bool = Field(default=True, description="Write the texts into the manifest.")
    shard_documents: int = Field(default=100_000, ge=1, description="Rows per Parquet file.")
    signing_key: str | None = Field(
        default=None,
        description="File of an ed25519 private key (PEM) that signs what is published; "
        "null: that in the environment variable DATABOURSE_SIGNING_KEY, if there is one.",
    )
    mirror: str | None = Field(
        default=None,
        description="Folder or fsspec URI that gets a copy of the pool's manifests after each "
        "refresh, such as s3://bucket/manifests.",
    )


class ComputeConfig(Section):
    """Resources. Nothing here changes a result, but that a GPU rounds otherwise than a CPU."""

    device: Literal["cpu", "cuda"] = Field(default="cpu", description="Where encoders run.")
    threads: int = Field(
        default=2,
        ge=1,
        description="Threads of DuckDB and of the encoder, and processes that parse a large file.",
    )
    memory_limit: str = Field(
        default="4GB", pattern=r"^\d+(\.\d+)?\s?[KMGT]i?B$", description="Of DuckDB."
    )
    batch_documents: int = Field(
        default=1_000,
        ge=1,
        description="Documents committed at a time; rows that are only read, ten times as many.",
    )
    wait_minutes: float = Field(
        default=0.0,
        ge=0,
        le=10_080,
        description="How long a run waits for another one that writes its warehouse.",
    )


class RefreshConfig(BaseSettings):
    """Everything a refresh needs to know; its canonical form is part of the manifest."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="DATABOURSE_", env_nested_delimiter="__"
    )

    pool: Slug = Field(description="Name of the pool.")
    warehouse: str = Field(default="./warehouse", description="Folder of tables and texts.")
    manifests: str = Field(default="./manifests", description="Folder of published manifests.")
    data_roots: tuple[str, ...] = Field(
        default=(".",), description="Folders or URI prefixes that sources may read from."
    )
    seed: int = Field(
        ge=0, lt=2**63, description="Root seed; each stage derives its own. No default."
    )
    tokenizer: str = Field(
        default="default", description="Default encoder's, a tokenizer.json, or a hub id."
    )
    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    targets: tuple[TargetConfig, ...] = Field(
        default=(), description="Examples of the tasks to be good at; never part of the pool."
    )
    deduplicate: DeduplicateConfig = DeduplicateConfig()
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    encoder: str = Field(
        default="default", description="default, static, hashing, a local folder, or a hub id."
    )
    topics: TopicsConfig = TopicsConfig()
    signals: tuple[str | dict[str, JsonValue], ...] = Field(
        min_length=1, description="The traders: names, or {name: rarity, k: 20}."
    )
    language_model: LanguageModelConfig = LanguageModelConfig()
    ask_llm: AskLlmConfig | None = Field(
        default=None, description="Who answers for the signals ask_llm and ask_llm_distilled."
    )
    influence: InfluenceConfig = InfluenceConfig()
    market: MarketConfig = MarketConfig()
    settlement: SettlementConfig = SettlementConfig()
    budget: BudgetConfig
    selection: SelectionConfig = SelectionConfig()
    manifest: ManifestConfig = ManifestConfig()
    compare: CompareConfig = CompareConfig()
    compute: ComputeConfig = ComputeConfig()
    drift: DriftConfig = DriftConfig()
    retention: RetentionConfig = RetentionConfig()
    data_docs: bool = Field(
        default=False, description="Write Great Expectations Data Docs of each run's contracts."
    )
    lineage: LineageConfig | None = Field(
        default=None, description="Who hears of runs as OpenLineage events; null: no one."
    )
    engine: EngineConfig = Field(
        default="local",
        description="Where batches of models and sketches run: local, ray, or {ray: {...}}.",
    )

    @field_validator("data_roots", mode="before")
    @classmethod
    def _as_sequence(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _trades_known_signals(self) -> Self:
        from databourse.signals.registry import parse_signal

        signals = [
            parse_signal(dict(each) if isinstance(each, dict) else each) for each in self.signals
        ]
        names = [spec.name for spec, _ in signals]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"signal {repeated[0]!r} is named twice; a signal is one trader")
        weights = self.market.weights
        if isinstance(weights, dict) and set(weights) != set(names):
            raise ValueError(
                f"market.weights must name every signal once: expected {', '.join(sorted(names))}; "
                f"got {', '.join(sorted(weights))}"
            )
        if isinstance(weights, dict) and not any(weights.values()):
            raise ValueError("market.weights are all 0; give at least one trader a weight")
        _check_risk_averse(self.market, names)
        for spec, parameters in signals:
            _check_needs(self, spec.name, spec.needs_of(parameters))
        return self

    @model_validator(mode="after")
    def _has_distinct_example_names(self) -> Self:
        protected = [each for each in self.decontaminate.against if not isinstance(each, str)]
        for key, sections in (
            ("targets", self.targets),
            ("decontaminate.against", protected),
            ("compare.test", self.compare.test),
            ("settlement.targets", self.settlement.targets),
        ):
            names = [each.name for each in sections]
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(
                    f"{key}: the name {repeated[0]!r} is used twice; give each its own"
                )
        return self

    @model_validator(mode="after")
    def _has_distinct_source_names(self) -> Self:
        names = [source.name for source in self.sources]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"source name {repeated[0]!r} is used twice; give each source its own")
        for key, named in _sources_named(self).items():
            unknown = sorted(set(named) - set(names))
            if unknown:
                raise ValueError(
                    f"{key} names the unknown source {unknown[0]!r}; "
                    f"{nearest_names(unknown[0], names)}"
                )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings' signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is passed and nothing else: a config means the same on every machine."""
        return (init_settings,)


def _check_needs(config: RefreshConfig, signal: str, needs: AbstractSet[str]) -> None:
    """Refuse a signal that nothing in the config can feed."""
    if "answers" in needs and config.ask_llm is None:
        raise ValueError(
            f"signal {signal!r} needs a model that answers, and the config names none; add "
            "ask_llm: {model: FOLDER_OR_HUB_ID} for an instruction-tuned model, or ask_llm: "
            "{endpoint: {base_url: http://localhost:8000/v1, model: NAME}}"
        )
    pairs = any(source.prompt is not None for source in config.sources)
    if "targets" in needs and not config.targets:
        raise ValueError(
            f"signal {signal!r} needs examples of the tasks to be good at, and the config names "
            'none; add targets: [{name: NAME, path: FILE, text: "{text}"}]'
        )
    if needs & {"completion_losses", "conditioned_losses"} and not pairs:
        raise ValueError(
            f"signal {signal!r} needs prompts and completions, and no source has them; give one "
            'prompt: "{question}" and completion: "{answer}" in place of text'
        )


def _check_risk_averse(market: MarketConfig, signals: Sequence[str]) -> None:
    traders = market.traders
    if isinstance(traders, str):
        return
    if isinstance(market.liquidity, str) or market.liquidity.shares is None:
        raise ValueError(
            "market.traders with risk_aversion need market.liquidity.shares: their prices depend "
            "on liquidity otherwise than through an effective share"
        )
    if traders.order is not None and sorted(traders.order) != sorted(signals):
        raise ValueError(
            f"market.traders.order must name every signal once: expected "
            f"{', '.join(sorted(signals))}; got {', '.join(traders.order)}"
        )


def _sources_named(config: RefreshConfig) -> dict[str, list[str]]:
    """Return the keys of the config that name sources, and whom they name."""
    prior, selection = config.market.prior, config.selection
    return {
        "market.prior.sources": [] if isinstance(prior, str) else list(prior.sources),
        "selection.source_floor": _named(selection.source_floor),
        "selection.source_cap": _named(selection.source_cap),
    }


def _named(limit: float | dict[str, float] | None) -> list[str]:
    return list(limit) if isinstance(limit, dict) else []


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML that refuses a key written twice: the plain loader silently keeps the last.

    Only true and false are truth values, as in YAML 1.2: yes and no are keys of ask_llm.prompt, and
    words that people write into lists.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - of the base class
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag != "tag:yaml.org,2002:bool" or first in "tTfF"
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} appears twice", node.start_mark
                )
        return super().construct_mapping(node, deep=deep)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RefreshConfig:
    """Return the config in a YAML file, with environment variables and overrides applied.

    Args:
        path: the YAML file.
        overrides: `key=value` pairs; keys are dotted (`budget.tokens=1000`), values are YAML.

    Raises:
        ConfigError: the file is missing or not YAML, or a value is wrong; names the key.
    """
    data = _merged(_read_yaml(path), EnvSettingsSource(RefreshConfig)())
    for override in overrides:
        _apply_override(data, override)
    try:
        return RefreshConfig(**data)
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe_validation_error(error, RefreshConfig)}") from None


def config_yaml(config: RefreshConfig) -> str:
    """Return the config with every default written out, as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def config_digest(config: RefreshConfig) -> str:
    """Return the digest of the settings that can change a result: not resources, not places."""
    settings = config.model_dump(
        mode="json",
        exclude={
            **dict.fromkeys(
                (
                    "compare",
                    "settlement",
                    "compute",
                    "drift",
                    "data_docs",
                    "retention",
                    "warehouse",
                    "manifests",
                    "data_roots",
                    "lineage",
                ),
                True,
            ),
            "manifest": {"mirror"},
        },
    )
    settings["engine"] = "local"  # all engines give the same; digests from before stay as they were
    return digest_of(settings)


def describe_validation_error(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first mistake in one line: where, what came, what is valid; how many follow."""
    # A union reports every branch: a misspelt key, else the deepest place, is the user's mistake,
    # and a branch with an opinion of its own was meant rather than one of another type.
    first = min(
        error.errors(),
        key=lambda each: (
            each["type"] != "extra_forbidden",
            -len(each["loc"]),
            each["type"] != "value_error",
        ),
    )
    place = ".".join(str(part) for part in first["loc"] if _is_written_by_the_user(part))
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, first["loc"][:-1])
        line = f"unknown key {place!r}; {nearest_names(str(first['loc'][-1]), known)}"
    elif first["type"] == "missing":
        line = f"key {place!r} is missing; add it"
    elif first["type"] == "value_error":
        line = str(first["ctx"]["error"])
    else:
        came = repr(first["input"])
        line = (
            f"{place}: {first['msg'].lower()}, got {came if len(came) < 80 else came[:77] + '...'}"
        )
    rest = error.error_count() - 1
    return f"{line} (and {rest} more)" if rest else line


def _is_written_by_the_user(part: int | str) -> bool:
    """Tell keys and positions from the class names and tags that pydantic adds for unions."""
    return isinstance(part, int) or (part == part.lower() and part.isidentifier())


def _known_keys(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the valid keys at a place in the config; a union offers those of every branch."""
    models: list[type[BaseModel]] = [model]
    for part in location:
        models = [found for each in models for found in _models_below(each, part)] or models
    return sorted({name for each in models for name in each.model_fields})


def _models_below(model: type[BaseModel], part: int | str) -> list[type[BaseModel]]:
    if isinstance(part, int) or part == model.__name__:
        return [model]
    field = model.model_fields.get(part)
    return _models_in(field.annotation) if field else []


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in _models_in(inner)]


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"there is no config file {path}; write one with: databourse init DIR")
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path} must hold keys and values, such as 'pool: my_pool'; got {type(data).__name__}"
        )
    return data


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both layers; where both hold a mapping, merged in turn, else the upper one's value."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            result[key] = _merged(under, value)
        else:
            result[key] = value
    return result


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set takes key=value, such as budget.tokens=60000; got {override!r}")
    *parents, last = key.strip().split(".")
    place = data
    for parent in parents:
        child = place.get(parent)
        if not isinstance(child, Mapping):
            child = {}
        place[parent] = dict(child)
        place = place[parent]
    place[last] = yaml.load(value, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader

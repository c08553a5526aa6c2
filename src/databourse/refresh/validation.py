"""`databourse validate`: what a run would refuse, found in seconds and before any compute."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from databourse.config import NearDuplicates, RefreshConfig, config_yaml, load_config
from databourse.config_models import REFERENCE, MeaningByEntailment
from databourse.dedup.minhash import RECALL_AT_THRESHOLD, candidate_probability, choose_banding
from databourse.encoders import check_encoder
from databourse.engines import check_engine
from databourse.errors import ConfigError
from databourse.manifests import check_mirror
from databourse.manifests.signatures import key_id
from databourse.queries import contracts_root
from databourse.refresh.answering import check_answering
from databourse.refresh.environment import require_pipeline
from databourse.refresh.examples import example_sections
from databourse.refresh.language_models import check_entailment_model, check_language_model
from databourse.refresh.lineage import require_lineage
from databourse.refresh.settings import (
    all_needs,
    configured_signals,
    configured_signing_key,
    model_work,
    open_configured_source,
)
from databourse.refresh.standing_wealth import SETTLED
from databourse.sources import check_source
from databourse.tokenization import check_tokenizer

_CURVE_AT = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Check:
    """One thing that is as a run needs it."""

    what: str
    found: str


@dataclass(frozen=True)
class Validation:
    """Every check that was made; a failed one is an error instead."""

    checks: tuple[Check, ...]
    config_text: str


def validate_config(path: Path, overrides: Sequence[str]) -> Validation:
    """Check config, packages, files, columns, signals, models, contracts and folders.

    Raises:
        DatabourseError: the first thing that a run would refuse, in one line.
    """
    config = load_config(path, overrides)
    return Validation(tuple(_checks(config, path.resolve())), config_yaml(config))


def _checks(config: RefreshConfig, path: Path) -> Iterator[Check]:
    yield Check(
        "config", f"{path}: pool {config.pool}, {config.budget.kind} {config.budget.amount:g}"
    )
    require_pipeline()
    yield Check("packages", "everything that a refresh imports is installed")
    yield Check("engine", check_engine(config.engine))
    for source in config.sources:
        names = check_source(open_configured_source(config, source, path.parent))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield Check("source", f"{source.name}: {names[0]}{more}")
    for kind, sections in example_sections(config).items():
        for section in sections:
            names = check_source(open_configured_source(config, section, path.parent))
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            yield Check(kind, f"{section.name}: {names[0]}{more}")
    if config.deduplicate.near:
        yield Check("near dedup", _curve_of(config.deduplicate.near))
    if config.deduplicate.semantic:
        least = config.deduplicate.semantic.threshold
        yield Check("semantic dedup", f"drops from cosine {least:g} of the encoder's vectors")
    signals = configured_signals(config)
    yield Check("signals", ", ".join(signal.spec.name for signal in signals))
    yield Check("weights", _check_weights(config, [signal.spec.name for signal in signals]))
    yield Check("tokenizer", check_tokenizer(config.tokenizer, root=path.parent))
    yield Check(
        "encoder", check_encoder(config.encoder, device=config.compute.device, root=path.parent)
    )
    yield from check_models(config, path.parent)
    contracts = sorted(contract.name for contract in contracts_root().glob("*.odcs.yaml"))
    yield Check("contracts", f"{len(contracts)} in {contracts_root()}")
    signing_key = configured_signing_key(config, path.parent)
    if signing_key is not None:
        yield Check("signing key", key_id(signing_key.public_key()))
    if config.lineage is not None:
        yield Check("lineage", require_lineage(config.lineage))
    if config.manifest.mirror is not None:
        yield Check("mirror", check_mirror(config.manifest.mirror))
    for folder in (config.warehouse, config.manifests):
        yield Check("folder", _check_folder(path.parent / folder))


def check_models(config: RefreshConfig, root: Path) -> list[Check]:
    """Check the models that signals ask for, without loading any.

    Raises:
        DatabourseError: one cannot be used, or not in this way.
    """
    work, own = model_work(config), config.language_model
    checks = []
    if work.scores or work.generates or work.derives:
        found = check_language_model(own, work, device=config.compute.device, root=root)
        checks.append(Check("language model", found))
    if work.derives:
        check_ensembles(config)
    meaning = own.generations.meaning
    if work.generates and isinstance(meaning, MeaningByEntailment):
        checks.append(Check("entailment", check_entailment_model(meaning.model, root=root)))
    if config.ask_llm is not None and work.asks:
        checks.append(Check("ask_llm", check_answering(config.ask_llm, root=root)))
    return checks


def check_ensembles(config: RefreshConfig) -> None:
    """Pass if the checkpoints that signals ask for can be had.

    Raises:
        ConfigError: they are of trainings, and the language model is not trained on the pool.
    """
    if config.language_model.name == REFERENCE:
        return
    needs, ensemble = all_needs(config), config.influence.gradients.ensemble
    wanted = [
        *(["signal less"] if "steps" in needs else []),
        *(["influence.gradients.ensemble"] if not ensemble.is_single else []),
    ]
    if wanted:
        raise ConfigError(
            f"{wanted[0]} needs checkpoints of a training on the pool, and language_model.name is "
            f"{config.language_model.name!r}; use {REFERENCE!r}, or leave it out"
        )


def _curve_of(settings: NearDuplicates) -> str:
    """Say how likely a pair is to be compared at each Jaccard: the S-curve of the bands."""
    banding = choose_banding(
        settings.threshold, permutations=settings.permutations, recall=RECALL_AT_THRESHOLD
    )
    bands, rows = banding.bands, banding.rows
    chances = [
        f"{similarity:g}: {candidate_probability(similarity, bands=bands, rows=rows):.3f}"
        for similarity in sorted({*_CURVE_AT, settings.threshold})
    ]
    return (
        f"drops from Jaccard {settings.threshold:g} of {settings.ngram}-word shingles; "
        f"{bands} bands of {rows} compare a pair with probability "
        f"{', '.join(chances)}"
    )


def _check_weights(config: RefreshConfig, signals: Sequence[str]) -> str:
    weights = config.market.weights
    if weights == SETTLED:
        return "what the last settlement says; equal before the first (databourse settle CONFIG)"
    if isinstance(weights, str):
        return weights
    return ", ".join(f"{name} {weights[name]:g}" for name in signals)


def _check_folder(folder: Path) -> str:
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ConfigError(f"{folder} cannot be written: {existing} is not a folder we may write in")
    return str(folder.resolve())

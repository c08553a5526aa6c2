"""The section of a config that says how influence on targets is measured by a language model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from databourse.config_section import Section


class EnsembleConfig(Section):
    """Models whose gradients are read together. 1 and 1: the models that score documents."""

    seeds: int = Field(
        default=1, ge=1, le=100, description="Trainings per fold, each with weights of its own."
    )
    checkpoints: int = Field(
        default=1, ge=1, le=100, description="Of each training, evenly apart; the last is its end."
    )

    @property
    def is_single(self) -> bool:
        """Tell whether nothing beside the models that score is trained."""
        return self.seeds == self.checkpoints == 1


class GradientsConfig(Section):
    """Features of documents' gradients, kept for every document: what TRAK reads."""

    layers: Literal["all", "attention", "mlp"] = Field(
        default="all", description="Linear maps whose gradients count; the head never does."
    )
    projection: Literal["two_sided", "sjlt", "rademacher"] = Field(
        default="two_sided", description="How gradients are shortened; two_sided forms none."
    )
    features: int = Field(
        default=1_024, ge=16, le=1 << 20, description="About so many numbers per document."
    )
    output: Literal["loss", "margin"] = Field(
        default="loss", description="What is derived: the loss of a document, or its margin."
    )
    precision: Literal["float32", "float16"] = Field(
        default="float32", description="Of what is stored; float16 takes half the disk."
    )
    ensemble: EnsembleConfig = EnsembleConfig()


class AdamStepsConfig(Section):
    """Features of the step that Adam would take on each document: what LESS reads."""

    checkpoints: int = Field(
        default=3, ge=1, le=100, description="Of a training per fold, weighted by learning rate."
    )
    layers: Literal["all", "attention", "mlp"] = Field(
        default="all", description="Linear maps whose steps count; the head never does."
    )
    features: int = Field(
        default=1_024, ge=16, le=1 << 20, description="About so many numbers per document: an SJLT."
    )
    momentum: bool = Field(
        default=True, description="Whether a step holds the momentum that all documents share."
    )


class DatamodelsConfig(Section):
    """Models retrained on random subsets of the pool: what datamodels are fitted to."""

    proxy: Literal["linear", "causal_lm"] = Field(
        default="linear", description="What is retrained: as `databourse attribution --proxy`."
    )
    subsets: int = Field(default=300, ge=10, le=100_000, description="How many.")
    share: float = Field(default=0.5, gt=0, lt=1, description="Of the documents in each.")
    seeds: int = Field(
        default=1, ge=1, le=100, description="Models per subset; the linear proxy draws nothing."
    )
    targets_per_set: int = Field(
        default=200, ge=2, description="Most examples of each target, whose mean loss is fitted."
    )
    most_documents: int = Field(
        default=2_000, ge=4, description="A larger pool is refused: it would take more subsets."
    )


class InfluenceConfig(Section):
    """Measured with language_model; runs only where a signal or sampler asks for it."""

    layers: Literal["all", "attention", "mlp"] = Field(
        default="attention", description="Linear maps whose gradients count; the head never does."
    )
    curvature: Literal["ekfac", "kfac", "identity"] = Field(
        default="ekfac", description="Inverted in front of target gradients; identity: none."
    )
    labels: Literal["sampled", "data"] = Field(
        default="sampled", description="Of the losses it is fitted on: the model's own, or given."
    )
    damping: float = Field(
        default=0.1, ge=0, le=1e6, description="Added to it, as a share of its mean eigenvalue."
    )
    sample_documents: int = Field(
        default=1_000, ge=10, description="Documents that it is fitted on, chosen by their hash."
    )
    batch_tokens: int = Field(
        default=2_048, ge=16, description="Tokens of a forward and backward pass: bounds memory."
    )
    most_tokens: int | None = Field(
        default=None, ge=1, description="Longer documents are cut; null: read whole, in windows."
    )
    gradients: GradientsConfig = GradientsConfig()
    steps: AdamStepsConfig = AdamStepsConfig()
    datamodels: DatamodelsConfig = DatamodelsConfig()

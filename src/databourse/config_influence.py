"""The section of a config that says how influence on targets is measured by a language model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from databourse.config_section import Section


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

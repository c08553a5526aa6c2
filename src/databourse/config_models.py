"""The sections of a config that name language models: who scores tokens, and who is asked."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from databourse.config_section import Section

REFERENCE = "reference"
"""The name of the model that a refresh trains itself."""


class ReferenceModelConfig(Section):
    """The small causal transformer that is trained on the pool, once per fold."""

    folds: int = Field(
        default=2, ge=2, le=20, description="A document is scored by a model of the other folds."
    )
    most_documents: int = Field(
        default=50_000, ge=100, description="Train on so many documents, chosen by their hash."
    )
    vocabulary: int = Field(
        default=2_048, ge=257, le=262_144, description="Tokens of its byte-level BPE."
    )
    layers: int = Field(default=2, ge=1, le=64, description="Transformer blocks.")
    width: int = Field(default=128, ge=8, le=8_192, description="A multiple of heads.")
    heads: int = Field(default=2, ge=1, le=128, description="Attention heads.")
    context_tokens: int = Field(default=256, ge=16, le=8_192, description="The longest it reads.")
    epochs: int = Field(default=2, ge=1, le=1_000, description="Most passes over the documents.")
    most_tokens: int = Field(
        default=3_000_000, ge=1_000, description="Most tokens trained on per fold, all passes."
    )
    learning_rate: float = Field(default=3e-3, gt=0, le=1, description="The highest.")
    patience: int = Field(
        default=2, ge=1, le=100, description="Evaluations without a gain before it stops."
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                "language_model.reference.width must be a multiple of heads, got "
                f"{self.width} and {self.heads}"
            )
        return self


class MeaningByEmbeddings(Section):
    """Two generations mean the same if their vectors point the same way."""

    by: Literal["embeddings"] = Field(default="embeddings", description="Their vectors.")
    threshold: float = Field(default=0.8, gt=0, le=1, description="Least cosine.")


class MeaningByEntailment(Section):
    """Two generations mean the same if a model of entailment says so."""

    by: Literal["entailment"] = Field(
        default="entailment", description="A classifier of entailment."
    )
    model: str = Field(description="A local folder or hub id of an entailment classifier.")
    rule: Literal["strict", "lenient"] = Field(
        default="lenient",
        description="Entailment both ways, or no contradiction and not both neutral.",
    )


class GenerationsConfig(Section):
    """What is sampled for semantic entropy, and when two samples mean the same."""

    samples: int = Field(default=5, ge=1, le=100, description="Generations per document.")
    new_tokens: int = Field(default=24, ge=1, le=4_096, description="Most tokens of each.")
    prompt_tokens: int = Field(
        default=128, ge=1, le=100_000, description="Most tokens read before them: the last ones."
    )
    temperature: float = Field(default=1.0, ge=0.001, le=1_000, description="Of the sampling.")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Draw from the likeliest tokens of this much mass."
    )
    stop_text: str = Field(
        default="", description="A generation ends before it, such as a newline; empty: none."
    )
    meaning: MeaningByEmbeddings | MeaningByEntailment = Field(
        default=MeaningByEmbeddings(), discriminator="by", description="What means the same."
    )


class LanguageModelConfig(Section):
    """Who scores tokens. It runs only where a signal asks for it."""

    name: str = Field(
        default=REFERENCE,
        min_length=1,
        description="reference (trained on the pool), a local folder, or a hub id.",
    )
    window_tokens: int = Field(
        default=256, ge=2, description="Longer documents are read in windows of so many tokens."
    )
    overlap_tokens: int = Field(
        default=128, ge=1, description="Least tokens seen before a scored one in later windows."
    )
    precision: Literal["float32", "bfloat16", "int8"] = Field(
        default="float32", description="bfloat16 needs a GPU, int8 a CPU."
    )
    reference: ReferenceModelConfig = ReferenceModelConfig()
    generations: GenerationsConfig = GenerationsConfig()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.overlap_tokens > self.window_tokens:
            raise ValueError(
                "language_model.overlap_tokens must be at most window_tokens, got "
                f"{self.overlap_tokens} and {self.window_tokens}"
            )
        if self.name == REFERENCE and self.window_tokens > self.reference.context_tokens:
            raise ValueError(
                "language_model.window_tokens must be at most reference.context_tokens, got "
                f"{self.window_tokens} and {self.reference.context_tokens}"
            )
        return self


class PromptConfig(Section):
    """How a model is asked; what is left out is the default for the kind of model."""

    delimiter: str | None = Field(default=None, description="The line around the document.")
    question: str | None = Field(default=None, description="{delimiter} stands for the delimiter.")
    criteria: str | None = Field(default=None, description="What a good document is.")
    options: Literal["bullets", "inline"] | None = Field(
        default=None, description="One answer per line, or both on one line."
    )
    cue: str | None = Field(default=None, description="What comes after the answers.")
    yes: tuple[str, ...] | None = Field(default=None, description="Spellings that count as yes.")
    no: tuple[str, ...] | None = Field(default=None, description="Spellings that count as no.")
    max_document_tokens: int | None = Field(
        default=None, ge=1, description="Longer documents are cut."
    )
    truncate: Literal["head", "head_tail"] | None = Field(
        default=None, description="What of a long document is kept."
    )
    wrap: Literal["plain", "chat_template"] | None = Field(
        default=None, description="Whether a causal model's own chat template goes around it."
    )

    @field_validator("yes", "no", mode="before")
    @classmethod
    def _as_sequence(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class EndpointConfig(Section):
    """An OpenAI-compatible endpoint that gives log-probabilities, and how hard it may be asked."""

    base_url: str = Field(description="Up to the version, such as http://localhost:8000/v1.")
    model: str = Field(min_length=1, description="Its name there.")
    api: Literal["chat", "completions"] = Field(default="chat", description="Which one is asked.")
    api_key_variable: str | None = Field(
        default=None, description="The environment variable that holds the key."
    )
    top_logprobs: int = Field(default=20, ge=1, le=100, description="Alternatives asked for.")
    bytes_per_token: float = Field(default=4.0, ge=1, le=1_000, description="To cut documents.")
    concurrency: int = Field(default=8, ge=1, le=1_000, description="Requests at a time.")
    requests_per_second: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="At most, retries included."
    )
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="At most, prompt and answer."
    )
    timeout_seconds: float = Field(default=60.0, gt=0, description="Of one request.")
    max_attempts: int = Field(default=6, ge=1, le=100, description="For one document.")
    backoff_seconds: float = Field(default=1.0, gt=0, description="Before the second attempt.")
    max_wait_seconds: float = Field(default=120.0, gt=0, description="No wait is longer.")
    max_failures_in_a_row: int = Field(
        default=20, ge=1, description="So many documents without one success end the run."
    )


class AskLlmConfig(Section):
    """Who is asked whether a document is worth training on: exactly one of model, endpoint."""

    model: str | None = Field(default=None, description="A local folder or hub id.")
    endpoint: EndpointConfig | None = Field(default=None, description="An HTTP endpoint.")
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="Of model.")
    prompt: PromptConfig = PromptConfig()
    max_failed_share: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="More documents without an answer, after all retries, stop the run.",
    )

    @model_validator(mode="after")
    def _is_one_scorer(self) -> Self:
        if (self.model is None) == (self.endpoint is None):
            came = "none" if self.model is None else "both"
            raise ValueError(f"ask_llm needs exactly one of model, endpoint; got {came}")
        return self

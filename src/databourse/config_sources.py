"""The sections of the config that say what is read: sources, targets, and texts to keep out."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from databourse.config_section import Section, Slug


class PartConfig(Section):
    """Some of the rows of files, by the hash of their text: the same text is always in one part."""

    of: int = Field(ge=2, le=1_000, description="How many parts there are, about equally large.")
    take: tuple[int, ...] = Field(min_length=1, description="Which are read, from 0: one or more.")

    @field_validator("take", mode="before")
    @classmethod
    def _as_sequence(cls, value: object) -> object:
        return (value,) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _are_there(self) -> Self:
        outside = [each for each in self.take if not 0 <= each < self.of]
        if outside:
            raise ValueError(f"part.take must be in 0 to {self.of - 1}, got {outside[0]}")
        if len(set(self.take)) < len(self.take):
            raise ValueError(f"part.take names a part twice, got {list(self.take)}")
        return self


class FilesConfig(Section):
    """Files of rows, and how a row becomes a text."""

    what: ClassVar[str] = "source"
    """What such a section is called in messages."""

    name: Slug = Field(description="Its name in tables and reports.")
    path: str | tuple[str, ...] = Field(
        default=(), description="Files: paths, globs or fsspec URIs; .gz and .zst are unpacked."
    )
    format: Literal["auto", "jsonl", "csv", "parquet"] = Field(
        default="auto", description="Auto goes by the file name's ending."
    )
    columns: tuple[str, ...] = Field(
        default=(), description="Column names of CSV files that have no header line."
    )
    delimiter: str = Field(default=",", min_length=1, max_length=1, description="Of CSV files.")
    text: str | None = Field(
        default=None, description='Template over columns, such as "{title}. {body}".'
    )
    prompt: str | None = Field(
        default=None, description="Template of the prompt; needs completion."
    )
    completion: str | None = Field(default=None, description="Template of the completion.")
    label: str | None = Field(default=None, description="Column that holds the label.")
    labels: dict[str, str] = Field(
        default={},
        description="What labels are called instead, as in {1: World}; others stay as they are.",
    )
    part: PartConfig | None = Field(
        default=None,
        description="Read only some rows, by the hash of their text: {of: 4, take: 0} is one row "
        "in four, {of: 4, take: [1, 2, 3]} all others.",
    )
    max_row_bytes: int = Field(
        default=16 * 2**20, ge=1, description="Longer rows go to quarantine instead of memory."
    )

    @field_validator("path", "columns", mode="before")
    @classmethod
    def _as_sequence(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("labels", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {str(key): str(name) for key, name in value.items()}

    @model_validator(mode="after")
    def _says_what_to_read(self) -> Self:
        self._check()
        return self

    def _check(self) -> None:
        if not self.path:
            raise ValueError(
                f"{self.what} {self.name!r} has no path; add one, such as path: data/*.jsonl.gz"
            )
        if (self.prompt is None) != (self.completion is None):
            missing = "completion" if self.completion is None else "prompt"
            raise ValueError(
                f"{self.what} {self.name!r} needs prompt and completion together; add {missing!r}"
            )
        if (self.text is None) == (self.prompt is None):
            raise ValueError(
                f"{self.what} {self.name!r} needs either text or prompt and completion; "
                'add one, such as text: "{text}"'
            )


class SourceConfig(FilesConfig):
    """Where documents come from and how a row becomes a document."""

    kind: Literal["files", "docstrings"] = Field(
        default="files", description="Files, or the docstrings of installed Python packages."
    )
    metadata: tuple[str, ...] = Field(
        default=(), description="Columns that are kept beside the text."
    )
    packages: tuple[str, ...] = Field(
        default=(), description="Docstrings: the packages to read; empty means all installed."
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        description="Docstrings: keep this many, chosen by the hash of their text.",
    )
    min_characters: int = Field(default=1, ge=1, description="Shorter texts go to quarantine.")

    @field_validator("metadata", "packages", mode="before")
    @classmethod
    def _lists(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    def _check(self) -> None:
        if self.kind == "files":
            super()._check()
            return
        unused = [
            key
            for key in (
                "path",
                "text",
                "prompt",
                "completion",
                "columns",
                "label",
                "labels",
                "part",
            )
            if getattr(self, key)
        ]
        if unused:
            raise ValueError(
                f"source {self.name!r} of kind docstrings takes no {unused[0]!r}; remove it"
            )


class TargetConfig(FilesConfig):
    """Examples of one task that a trained model must be good at; they are never in the pool."""

    what: ClassVar[str] = "target"


class ProtectedConfig(FilesConfig):
    """Texts that must not be in the pool, such as a test set."""

    what: ClassVar[str] = "decontaminate.against"


class DecontaminateConfig(Section):
    """What is dropped from the pool because it gives away what a model is measured with."""

    against: tuple[str | ProtectedConfig, ...] = Field(
        default=(),
        description="Files to keep out of the pool beside the targets: sections like those of "
        "targets, or paths that are read as the first source of files is.",
    )
    ngram: int = Field(
        default=8, ge=2, le=50, description="Words of an n-gram by which texts are compared."
    )
    overlap: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Drop from this share of an example's words inside shared n-grams on.",
    )
    long_ngram: int | None = Field(
        default=13,
        ge=2,
        le=200,
        description="One shared run of so many words is enough; null: none is.",
    )
    short_words: int = Field(
        default=5,
        ge=1,
        le=50,
        description="Examples shorter than ngram: from so many words on a document may not contain "
        "them; below, not equal them.",
    )
    numbers: Literal["kept", "masked_too"] = Field(
        default="masked_too",
        description="masked_too: compare a second time with every number alike, to find examples "
        "with changed numbers.",
    )
    template_examples: int | None = Field(
        default=None,
        ge=1,
        description="N-grams in more than so many different examples are a template and do not "
        "count; null: all count.",
    )
    near_ngram: int | None = Field(
        default=5,
        ge=2,
        le=50,
        description="Words of the shorter n-grams that find near matches, where words are changed "
        "here and there; null: no near matches.",
    )
    near_overlap: float = Field(
        default=0.65,
        gt=0,
        le=1,
        description="Near matches: drop from this share of an example's words inside them on.",
    )
    max_removed_share_per_source: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="A source that loses more than this share stops the run.",
    )

    @field_validator("against", mode="before")
    @classmethod
    def _as_sequence(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _is_longer(self) -> Self:
        if self.long_ngram is not None and self.long_ngram < self.ngram:
            raise ValueError(
                f"decontaminate.long_ngram must be at least ngram, got {self.long_ngram} and "
                f"{self.ngram}"
            )
        return self

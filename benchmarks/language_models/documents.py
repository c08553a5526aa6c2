"""The documents of the language model benchmarks: GSM8K where it is, else installed docstrings."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

from databourse.sources.docstrings import DocstringSource
from databourse.sources.rows import SourceRow

_GSM8K = "gsm8k/train.jsonl.gz"


def documents(n_documents: int) -> tuple[str, list[str]]:
    """Return the name of a corpus and its first documents."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    file = Path(os.environ.get("DATABOURSE_DATA", beside)) / _GSM8K
    if not file.is_file():
        return "docstrings of the installed packages", _docstrings(n_documents)
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return "GSM8K", [f"{row['question']}\n{row['answer']}" for row in rows[:n_documents]]


def _docstrings(n_documents: int) -> list[str]:
    source = DocstringSource("docstrings", (), limit=n_documents, min_characters=100)
    rows = (row for part in source.parts() for row in part.rows())
    return [row.text for row in rows if isinstance(row, SourceRow)]

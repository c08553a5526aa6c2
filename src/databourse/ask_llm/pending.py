"""Which of the documents given are still to be asked about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from databourse.errors import InputError


def pending_documents(
    documents: Iterable[tuple[str, str]], already_scored: AbstractSet[str]
) -> Iterator[tuple[str, str]]:
    """Yield the documents, document_id and text, that have no score yet, in the order given.

    Raises:
        InputError: an id comes twice, whether it is scored or not.
    """
    seen: set[str] = set()
    for document_id, text in documents:
        if document_id in seen:
            raise InputError(f"document_id {document_id!r} comes twice; ids are unique")
        seen.add(document_id)
        if document_id not in already_scored:
            yield document_id, text

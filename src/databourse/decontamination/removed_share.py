"""The guard against a decontamination that eats a source: a template, or the pool as its target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from databourse.errors import DatabourseError, InputError

_SHOWN = 3


class DecontaminationError(DatabourseError):
    """Decontamination would remove more of a source than its config allows."""


def check_removed_shares(
    removed: Mapping[str, int],
    documents: Mapping[str, int],
    *,
    allowed_share: float,
    sets: Mapping[str, int],
    frequent: Sequence[tuple[str, int]],
) -> None:
    """Pass if no source loses more than the allowed share of its documents; else name it.

    Args:
        removed: source -> documents to drop; a source that loses none may be absent.
        documents: source -> documents before.
        allowed_share: in (0, 1]; a source that loses exactly this share passes.
        sets: protected set -> documents dropped for it; the largest are shown.
        frequent: shared n-grams and how many dropped documents hold them, the most frequent first.

    Raises:
        DecontaminationError: names the source with the largest share (ties by name).
        InputError: a share cannot be formed, or `allowed_share` is outside (0, 1].
    """
    if not 0 < allowed_share <= 1:
        raise InputError(f"allowed_share must be in (0, 1], got {allowed_share!r}")
    for source, dropped in removed.items():
        if not 0 <= dropped <= documents.get(source, 0):
            raise InputError(
                f"source {source!r}: removed must be between 0 and its documents, "
                f"got {dropped:,} of {documents.get(source, 0):,}"
            )
    shares = {source: dropped / documents[source] for source, dropped in removed.items() if dropped}
    over = sorted(
        (source for source in shares if shares[source] > allowed_share),
        key=lambda source: (-shares[source], source),
    )
    if over:
        worst = over[0]
        raise DecontaminationError(
            f"decontamination would remove {removed[worst]:,} of {documents[worst]:,} documents "
            f"({shares[worst]:.1%}) of source {worst!r}; allowed is {allowed_share:.1%}"
            f"{_sets_text(sets)}{_frequent_text(frequent)}. If these words are a template, set "
            "decontaminate.template_examples; if a protected set was made from this source, take "
            "one of them out; else raise decontaminate.max_removed_share_per_source."
        )


def _sets_text(sets: Mapping[str, int]) -> str:
    largest = sorted((-count, name) for name, count in sets.items() if count)[:_SHOWN]
    shown = ", ".join(f"{name} ({-count:,})" for count, name in largest)
    return f"; for the sets {shown}" if shown else ""


def _frequent_text(frequent: Sequence[tuple[str, int]]) -> str:
    shown = ", ".join(f"{words!r} ({count:,})" for words, count in frequent[:_SHOWN])
    return f"; shared words: {shown}" if shown else ""

"""The guard against a dedup that eats a source: a wrong threshold, or a source of boilerplate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from databourse.errors import DedupError, InputError

_GROUPS_SHOWN = 3


def check_removed_shares(
    removed: Mapping[str, int],
    arrivals: Mapping[str, int],
    *,
    allowed_share: float,
    largest_groups: Mapping[str, Sequence[tuple[str, int]]] | None = None,
) -> None:
    """Pass if no source loses more than the allowed share of its arrivals; else stop and name it.

    Args:
        removed: source -> arrivals dropped as duplicates; a source that lost none may be absent.
        arrivals: source -> arrivals that came in, > 0.
        allowed_share: in (0, 1]; a source that loses exactly this share passes.
        largest_groups: source -> (representative_id, number of its arrivals dropped for that one),
            in any order; the largest are shown.

    Raises:
        DedupError: names the source with the largest share among those over the limit (ties by
            name), how many others are over it, and the largest groups.
        InputError: a share cannot be formed, or `allowed_share` is outside (0, 1].
    """
    if not 0 < allowed_share <= 1:
        raise InputError(f"allowed_share must be in (0, 1], got {allowed_share!r}")
    for source, dropped in removed.items():
        if not 0 <= dropped <= arrivals.get(source, 0):
            raise InputError(
                f"source {source!r}: removed must be between 0 and its arrivals, "
                f"got {dropped:,} of {arrivals.get(source, 0):,}"
            )
    shares = {source: dropped / arrivals[source] for source, dropped in removed.items() if dropped}
    over = sorted(
        (source for source in shares if shares[source] > allowed_share),
        key=lambda source: (-shares[source], source),
    )
    if over:
        worst = over[0]
        raise DedupError(
            f"deduplication would remove {removed[worst]:,} of {arrivals[worst]:,} arrivals "
            f"({shares[worst]:.1%}) of source {worst!r}; allowed is {allowed_share:.1%}"
            f"{_other_sources(over[1:])}{_groups_text((largest_groups or {}).get(worst, ()))}. "
            "Look at these texts, then raise deduplicate.max_removed_share_per_source or "
            "deduplicate.near.threshold, or take the source out."
        )


def _other_sources(sources: Sequence[str]) -> str:
    return f" (also over it: {', '.join(sources)})" if sources else ""


def _groups_text(groups: Sequence[tuple[str, int]]) -> str:
    largest = sorted(groups, key=lambda group: (-group[1], group[0]))[:_GROUPS_SHOWN]
    if not largest:
        return ""
    shown = ", ".join(f"{representative} ({dropped:,})" for representative, dropped in largest)
    return f"; largest groups by representative: {shown}"

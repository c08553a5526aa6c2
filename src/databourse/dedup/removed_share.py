"""The guard against a dedup that eats a source or a label: a wrong threshold, or boilerplate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from databourse.errors import DedupError, InputError

_GROUPS_SHOWN = 3
_EXCERPT_CHARACTERS = 60

Part = Literal["source", "label"]


@dataclass(frozen=True)
class DuplicateGroup:
    """The arrivals of one part of the pool that one document stands for.

    Attributes:
        representative_id: the document.
        dropped: arrivals dropped for it.
        text: of the document, or its beginning.
    """

    representative_id: str
    dropped: int
    text: str = ""


def over_allowed_share(
    removed: Mapping[str, int], arrivals: Mapping[str, int], *, allowed_share: float
) -> list[str]:
    """Return the parts that lose more than the allowed share of their arrivals, the worst first.

    Args:
        removed: source or label -> arrivals dropped as duplicates; one that lost none may be
            absent.
        arrivals: source or label -> arrivals that came in, > 0.
        allowed_share: in (0, 1]; a part that loses exactly this share is not over it.

    Returns:
        Names by share lost, the largest first; ties by name.

    Raises:
        InputError: a share cannot be formed, or `allowed_share` is outside (0, 1].
    """
    if not 0 < allowed_share <= 1:
        raise InputError(f"allowed_share must be in (0, 1], got {allowed_share!r}")
    for part, dropped in removed.items():
        if not 0 <= dropped <= arrivals.get(part, 0):
            raise InputError(
                f"{part!r}: removed must be between 0 and its arrivals, "
                f"got {dropped:,} of {arrivals.get(part, 0):,}"
            )
    shares = {part: dropped / arrivals[part] for part, dropped in removed.items() if dropped}
    return sorted(
        (part for part in shares if shares[part] > allowed_share),
        key=lambda part: (-shares[part], part),
    )


def largest_groups(groups: Sequence[DuplicateGroup]) -> list[DuplicateGroup]:
    """Return the few largest groups, ties by representative."""
    return sorted(groups, key=lambda each: (-each.dropped, each.representative_id))[:_GROUPS_SHOWN]


def removed_share_error(
    part: Part,
    over: Sequence[str],
    *,
    removed: int,
    arrivals: int,
    allowed_share: float,
    groups: Sequence[DuplicateGroup],
) -> DedupError:
    """Return the error that stops a run over a part of the pool which loses too much.

    Args:
        part: what is over its share.
        over: their names, at least one; the first is told of.
        removed: arrivals that the first loses.
        arrivals: of the first.
        allowed_share: of its arrivals.
        groups: its largest ones, largest first, which are shown with the beginning of their text.
    """
    others = f" (also over it: {', '.join(over[1:])})" if len(over) > 1 else ""
    shown = ", ".join(_shown(each) for each in groups)
    return DedupError(
        f"deduplication would remove {removed:,} of {arrivals:,} arrivals "
        f"({removed / arrivals:.1%}) of {part} {over[0]!r}; allowed is {allowed_share:.1%}{others}"
        f"{f'; largest groups by representative: {shown}' if shown else ''}. Look at these texts, "
        f"then raise deduplicate.max_removed_share_per_{part} or deduplicate.near.threshold, or "
        f"take the {part} out."
    )


def _shown(group: DuplicateGroup) -> str:
    words = " ".join(group.text.split())
    excerpt = words[:_EXCERPT_CHARACTERS] + ("..." if len(words) > _EXCERPT_CHARACTERS else "")
    return f"{group.representative_id} ({group.dropped:,}{f': {excerpt!r}' if excerpt else ''})"

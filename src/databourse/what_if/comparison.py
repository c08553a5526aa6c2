"""What would change: a selection beside the one that is published, over the same documents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from databourse.errors import InputError
from databourse.market.board import Board
from databourse.market.lmsr import FloatArray
from databourse.market.standardisation import IntArray
from databourse.selection.greedy import BoolArray


@dataclass(frozen=True)
class GroupShift:
    """What is bought of one topic or source, before and after."""

    name: str
    documents_before: int
    documents_after: int
    tokens_before: int
    tokens_after: int


@dataclass(frozen=True)
class Mover:
    """A document that enters or leaves, with its price under the new settings."""

    document_id: str
    topic: str
    source: str
    tokens: int
    price_rank: int
    log_price_per_token: float


@dataclass(frozen=True)
class Totals:
    """Size of a selection."""

    documents: int
    tokens: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """What enters, leaves and stays; `entered` and `left` are positions on the board.

    `entered` is in order of price per token, the dearest first; `left` the cheapest first.
    """

    before: Totals
    after: Totals
    kept: Totals
    entered: IntArray
    left: IntArray
    topics: tuple[GroupShift, ...]
    sources: tuple[GroupShift, ...]

    @property
    def overlap(self) -> float:
        """Return the documents in both selections as a share of those in either (Jaccard)."""
        either = self.before.documents + self.after.documents - self.kept.documents
        return self.kept.documents / either if either else 1.0


def compare_selections(
    board: Board, *, before: BoolArray, after: BoolArray, ranking: IntArray
) -> Comparison:
    """Return how one selection of a board's documents differs from another.

    Args:
        board: the documents.
        before: shape (n,), true where published.
        after: shape (n,), true where the new settings buy.
        ranking: positions under the new settings, dearest per token first.

    Raises:
        InputError: shapes do not match the board.
    """
    for name, values in (("before", before), ("after", after), ("ranking", ranking)):
        if values.shape != (board.n_documents,):
            raise InputError(
                f"{name} must have one element for each of {board.n_documents:,} documents, "
                f"got shape {values.shape}"
            )
    entered = ranking[(after & ~before)[ranking]]
    left = ranking[(before & ~after)[ranking]][::-1]
    return Comparison(
        before=_totals(board, before),
        after=_totals(board, after),
        kept=_totals(board, before & after),
        entered=entered,
        left=left,
        topics=_shifts(board, board.topics, board.topic_index, before, after),
        sources=_shifts(board, board.sources, board.source_index, before, after),
    )


def movers(
    board: Board, positions: IntArray, *, ranks: IntArray, log_price_per_token: FloatArray
) -> list[Mover]:
    """Return documents of a board as rows to show.

    Args:
        board: the documents.
        positions: which of them, in the order to show.
        ranks: shape (n,), 1 is the dearest per token.
        log_price_per_token: shape (n,).
    """
    return [
        Mover(
            document_id=board.document_ids[position].as_py(),
            topic=board.topics[board.topic_index[position]],
            source=board.sources[board.source_index[position]],
            tokens=int(board.tokens[position]),
            price_rank=int(ranks[position]),
            log_price_per_token=float(log_price_per_token[position]),
        )
        for position in positions.tolist()
    ]


def _totals(board: Board, is_bought: BoolArray) -> Totals:
    return Totals(int(np.count_nonzero(is_bought)), int(board.tokens[is_bought].sum()))


def _shifts(
    board: Board, names: tuple[str, ...], index: IntArray, before: BoolArray, after: BoolArray
) -> tuple[GroupShift, ...]:
    """Return every group, those whose tokens change most first, then in order of name."""
    counts = [
        np.bincount(index[chosen], minlength=len(names)).tolist() for chosen in (before, after)
    ]
    tokens = [_tokens_by(index[chosen], board.tokens[chosen], names) for chosen in (before, after)]
    shifts = [
        GroupShift(name, counts[0][group], counts[1][group], tokens[0][group], tokens[1][group])
        for group, name in enumerate(names)
    ]
    return tuple(
        sorted(shifts, key=lambda each: (-abs(each.tokens_after - each.tokens_before), each.name))
    )


def _tokens_by(index: IntArray, tokens: IntArray, names: tuple[str, ...]) -> list[int]:
    totals = np.zeros(len(names), dtype=np.int64)
    np.add.at(totals, index, tokens)
    return [int(total) for total in totals]

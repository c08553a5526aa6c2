"""Nearest documents of each document, by the cosine of their embeddings."""

from __future__ import annotations

from databourse.neighbours.search import Neighbours, nearest_neighbours

__all__ = ["Neighbours", "nearest_neighbours"]

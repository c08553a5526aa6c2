"""Density: how crowded the place of a document is, from counts of hash collisions."""

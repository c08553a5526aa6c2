"""Deduplication: which arrival of a text survives, and which texts are nearly the same."""

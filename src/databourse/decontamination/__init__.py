"""Decontamination: which documents repeat text that a model will be judged by."""

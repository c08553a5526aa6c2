"""Signals: numbers per document, larger is more useful; in the market each is a trader.

`databourse.signals.registry` lists them and reads their parameters,
`databourse.signals.computation` runs one. A new signal is one file plus one line in the registry.
"""

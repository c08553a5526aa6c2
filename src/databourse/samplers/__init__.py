"""Samplers: rivals of the market, each of which spends the same budget in its own way.

`databourse.samplers.registry` lists them, `databourse.samplers.interface` says what one is and runs
it. A new sampler is one entry in the tuple of its module plus one line in the registry.
"""

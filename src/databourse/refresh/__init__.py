"""The stages of a refresh over the warehouse: each finds what is missing, computes it, commits it.

Tasks call these functions; they hold the loops over batches, the algorithms stay pure.
"""

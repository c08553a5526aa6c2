"""How well attributions foretell models that were retrained on random subsets: the LDS report."""

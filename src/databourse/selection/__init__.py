"""Selection: what a budget buys of a ranked pool, and why it left the rest."""

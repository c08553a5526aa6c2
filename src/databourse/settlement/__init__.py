"""Settlement: an oracle pays on a sample of contracts, traders earn or lose wealth by it."""

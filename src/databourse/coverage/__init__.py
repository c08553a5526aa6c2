"""Which documents stand for many others, and which repeat them, by their embeddings."""

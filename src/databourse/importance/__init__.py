"""How much more likely a document is under target texts than under the pool: DSIR, classifiers."""

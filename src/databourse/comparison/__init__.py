"""Side by side: what each sampler's pick teaches a model, at equal tokens."""

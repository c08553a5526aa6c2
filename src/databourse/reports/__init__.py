"""The report of a manifest: one self-contained page, its plots, and a short Prefect artifact."""

"""The stages of a refresh: each reads, calls one function of databourse, and writes."""

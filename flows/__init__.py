"""Deployable flows, and the command line."""

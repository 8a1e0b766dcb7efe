"""Reads zoos: `datasets` objects, single models, summaries, figures."""

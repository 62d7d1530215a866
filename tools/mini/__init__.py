"""Pretraining of the small GPT-2 that ships with the course: `python -m tools.mini`."""

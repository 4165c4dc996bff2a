"""Extraction: a copy of the model is trained on its answers."""

"""Defenses that look at the training records before a model is trained on them."""

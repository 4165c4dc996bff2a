"""Poisoning: records that an attacker puts into the training data make the model do what the attacker wants."""

"""Attacks that ask whether a record was in the training set."""

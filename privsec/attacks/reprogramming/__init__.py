"""Reprogramming: a model is made to do a task of the attacker's, by what stands around the record."""

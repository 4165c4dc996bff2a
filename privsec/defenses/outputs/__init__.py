"""Defenses that change what a served model answers."""

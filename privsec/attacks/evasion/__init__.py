"""Evasion: a record is changed a little, and the model errs."""

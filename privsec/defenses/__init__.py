"""Defenses, sorted by where they act; each file: the paper, pure functions, one Spec."""

from privsec.core.defense import Defense
from privsec.core.spec import Catalog

DEFENSES = Catalog("defense", Defense, "privsec.defenses", "privsec.defenses")

__getattr__ = DEFENSES.class_named

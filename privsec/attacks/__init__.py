"""Attacks, sorted by what they ask; each file: the paper, pure functions, one Spec."""

from privsec.core.attack import Attack
from privsec.core.spec import Catalog

ATTACKS = Catalog("attack", Attack, "privsec.attacks", "privsec.attacks")

__getattr__ = ATTACKS.class_named

"""Classifiers: one architecture a file; each exposes what its layers see, for clipping, defenses and explanations."""

from privsec.core.spec import Catalog
from privsec.nets.base import Net

NETS = Catalog("net", Net, "privsec.nets", "privsec.nets")

__getattr__ = NETS.class_named

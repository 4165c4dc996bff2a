"""Data sets: one a file."""

from privsec.core.spec import Catalog
from privsec.data.base import Source

DATASETS = Catalog("data set", Source, "privsec.data", "privsec.datasets")

__getattr__ = DATASETS.class_named

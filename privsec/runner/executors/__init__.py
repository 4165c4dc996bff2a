"""Who computes a run: this process, several that JAX connects, or a Ray cluster."""

from __future__ import annotations

from privsec.core.spec import Catalog
from privsec.runner.executors.base import Executor

EXECUTORS: Catalog[Executor] = Catalog("executor", Executor, __name__)

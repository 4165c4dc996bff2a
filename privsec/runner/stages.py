"""Where the time of a run goes: seconds of each stage, and what of them is compilation."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import jax
import jax.monitoring

COMPILATION = "/jax/core/compile/"
PROGRAM = "/jax/core/compile/backend_compile_duration"
"""JAX's event for one program that was compiled, or read from the cache on disk."""
OTHER = "other"
"""The stage of what is compiled between stages."""


class Stages:
    """Counts seconds and compilations by stage.

    Attributes:
        seconds: of each stage, less those of stages inside it.
        programs: how many programs were made in each.
        compiling: seconds of tracing and compiling in each, over all threads: with several it may exceed `seconds`.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.programs: defaultdict[str, int] = defaultdict(int)
        self.compiling: defaultdict[str, float] = defaultdict(float)
        self._open: list[tuple[str, list[float]]] = []
        self._lock = threading.Lock()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """What is done inside belongs to this stage, but for what an inner stage claims."""
        inner: list[float] = []
        self._open.append((stage, inner))
        start = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - start
            self._open.pop()
            self.seconds[stage] += took - sum(inner)
            if self._open:
                self._open[-1][1].append(took)

    @contextmanager
    def watched(self, trace: Path | None = None) -> Iterator[None]:
        """Counts what JAX compiles meanwhile; with `trace`, JAX's profiler writes there what the devices do."""
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        try:
            with jax.profiler.trace(str(trace)) if trace else nullcontext():
                yield
        finally:
            jax.monitoring.unregister_event_duration_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: object) -> None:
        if event.startswith(COMPILATION):
            stage = self._open[-1][0] if self._open else OTHER
            with self._lock:
                self.compiling[stage] += duration_secs
                self.programs[stage] += event == PROGRAM

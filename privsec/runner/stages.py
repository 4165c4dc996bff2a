"""Where the time of a run goes: seconds of each stage, and what of them is compilation."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import jax
import jax.monitoring

COMPILATION = "/jax/core/compile/"
PROGRAM = "/jax/core/compile/backend_compile_duration"
"""JAX's event for one program that was compiled, or read from the cache on disk."""
TRACED = 60.0
"""Seconds of a run that the profiler watches, its first: it keeps every event in memory until it writes them all."""
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
        """Counts what JAX compiles meanwhile; with `trace`, JAX's profiler writes there what devices do at first."""
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        try:
            with _traced(trace) if trace else nullcontext():
                yield
        finally:
            jax.monitoring.unregister_event_duration_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: object) -> None:
        if event.startswith(COMPILATION):
            stage = self._open[-1][0] if self._open else OTHER
            with self._lock:
                self.compiling[stage] += duration_secs
                self.programs[stage] += event == PROGRAM


@contextmanager
def _traced(folder: Path) -> Iterator[None]:
    """JAX's profile of the first `TRACED` seconds of what is done inside."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # a call of Python each would be most of what is kept
    with ExitStack() as tracing:
        tracing.enter_context(jax.profiler.trace(str(folder), profiler_options=options))
        timer = threading.Timer(TRACED, tracing.close)  # closed once, by whoever comes first
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

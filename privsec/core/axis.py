"""The models axis on a CPU: one model per core, by threads that share one compiled program.

XLA releases the interpreter lock while a program runs, so threads are enough; no flag, no process, no recompilation
when the number of models changes, and each model's numbers are those of running it alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TypeVar

import jax

Result = TypeVar("Result")
Part = TypeVar("Part")


_limit: list[int] = []


def limit(cores: int) -> None:
    """From now on this process uses at most so many cores for models: the others belong to its neighbors."""
    _limit[:] = [cores]


def workers() -> int:
    """How many models run at once: the cores this process may use on a CPU, else one (an accelerator queues)."""
    if jax.default_backend() != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([cores, *_limit])


def over_models(function: Callable[[int], Result], models: Iterable[int]) -> Iterator[tuple[int, Result]]:
    """Yields `(m, function(m))` as models finish, in no fixed order, at most `workers()` at a time.

    The results do not depend on how many workers there are. An exception of `function` is raised here, after the models
    in flight have ended; a consumer that stops early leaves no thread behind.
    """
    models = list(models)
    if len(models) == 1:  # threads would take longer to start than a small function takes
        yield models[0], function(models[0])
        return
    pending: dict = {}
    with ThreadPoolExecutor(max_workers=workers(), thread_name_prefix="privsec-model") as pool:
        try:
            for model in models:
                pending[pool.submit(function, model)] = model
                if len(pending) >= 2 * workers():
                    yield from _collect(pending)
            while pending:
                yield from _collect(pending)
        finally:
            for future in pending:
                future.cancel()


def each_model(function: Callable[[int], None], models: Iterable[int]) -> None:
    """`over_models` for what `function` does, and not for what it returns."""
    for _ in over_models(function, models):
        pass


def over_members(function: Callable[[Part], Result], stacked: Part) -> Result:
    """`function` of each member of one model, from leaves [members, ...] to such leaves; to be compiled.

    One after the other on a CPU, whose cache one of them fills, else side by side.
    """
    return jax.lax.map(function, stacked) if jax.default_backend() == "cpu" else jax.vmap(function)(stacked)


def _collect(pending: dict) -> Iterator:
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        yield pending.pop(future), future.result()

"""The frame of a benchmark: runs in turns (A B A B), medians with their spread, the machine, one JSON line at the end.

    runs = {"ours": functools.partial(measured, ours), "theirs": functools.partial(measured, theirs)}
    costs = in_turns(runs, rounds=5)                   # {name: a Cost for each round}; warm up and compile before
    print(machine(), versions("torch", "foolbox"))
    print(table(costs, ours="ours", each=points))      # seconds and processor time for each of `points`
    headline(CLAIM, "foolbox 3.3.4, mlp", costs["theirs"], costs["ours"])

Tools that disturb each other (thread pools, allocators) get a process each, started once and asked in turns:

    with Elsewhere(make, *given) as side:              # in there `make(*given)` returns {name: a function}
        costs = in_turns({name: side.run(name) for name in side.names}, rounds=5)

`make` is a function of the script, with its heavy imports inside; where it cannot import, `Elsewhere` raises
ImportError here and `absent(error)` says so. A run's answer comes back in `Cost.answer`. What counts from the start of
the process on is a command: `functools.partial(fresh, [sys.executable, ...])`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
QUIET = 0.15
"""Cores that others may use while a run still counts as undisturbed."""
ENOUGH = 3
"""Undisturbed rounds that are enough to leave out the others."""


class Cost(NamedTuple):
    """One run: seconds passed, seconds of processor time, cores that others used meanwhile, and what it returned."""

    seconds: float
    processor: float
    others: float = 0.0
    answer: Any = None


def measured(run: Callable[[], Any]) -> Cost:
    """Runs it once, here."""
    seconds, processor, busy = time.perf_counter(), time.process_time(), _busy()
    answer = run()
    seconds, processor = time.perf_counter() - seconds, time.process_time() - processor
    others = max(0.0, _busy() - busy - processor) / seconds
    return Cost(seconds, processor, others, answer)


def fresh(command: Sequence[str], **environment: str) -> Cost:
    """Runs a command in a new process, from its start to its end; the answer is what it printed.

    Raises:
        RuntimeError: it failed; the text is what it wrote.
    """
    seconds, processor, busy = time.perf_counter(), _of_children(), _busy()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    seconds, processor = time.perf_counter() - seconds, _of_children() - processor
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return Cost(seconds, processor, max(0.0, _busy() - busy - processor) / seconds, done.stdout)


def in_turns(runs: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, list[Cost]]:
    """Each run once a round, one after the other."""
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            costs[name].append(run())
    return costs


def together(runs: Sequence[Callable[[], Cost]]) -> Cost:
    """All at once, each in its process: seconds until the last ends, everybody's processor time, list of answers."""
    busy, start = _busy(), time.perf_counter()
    with ThreadPoolExecutor(len(runs)) as pool:
        found = list(pool.map(lambda run: run(), runs))
    seconds, processor = time.perf_counter() - start, sum(cost.processor for cost in found)
    others = max(0.0, _busy() - busy - processor) / seconds
    return Cost(seconds, processor, others, [cost.answer for cost in found])


class Elsewhere:
    """A process of its own that holds `make(*given)`, functions by name, and runs them when asked.

    Args:
        make: a function of the script, called in the process.
        given: its arguments, pickled.
        environment: variables of the process.

    Raises:
        ImportError: `make` raised it: a tool is not installed.
    """

    def __init__(self, make: Callable[..., Mapping[str, Callable[[], Any]]], *given: Any, **environment: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, given), daemon=True)
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        self._process.start()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        theirs.close()
        self.names: list[str] = self._answer()

    def run(self, name: str) -> Callable[[], Cost]:
        """A run for `in_turns`."""
        return functools.partial(self._ask, name)

    def _ask(self, name: str) -> Cost:
        self._ours.send(name)
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self._ours.recv()
        except EOFError:
            raise RuntimeError("the process ended; what it wrote is above") from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ours.close()
        self._process.join(10)
        self._process.terminate()


def _serve(asked: Any, make: Callable[..., Mapping[str, Callable[[], Any]]], given: tuple) -> None:
    try:
        runs = make(*given)
    except ImportError as missing:
        asked.send(ImportError(str(missing)))
        return
    asked.send(list(runs))
    while True:
        try:
            name = asked.recv()
        except EOFError:
            return
        asked.send(measured(runs[name]))


def absent(missing: ImportError) -> None:
    """Says that a tool is not installed."""
    print(f"left out, not installed: {missing} (pip install -c constraints.txt -e '.[bench]')")


def ratios(theirs: Sequence[Cost], own: Sequence[Cost], clock: str = "seconds") -> dict[str, float]:
    """How many times as long theirs take: {"ratio": median over rounds, "low", "high"}; undisturbed rounds, if enough.

    Args:
        theirs: a Cost for each round.
        own: the same rounds of ours.
        clock: "seconds" or "processor".
    """
    pairs = list(zip(theirs, own, strict=True))
    quiet = [pair for pair in pairs if max(cost.others for cost in pair) <= QUIET]
    if clock == "seconds" and len(quiet) >= ENOUGH:
        pairs = quiet
    found = [getattr(their, clock) / max(getattr(our, clock), 1e-9) for their, our in pairs]
    named = (("ratio", statistics.median), ("low", min), ("high", max))
    return {name: float(f"{of(found):.3g}") for name, of in named}


def by_both(theirs: Sequence[Cost], own: Sequence[Cost]) -> str:
    """The ratios by seconds passed and by processor time, for a line."""
    passed, by_core = (ratios(theirs, own, clock) for clock in ("seconds", "processor"))
    return f"{passed}, by processor time {by_core}"


def headline(claim: str, against: str, theirs: Sequence[Cost], own: Sequence[Cost]) -> None:
    """Prints the ratio by processor time and then, as the last line, the claim's: by seconds passed.

    Without `theirs` the ratio is null.
    """
    found: dict[str, Any] = {"ratio": None, "low": None, "high": None}
    if theirs and own:
        print("by processor time:", json.dumps(ratios(theirs, own, "processor")))
        found = ratios(theirs, own)
    print(json.dumps({"claim": claim, "against": against, **found}), flush=True)


def table(costs: Mapping[str, Sequence[Cost]], *, ours: str, each: Mapping[str, float] | float = 1.0) -> str:
    """Milliseconds of every run, median (lowest to highest), processor time, and how many times ours that is.

    Args:
        costs: of `in_turns`.
        ours: the name of the run that the others are compared with.
        each: over how many things a run's time is divided; by name where runs differ in it.
    """
    width = max(map(len, costs))
    lines = [f"{'':{width}}  {'ms':>10}  {'low to high':>21}  {'of a core':>10}  {'x ours':>6}  {'by core':>7}  others"]
    apart = per(costs, each)
    for name, found in apart.items():
        seconds = [1e3 * cost.seconds for cost in found]
        processor, others = (statistics.median(getattr(cost, at) for cost in found) for at in ("processor", "others"))
        times, by_core = (ratios(found, apart[ours], clock)["ratio"] for clock in ("seconds", "processor"))
        spread = f"{min(seconds):.4g} to {max(seconds):.4g}"
        lines.append(
            f"{name:{width}}  {statistics.median(seconds):10.4g}  {spread:>21}  {1e3 * processor:10.4g}  {times:6.2f}  "
            f"{by_core:7.2f}  {others:6.2f}"
        )
    return "\n".join(lines)


def per(
    costs: Mapping[str, Sequence[Cost]], each: Mapping[str, float] | Callable[[Cost], float] | float
) -> dict[str, list[Cost]]:
    """What one of `each` things costs: for `headline`, where runs differ in their number; a function: rounds, too."""

    def one(name: str, cost: Cost) -> Cost:
        number = each(cost) if callable(each) else each[name] if isinstance(each, Mapping) else each
        return cost._replace(seconds=cost.seconds / number, processor=cost.processor / number)

    return {name: [one(name, cost) for cost in found] for name, found in costs.items()}


def fastest(costs: Mapping[str, Sequence[Cost]], tool: str) -> str | None:
    """Of the runs whose names begin with `tool` the fastest, by its fastest round; None where there is none."""
    names = [name for name in costs if name.startswith(tool)]
    return min(names, key=lambda name: min(cost.seconds for cost in costs[name]), default=None)


def versions(*packages: str) -> str:
    """The installed versions of privsec, jax, numpy and these, and of Python."""
    found = []
    for package in dict.fromkeys(("privsec", "jax", "numpy", *packages)):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} (source tree)" if package == "privsec" else f"no {package}")
    return ", ".join([*found, f"Python {platform.python_version()}"])


def machine() -> str:
    """The machine's name, its processor and cores, and how busy it is."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    load = f"; load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{platform.node()}: {model or platform.processor()}, {CORES} cores, {sys.platform}{load}"


@functools.cache
def peak(cores: int = 1, side: int = 1536) -> float:
    """FLOP/s of the fastest of some large float32 matrix products on so many cores; on one, by processor time."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    a = np.ones((side, side), np.float32)
    with threadpool_limits(cores):
        costs = [measured(lambda: a @ a) for _ in range(12)]
    return 2 * side**3 / min(cost.processor if cores == 1 else cost.seconds for cost in costs)


def _of_children() -> float:
    """Seconds of processor time of the processes that this one has started and that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def _busy() -> float:
    """Seconds of processor time that all processes of the machine have used, and that were taken from it; else 0."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _, _, irq, soft, stolen = map(int, stat.read_text().split(maxsplit=9)[1:9])
    return (user + nice + system + irq + soft + stolen) / os.sysconf("SC_CLK_TCK")

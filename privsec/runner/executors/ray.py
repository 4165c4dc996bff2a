"""Trainings and attacks as tasks of a Ray cluster; what they make meets in one store. Ray schedules and retries."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from privsec.core import axis
from privsec.core.errors import ConfigError
from privsec.runner.executors.base import Crew, Executor, Filled

if TYPE_CHECKING:
    from privsec.runner.plan import Bank, Cell
    from privsec.runner.results import CellResult
    from privsec.runner.store import Store
    from privsec.runner.work import Work

MOST_MODELS = 32
"""A task trains at most so many models, one chunk of an accelerator."""


class Ray(Executor):
    """Independent trainings and attacks as tasks on a Ray cluster whose nodes share `--out` and the data's paths."""

    name: Literal["ray"] = "ray"
    ray_address: str | None = None
    """Of the cluster, `auto` or `ray://host:port`; RAY_ADDRESS where absent, and a cluster on this machine without."""
    cpus: int = Field(default=1, ge=1)
    """Cores of a task: as many models are trained at once by it."""
    gpus: float = Field(default=0, ge=0)
    """Accelerators of a task."""
    retries: int = Field(default=3, ge=0)
    """How often a task is tried again whose worker died; an error of the computation is a failed cell at once."""

    @contextmanager
    def crew(self) -> Iterator[Crew]:
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError:
            raise ConfigError("executor ray needs Ray: pip install 'privsec[ray]', or --executor local") from None
        joined = ray.is_initialized()
        if not joined:
            own = {} if self.ray_address or os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
            try:
                ray.init(address=self.ray_address, log_to_driver=False, logging_level="warning", **own)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise ConfigError(f"executor.ray_address: no Ray cluster answers: {error}") from None
        try:
            yield Cluster(self, ray)
        finally:
            if not joined:
                ray.shutdown()  # ends its tasks


class Cluster(Crew):
    """The driver, which computes nothing itself."""

    def __init__(self, executor: Ray, ray: Any) -> None:
        self._ray, self._lost, self._retries = ray, ray.exceptions, executor.retries
        asked = {"num_cpus": executor.cpus, "num_gpus": executor.gpus, "max_retries": executor.retries}
        self._plant, self._train, self._fill = (ray.remote(**asked)(task) for task in (_plant, _train, _fill))
        self._cpus, self._gpus = executor.cpus, executor.gpus

    @property
    def facts(self) -> dict[str, Any]:
        return {"executor": {"name": "ray", "nodes": len(self._nodes), "tasks_at_once": self._slots}}

    def gather(self, store: Store) -> None:
        pinned = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        token = store.folder / ".privsec-ray"
        token.touch()
        try:
            look = self._ray.remote(num_cpus=0)(_sees)
            looks = {
                node["NodeManagerHostname"]: look.options(
                    scheduling_strategy=pinned(node_id=node["NodeID"], soft=False)
                ).remote(str(token.absolute()))
                for node in self._nodes
            }
            blind = [host for host, seen in looks.items() if not self._ray.get(seen)]
        finally:
            token.unlink()
        if blind:
            raise ConfigError(
                f"{store.folder.absolute()} is not there on {', '.join(blind)}. The nodes need one folder on a shared "
                "file system, under the same path: choose it with --out."
            )

    def fill(self, work: Work, todo: list[Cell]) -> Filled:
        values, out = work.plan.experiment.model_dump_json(), str(work.store.bank.parent.absolute())
        self._where = (values, out, str(Path.cwd()), self._cpus)
        banks = work.needed(todo)
        with contextlib.ExitStack() as held, work.stages.timed("training"):
            for bank in banks:
                held.enter_context(work.banks.alone(bank))
            poisoned = [bank for bank in banks if bank.attack]
            self._trained(work, [bank for bank in banks if not bank.attack])
            self._done([self._plant.remote(self._where, b.digest) for b in poisoned if not work.store.load_poison(b)])
            self._trained(work, poisoned)
        with work.stages.timed("cells"):
            tasks = {self._fill.remote(self._where, cell.digest): cell for cell in work.by_bank(todo)}
            for task in self._in_turn(list(tasks)):
                cell = tasks[task]
                try:
                    result: CellResult = self._ray.get(task)
                except self._lost.RayError as error:
                    died = isinstance(error, (self._lost.WorkerCrashedError, self._lost.OutOfMemoryError))
                    result = work.cells.failed(cell, _told(error, died, self._retries))
                yield cell, result

    @property
    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    @property
    def _slots(self) -> int:
        """How many tasks the cluster runs at once."""
        have = self._ray.cluster_resources()
        slots = [have.get("CPU", 1) // self._cpus] + ([have.get("GPU", 0) // self._gpus] if self._gpus else [])
        if not all(slots):
            raise ConfigError(
                f"executor ray: a task asks for {self._cpus} cores and {self._gpus:g} accelerators, and the cluster "
                f"has {have.get('CPU', 0):g} and {have.get('GPU', 0):g} in all. Ask for less."
            )
        return int(min(slots))

    def _trained(self, work: Work, banks: list[Bank]) -> None:
        """The missing models of these banks, in tasks; why one failed is told by the cells that need its models."""
        missing = {bank.digest: work.banks.missing(bank) for bank in banks}
        total = sum(map(len, missing.values()))
        size = max(1, min(MOST_MODELS, math.ceil(total / self._slots)))
        tasks = {
            self._train.remote(self._where, digest, models[start : start + size]): len(models[start : start + size])
            for digest, models in missing.items()
            for start in range(0, len(models), size)
        }
        models = (m for task in self._in_turn(list(tasks)) for m in range(tasks[task]))
        for _ in work.narrator.follow("training on the cluster", models, total):
            pass

    def _in_turn(self, tasks: list[Any]) -> Iterator[Any]:
        """The tasks as they end. The driver looks up each second, so that Ctrl-C is heard."""
        while tasks:
            ended, tasks = self._ray.wait(tasks, timeout=1.0)
            yield from ended

    def _done(self, tasks: list[Any]) -> None:
        for _ in self._in_turn(tasks):
            pass


def _told(error: Exception, died: bool, retries: int) -> Exception:
    """A Ray error in a table's words."""
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    what = (
        f"its worker died, perhaps of too little memory, in {retries + 1} of {retries + 1} tries"
        if died
        else "its task was lost"
    )
    return RuntimeError(f"{what} ({type(error).__name__}: {first})")


# What runs in a worker.


def _sees(path: str) -> bool:
    return Path(path).exists()


def _plant(where: tuple[str, str, str, int], digest: str) -> None:
    with contextlib.suppress(Exception):
        _work(where, digest).banks.mixture(digest)


def _train(where: tuple[str, str, str, int], digest: str, models: list[int]) -> None:
    work = _work(where, digest)
    bank = work.banks.bank(digest)
    left = set(work.banks.missing(bank))  # a task whose worker died goes on where it stopped
    with contextlib.suppress(Exception):
        work.banks.fill(bank, [m for m in models if m in left])


def _fill(where: tuple[str, str, str, int], digest: str) -> CellResult:
    work = _work(where, None)
    cell = next(cell for cell in work.plan.cells if cell.digest == digest)
    return _work(where, cell.bank.digest).cells.fill(cell)


_last: list[str | None] = [None]
"""The bank that this worker has in memory."""


def _work(where: tuple[str, str, str, int], bank: str | None) -> Work:
    """The run as this worker has it, data, splits and compiled programs kept from task to task."""
    work = _opened(where)
    if bank is not None and _last[0] != bank:
        work.banks.forget()
        _last[0] = bank
    return work


@functools.lru_cache(maxsize=1)
def _opened(where: tuple[str, str, str, int]) -> Work:
    from rich.console import Console

    from privsec.runner import provenance
    from privsec.runner.config import Experiment
    from privsec.runner.plan import plan
    from privsec.runner.progress import Narrator
    from privsec.runner.store import Store
    from privsec.runner.work import Work

    values, out, folder, cpus = where
    with contextlib.suppress(OSError):  # relative paths of data files
        os.chdir(folder)
    axis.limit(cpus)
    provenance.enable_compilation_cache()
    experiment = Experiment.model_validate_json(values)
    return Work(plan(experiment), Store(experiment, Path(out)), Narrator(Console(file=io.StringIO())))

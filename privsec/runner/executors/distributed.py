"""Several processes, on one host or many, that `jax.distributed` connects; what they make meets in one store.

Process 0 leads. Before an attack, the missing models of each bank are divided; then whoever is free claims the next
cell. JAX's coordination service is where they meet; the models and cells themselves go through the file system.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import jax
from pydantic import Field

from privsec.core.errors import ConfigError
from privsec.runner.executors.base import Crew, Executor, Filled
from privsec.runner.executors.meeting import Meeting

if TYPE_CHECKING:
    from privsec.runner.plan import Bank, Cell
    from privsec.runner.store import Store
    from privsec.runner.work import Work

VARIABLES = {"coordinator": "PRIVSEC_COORDINATOR", "processes": "PRIVSEC_PROCESSES", "process": "PRIVSEC_PROCESS"}
"""Where a launcher says what the config does not."""
BACKSTOP = 15
"""JAX itself ends a process that is cut off from the others so many seconds after we would have."""


class Distributed(Executor):
    """One of several processes that run the same command and share one `--out`, connected by `jax.distributed`.

    What is given neither here nor in PRIVSEC_COORDINATOR, PRIVSEC_PROCESSES and PRIVSEC_PROCESS, JAX asks the cluster
    for (Slurm, Open MPI, Kubernetes, Cloud TPU).
    """

    name: Literal["distributed"] = "distributed"
    coordinator: str | None = Field(default=None, pattern=r"^.+:\d+$")
    """`host:port` of process 0, as all processes reach it; the port is free there."""
    processes: int | None = Field(default=None, ge=1)
    """How many processes there are."""
    process: int | None = Field(default=None, ge=0)
    """Which one this is, from 0."""
    patience: int = Field(default=25, ge=5)
    """Seconds without a sign of life after which a process is taken for dead, and the others end."""
    joining: int = Field(default=300, ge=1)
    """Seconds within which all processes have to start."""

    @property
    def resolved(self) -> dict[str, Any]:
        """coordinator, processes and process, None where only JAX can know.

        Raises:
            ConfigError: a variable is not a number, or there are fewer processes than this one's number says.
        """
        found: dict[str, Any] = {}
        for name, variable in VARIABLES.items():
            given = getattr(self, name)
            if given is None and (text := os.environ.get(variable)):
                if name != "coordinator" and not text.isdecimal():
                    raise ConfigError(f"{variable} is {text!r}; write a whole number")
                given = text if name == "coordinator" else int(text)
            found[name] = given
        count, number = found["processes"], found["process"]
        if count is not None and number is not None and number >= count:
            raise ConfigError(f"executor.process is {number}, and {count} processes are numbered 0 to {count - 1}")
        return found

    @contextmanager
    def crew(self) -> Iterator[Crew]:
        joined = jax.distributed.is_initialized()
        if not joined:
            self._join()
        meeting = Meeting(self.patience)
        try:
            yield Connected(meeting)
        except BaseException as error:
            meeting.tell(error)
            raise
        finally:
            meeting.close()
        if not joined:
            jax.distributed.shutdown()

    def leads(self) -> bool:
        return jax.process_index() == 0

    def _join(self) -> None:
        given = self.resolved
        jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
        try:
            jax.distributed.initialize(
                given["coordinator"],
                given["processes"],
                given["process"],
                initialization_timeout=self.joining,
                heartbeat_timeout_seconds=self.patience + BACKSTOP,
                shutdown_timeout_seconds=self.patience,
            )
        except (ValueError, TypeError) as error:
            lacking = [f"{name} ({VARIABLES[name]})" for name, value in given.items() if value is None]
            raise ConfigError(
                f"executor distributed: JAX finds no cluster here ({error}). Give {', '.join(lacking) or 'all of it'}."
            ) from None
        except RuntimeError as error:
            raise ConfigError(
                f"executor distributed: the processes did not come together: {' '.join(str(error).split())[:300]}. Are "
                "all started, is coordinator process 0's address, its port free and open, and is this a fresh process?"
            ) from None


class Connected(Crew):
    """One process of several."""

    def __init__(self, meeting: Meeting) -> None:
        self.meeting = meeting
        self.leads = meeting.rank == 0

    @property
    def facts(self) -> dict[str, Any]:
        return {"executor": {"name": "distributed", "processes": self.meeting.size}}

    def gather(self, store: Store) -> None:
        token = store.folder / f".{self.meeting.word}"
        if self.leads:
            token.touch()
        self.meeting.all_at("held")
        shared = token.exists()
        if not shared:
            raise ConfigError(
                f"{store.folder}: process {self.meeting.rank} does not see what process 0 writes there. All processes "
                "need the same config and one folder on a shared file system: choose it with --out."
            )
        self.meeting.all_at("seen")
        if self.leads:
            token.unlink()

    def fill(self, work: Work, todo: list[Cell]) -> Filled:
        banks = work.needed(todo)
        self.meeting.all_at("listed")
        for bank in banks:
            self._train(work, bank)
        for cell in work.by_bank(todo):
            if self.meeting.claims(cell.digest):
                yield cell, work.cells.fill(cell)
        with work.stages.timed("waiting"):
            self.meeting.all_at("filled")
        if self.leads:
            for cell in todo:
                if self.meeting.others(cell.digest):
                    yield cell, work.store.load_cell(cell, failed=True) or work.cells.fill(cell)

    def _train(self, work: Work, bank: Bank) -> None:
        """One's share of a bank's missing models. What goes wrong here goes wrong again in a cell, which says it."""
        with work.banks.alone(bank) if self.leads else contextlib.nullcontext():
            if self.leads:
                with contextlib.suppress(Exception):
                    work.banks.mixture(bank.digest)  # plants the poison
            self.meeting.all_at(f"{bank.digest} ready")
            missing = work.banks.missing(bank)
            self.meeting.all_at(f"{bank.digest} listed")
            with contextlib.suppress(Exception):
                work.banks.fill(bank, missing[self.meeting.rank :: self.meeting.size])
            with work.stages.timed("waiting"):
                self.meeting.all_at(f"{bank.digest} trained")
        work.banks.forget()

    def dismiss(self) -> None:
        self.meeting.all_at("written")

"""Who computes a run. Where models are trained and cells are filled is never semantics: all crews fill one store."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from privsec.core.spec import Spec

if TYPE_CHECKING:  # both know the Experiment, which names an executor
    from privsec.runner.plan import Cell
    from privsec.runner.results import CellResult
    from privsec.runner.store import Store
    from privsec.runner.work import Work

Filled = Generator[tuple["Cell", "CellResult"], None, None]


class Crew:
    """Those who compute one run. This one is the process itself.

    Attributes:
        leads: whether this process holds the run folder, writes the table and speaks to the user.
        facts: what `record.json` says of the crew.
    """

    leads = True

    @property
    def facts(self) -> dict[str, Any]:
        return {}

    def gather(self, store: Store) -> None:
        """Waits until all are there and the leader holds the run folder.

        Raises:
            ConfigError: somebody sees another folder than the leader.
        """

    def fill(self, work: Work, todo: list[Cell]) -> Filled:
        """Fills these cells; the leader gets all of them, others their own."""
        for cell in work.by_bank(todo):
            yield cell, work.cells.fill(cell)

    def dismiss(self) -> None:
        """Waits until the leader has written the table."""


class Executor(Spec):
    """Base of the executors; a subclass carries `name`."""

    @contextmanager
    def crew(self) -> Iterator[Crew]:
        """The crew, while it is together.

        Raises:
            ConfigError: it cannot come together.
        """
        yield Crew()

    def leads(self) -> bool:
        """Whether this process speaks to the user, once the crew was together."""
        return True

"""What a person at the terminal sees of a run; nothing at all when nobody watches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")


class Narrator(AbstractContextManager["Narrator"]):
    """Shows what is being done, how much of it is finished, and how long the rest may take.

    Args:
        console: where to write; a console that is not a terminal gets warnings only.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def __enter__(self) -> Narrator:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def follow(self, what: str, items: Iterable[Item], total: int, done: int = 0) -> Iterator[Item]:
        """The items, with a bar that grows with each one consumed; `done` of `total` were finished earlier."""
        task = self._progress.add_task(what, total=total, completed=done)
        try:
            for item in items:
                self._progress.start_task(task)
                yield item
                self._progress.advance(task)
        finally:
            self._progress.remove_task(task)

    def warn(self, text: str) -> None:
        """A line that everybody gets."""
        self.console.print(f"[yellow]warning:[/] {escape(text)}", highlight=False, soft_wrap=True)

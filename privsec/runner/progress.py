"""What a person at the terminal sees of a run, nothing at all when nobody watches; and how that person stops it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from types import FrameType
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")


class Narrator(AbstractContextManager["Narrator"]):
    """Shows what is being done, how much of it is finished, and how long the rest may take.

    While it is entered, Ctrl-C is never lost: Python drops a KeyboardInterrupt that comes while an object is being
    finalized, and then the next item raises it again.

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
        self._interrupted = self._listens = False

    def __enter__(self) -> Narrator:
        self._progress.start()
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nobody else handles it
            self._interrupted, self._listens = False, True
            signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        if self._listens:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._listens = False
        self._progress.stop()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        signal.default_int_handler(number, frame)

    def follow(self, what: str, items: Iterable[Item], total: int, done: int = 0) -> Iterator[Item]:
        """The items, with a bar that grows with each one consumed; `done` of `total` were finished earlier."""
        task = self._progress.add_task(what, total=total, completed=done)
        try:
            for item in items:
                if self._interrupted:
                    raise KeyboardInterrupt
                self._progress.start_task(task)
                yield item
                self._progress.advance(task)
        finally:
            self._progress.remove_task(task)

    def warn(self, text: str) -> None:
        """A line that everybody gets."""
        self.console.print(f"[yellow]warning:[/] {escape(text)}", highlight=False, soft_wrap=True)

"""Where the processes of a distributed run meet: JAX's coordination service, and who stopped coming to it."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import time
from typing import Any

import jax
from jax._src import distributed  # JAX's own key-value store has no public door

LOST = 4
"""Exit status of a process whose run lost another one."""
PULSE = 1.0
"""Seconds between two signs of life."""
READING = 3 * PULSE
"""Seconds that the coordinator stays after it was told, or told, that the run ends."""

_runs = itertools.count()


class Meeting:
    """The connected processes of one run: barriers, claims, and a watch over who is still there.

    A process that dies, or says that it failed, ends the others: each writes why to stderr and exits with status 4. An
    exception could not do it, for a process may be in the middle of a compiled training of an hour; and nothing is
    lost, since whatever is finished is on disk.

    Args:
        patience: seconds without a sign of life after which a process counts as dead.
    """

    def __init__(self, patience: float) -> None:
        self._client: Any = distributed.global_state.client
        self.rank, self.size = distributed.global_state.process_id, distributed.global_state.num_processes
        self.word = f"privsec-{next(_runs)}"
        self._patience = patience
        self._closed, self._ending = threading.Event(), threading.Event()
        self._watch = threading.Thread(target=self._watching, name="privsec-watch", daemon=True)
        self._watch.start()
        jax.devices()  # all processes show each other their devices: now, while all are starting

    def all_at(self, place: str) -> None:
        """Waits until every process is here."""
        self._set("at", f"{place}/{self.rank}", "")
        while len(self._read("at", f"{place}/")) < self.size:
            time.sleep(0.05)
            if self._ending.is_set():
                time.sleep(threading.TIMEOUT_MAX)  # the watch ends this process

    def claims(self, name: str) -> bool:
        """Whether this process is the first to ask for this."""
        try:
            self._client.key_value_set(f"{self.word}/claimed/{name}", str(self.rank))
        except jax.errors.JaxRuntimeError as error:
            if "ALREADY_EXISTS" not in str(error):
                raise
            return False
        return True

    def others(self, name: str) -> bool:
        """Whether another process claimed it."""
        return self._client.key_value_try_get(f"{self.word}/claimed/{name}") != str(self.rank)

    def tell(self, error: BaseException) -> None:
        """Lets the others know what ends this process, and gives them time to read it."""
        self._closed.set()
        said = " ".join(str(error).split())
        try:
            self._set("failed", str(self.rank), f"{type(error).__name__}{': ' if said else ''}{said}")
        except jax.errors.JaxRuntimeError:
            return  # nobody is there any more
        if self.rank == 0:  # what was told is kept by this process
            time.sleep(READING)

    def close(self) -> None:
        """Ends the watch."""
        self._closed.set()
        self._watch.join()

    def _set(self, kind: str, name: str, value: str) -> None:
        self._client.key_value_set(f"{self.word}/{kind}/{name}", value, allow_overwrite=True)

    def _read(self, kind: str, below: str = "") -> dict[int, str]:
        """What each process says: rank -> value."""
        found = self._client.key_value_dir_get(f"{self.word}/{kind}/{below}")
        return {int(key.rsplit("/", 1)[1]): value for key, value in found}

    def _watching(self) -> None:
        heard: dict[int, tuple[str, float]] = dict.fromkeys(range(self.size), ("", time.monotonic()))
        for beat in itertools.count():
            if self._closed.wait(PULSE):
                return
            try:
                self._set("alive", str(self.rank), str(beat))
                alive, failed = self._read("alive"), self._read("failed")
            except jax.errors.JaxRuntimeError:
                self._end("process 0, the coordinator, does not answer")
            for rank, said in failed.items():
                if rank != self.rank:
                    self._end(f"process {rank} ended: {said}", alive=True)
            now = time.monotonic()
            for rank, (last, when) in heard.items():
                if alive.get(rank, "") != last:
                    heard[rank] = (alive[rank], now)
                elif rank != self.rank and now - when > self._patience:
                    self._end(f"process {rank} gave no sign of life for {self._patience:g} s: it died, or is cut off")

    def _end(self, reason: str, alive: bool = False) -> None:
        """Ends this process; where all are `alive`, with the farewell for which the one that failed waits."""
        if self._closed.is_set():
            return
        self._ending.set()
        sys.stderr.write(
            f"\nprocess {self.rank} of {self.size} stops: {reason}. What is finished is kept: start all processes "
            "again with the same commands, and the run goes on where it stopped.\n"
        )
        sys.stderr.flush()
        if alive:
            with contextlib.suppress(jax.errors.JaxRuntimeError):
                distributed.global_state.shutdown()
        elif self.rank == 0:
            time.sleep(READING)
        os._exit(LOST)

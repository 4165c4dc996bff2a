from __future__ import annotations

import io
import os
import signal
import threading

import pytest
from rich.console import Console

from privsec.runner.progress import Narrator


class Finalized:
    """Ctrl-C comes while this is being finalized, where Python reports a KeyboardInterrupt and drops it."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass  # the handler runs between two steps


@pytest.fixture
def narrator():
    return Narrator(Console(file=io.StringIO()))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_drops_stops_the_run_at_the_next_item(narrator):
    seen = []
    with pytest.raises(KeyboardInterrupt), narrator:
        for item in narrator.follow("items", range(5), 5):
            seen.append(item)
            if item == 1:
                Finalized()
    assert seen == [0, 1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_that_is_not_dropped_comes_at_once_and_the_next_run_is_not_interrupted(narrator):
    with pytest.raises(KeyboardInterrupt), narrator:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("raised before this")
    with narrator:
        assert list(narrator.follow("items", range(3), 3)) == [0, 1, 2]


def test_a_handler_of_somebody_else_stays(narrator):
    def own(*_):
        pass

    before = signal.signal(signal.SIGINT, own)
    try:
        with narrator:
            assert signal.getsignal(signal.SIGINT) is own
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_handled(narrator):
    found = []

    def work():
        with narrator:
            found.append(list(narrator.follow("items", range(2), 2)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [[0, 1]]

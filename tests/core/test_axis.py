from __future__ import annotations

import threading
import time

import pytest

from privsec.core import axis
from privsec.core.axis import over_models


def ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("privsec-model")]


@pytest.fixture(autouse=True, params=[1, 3])
def workers(request, monkeypatch):
    monkeypatch.setattr(axis, "workers", lambda: request.param)
    yield request.param
    assert not ours()


def test_every_model_once_whatever_the_order():
    def square(m: int) -> int:
        time.sleep(0.001 * (m % 3))
        return m * m

    models = [7, 3, 11, 0, 5, 2, 9]
    found = list(over_models(square, models))
    assert sorted(m for m, _ in found) == sorted(models)
    assert all(value == m * m for m, value in found)


def test_never_more_at_once_than_workers(workers):
    running, most, lock = set(), [0], threading.Lock()

    def work(m: int) -> None:
        with lock:
            running.add(m)
            most[0] = max(most[0], len(running))
        time.sleep(0.002)
        with lock:
            running.discard(m)

    list(over_models(work, range(12)))
    assert 1 <= most[0] <= workers


def test_no_models():
    assert list(over_models(lambda m: m, [])) == []


def test_an_exception_reaches_the_caller_and_stops_the_rest(workers):
    started = []

    def fail(m: int) -> int:
        started.append(m)
        if m == 2:
            raise ValueError("model 2")
        return m

    with pytest.raises(ValueError, match="model 2"):
        list(over_models(fail, range(1000)))
    assert not ours() and len(started) < 1000


def test_a_consumer_that_stops_early_leaves_no_thread():
    started = []

    def work(m: int) -> int:
        started.append(m)
        return m

    results = over_models(work, range(1000))
    next(results)
    results.close()
    assert not ours() and len(started) < 1000

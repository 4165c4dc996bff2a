"""How files are written, so that killing a run at any moment leaves none of them in half."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np


def write_json(path: Path, values: Any) -> None:
    """Writes plain values, NaN as null, in one step."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(_finite(values), indent=1), encoding="utf-8")


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an npz in one step; equal arrays give equal bytes."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


@contextlib.contextmanager
def holding(folder: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Locks a folder for this process; `on_wait` is called once if another one has it. A killed process lets go."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0.1)
    except filelock.Timeout:
        on_wait()
        lock.acquire()
    try:
        for leftover in folder.rglob(".*.partial"):
            leftover.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary neighbor of `path` that takes its place when the block ends well, and vanishes when it does not."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=".partial", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: NaN becomes null, infinity a string that `float` reads."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return None if np.isnan(value) else float(value) if np.isfinite(value) else str(value)
    if isinstance(value, np.generic):
        return value.item()
    return value

"""A small experiment that takes a second, and runs of it."""

from __future__ import annotations

from typing import Any

import pytest

from privsec.runner.progress import Narrator

SMALL: dict[str, Any] = {
    "title": "A small one",
    "data": {"name": "digits", "limit": 400},
    "net": {"name": "mlp", "hidden": [16]},
    "training": {"epochs": 5, "batch_size": 20},
    "population": {"models": 8, "size": 100},
    "defenses": {"none": [], "rounding": [{"name": "rounding", "decimals": 1}], "labels": [{"name": "label_only"}]},
    "attacks": [{"name": "loss"}, {"name": "lira"}],
    "seeds": [0, 1],
}


@pytest.fixture
def small() -> dict[str, Any]:
    """The values of a small config; a fresh copy."""
    import copy

    return copy.deepcopy(SMALL)


@pytest.fixture(scope="module")
def quiet() -> Narrator:
    """A narrator whose console is not a terminal."""
    import io

    from rich.console import Console

    return Narrator(Console(file=io.StringIO()))

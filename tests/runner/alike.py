"""A run that several processes share, and what of two runs is to be the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SHARED: dict[str, Any] = {
    "title": "Shared",
    "data": {"name": "digits", "limit": 400},
    "net": {"name": "mlp", "hidden": [16]},
    "training": {"epochs": 20, "batch_size": 20},
    "population": {"models": 8, "size": 80},
    "defenses": {"none": [], "labels": [{"name": "label_only"}]},
    "attacks": [{"name": "loss"}, {"name": "badnets"}],
}


def without_seconds(folder: Path) -> dict[str, dict]:
    """A run's cells by the name of their file, but for how long they took."""
    cells = {path.name: json.loads(path.read_text()) for path in sorted((folder / "cells").glob("*.json"))}
    for cell in cells.values():
        cell["facts"].pop("seconds", None)
    return cells

"""What a run leaves behind, as the report and a notebook read it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml

from privsec.core.estimate import Estimate

Status = Literal["ok", "failed", "not_applicable"]


@dataclass(frozen=True)
class CellResult:
    """One (seed, defense, attack) cell.

    Attributes:
        seed, defense, attack, family, access: as in the table (`defense` the config's key, `attack` the label).
        status, reason: "ok", or why there is no number.
        estimates: measure -> Estimate, for this seed.
        per_target: measure -> one value a target [T] (targets 2p and 2p + 1 are a complementary pair).
        facts: what else the report says of this cell: queries, seconds, the attack's parameters, warnings (a list).
        path: the npz with the cell's arrays, None where there are none. Membership: `scores` [T, N], `member` bool
            [T, N], `rows` [N] (indices into the data set), `y` [N]. Other families: what `exhibits` of their module in
            `privsec.measures` returns. Evasion and extraction add, for slices, `won` and `null` [T, N]: who was won,
            and who without the attack or the target; what can be explained adds `saliency_*` and `effect` maps.
    """

    seed: int
    defense: str
    attack: str
    family: str
    access: str
    status: Status
    reason: str
    estimates: dict[str, Estimate]
    per_target: dict[str, np.ndarray]
    facts: dict[str, Any]
    path: Path | None

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The cell's arrays, read when first asked for."""
        if self.path is None:
            return {}
        with np.load(self.path, allow_pickle=False) as file:
            return dict(file)


@dataclass(frozen=True)
class Results:
    """A run folder, opened.

    Attributes:
        folder: where it lies.
        table: `table.csv`: one row per (defense, attack, measure, seed) and one with `seed = "all"`.
        record: `record.json`: versions, device, seeds, git revision, seconds per stage, data facts.
        cells: every cell of the run, utility cells (`family == "utility"`, `attack == ""`) included.
    """

    folder: Path
    table: pd.DataFrame
    record: dict[str, Any]
    cells: tuple[CellResult, ...]

    @property
    def config(self) -> dict[str, Any]:
        """The fully resolved config as plain values."""
        return yaml.safe_load((self.folder / "config.yaml").read_text())

    @property
    def failed(self) -> tuple[CellResult, ...]:
        """The cells that should have run and did not."""
        return tuple(cell for cell in self.cells if cell.status == "failed")

    @property
    def title(self) -> str:
        return self.config["title"]

    def report(self, path: str | Path | None = None) -> Path:
        """Writes the HTML report (by default `report.html` in the run folder) and returns its path."""
        from importlib import import_module  # the report stands above the runner: looked up when asked for, by name

        return import_module("privsec.report.page").write(self, Path(path) if path else self.folder / "report.html")


def read_json(path: Path) -> Any:
    """The values in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))

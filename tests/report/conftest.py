"""Run folders made up of synthetic numbers, as the runner would leave them."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from privsec.core.estimate import Estimate
from privsec.runner.results import CellResult, Results

COLUMNS = (
    *("data", "net", "defense", "family", "attack", "access", "measure"),
    *("value", "low", "high", "n", "unit", "direction", "seed", "status", "reason"),
)

CONFIG: dict[str, Any] = {
    "title": "Digits, what leaks and what stops it",
    "data": {"name": "digits"},
    "net": {"name": "mlp", "hidden": [64]},
    "training": {"optimizer": "adam", "learning_rate": 1e-3, "batch_size": 50, "epochs": 40},
    "population": {"models": 8, "size": 600},
    "defenses": {
        "none": [],
        "dp-8": [{"name": "dp_sgd", "epsilon": 8.0, "delta": 1e-5, "clip_norm": 1.0}],
        "dp-1": [{"name": "dp_sgd", "epsilon": 1.0, "delta": 1e-5, "clip_norm": 1.0}],
        "rounding": [{"name": "rounding", "decimals": 2}],
        "labels-only": [{"name": "label_only"}],
        "weight-decay": [{"name": "weight_decay", "strength": 0.01}],
    },
    "attacks": [
        {"name": "lira"},
        {"name": "lira", "label": "lira-offline", "online": False},
        {"name": "rmia"},
        {"name": "loss"},
        {"name": "entropy"},
        {"name": "boundary", "label": "label-only"},
        {"name": "mi_face"},
    ],
    "seeds": [0, 1],
}
STRENGTH = {
    "lira": 2.4,
    "lira-offline": 1.9,
    "rmia": 2.2,
    "loss": 1.2,
    "entropy": 0.9,
    "label-only": 0.7,
    "mi_face": 0.6,
}
FACTOR = {"none": 1.0, "dp-8": 0.12, "dp-1": 0.0, "rounding": 0.85, "labels-only": 0.6, "weight-decay": 0.55}
ACCURACY = {"none": 0.953, "dp-8": 0.874, "dp-1": 0.741, "rounding": 0.953, "labels-only": 0.953, "weight-decay": 0.949}
ACCESS = {"label-only": "labels", "mi_face": "weights"}
MEASURES = {
    "advantage": ("advantage", "higher_is_worse"),
    "auc": ("AUC", "higher_is_worse"),
    "balanced_accuracy": ("share", "higher_is_worse"),
    "tpr_at_1pct_fpr": ("share", "higher_is_worse"),
    "tpr_at_0.1pct_fpr": ("share", "higher_is_worse"),
    "accepted": ("share", "higher_is_worse"),
    "nearer_to_members": ("share", "higher_is_worse"),
    "null_success": ("share", "descriptive"),
    "ssim": ("SSIM", "higher_is_worse"),
    "train_accuracy": ("share", "higher_is_better"),
    "test_accuracy": ("share", "higher_is_better"),
    "gap": ("share", "descriptive"),
    "calibration_error": ("share", "descriptive"),
    "epsilon_claimed": ("epsilon", "higher_is_worse"),
    "null_auc": ("AUC", "descriptive"),
}
RECORD = {
    "versions": {"privsec": "0.1.0", "jax": "0.10.0", "numpy": "2.4.0", "python": "3.11.9"},
    "device": "cpu, 2 cores",
    "seeds": [0, 1],
    "git": "0123abc",
    "seconds": {"data": 0.4, "training": 38.2, "attacks": 12.9},
    "data": {
        "name": "digits",
        "records": 1797,
        "shape": [8, 8, 1],
        "classes": 10,
        "source": "bundled with scikit-learn",
    },
    "class_names": [str(digit) for digit in range(10)],
}


class Folder:
    """Collects cells and writes them as a run folder."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.folder, self.config = folder, {**copy.deepcopy(CONFIG), **config}
        self.cells: list[CellResult] = []
        self.record: dict[str, Any] = copy.deepcopy(RECORD)

    def add(
        self,
        defense: str,
        attack: str,
        per_target: dict[str, np.ndarray] | None = None,
        *,
        family: str = "membership",
        seed: int = 0,
        status: Any = "ok",
        reason: str = "",
        arrays: dict[str, np.ndarray] | None = None,
        notes: dict[str, str] | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        path = None
        if arrays:
            path = self.folder / "cells" / f"{len(self.cells)}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **arrays)  # type: ignore[arg-type]
        per_target = {name: np.asarray(values, float) for name, values in (per_target or {}).items()}
        estimates = {name: _estimate(name, values, (notes or {}).get(name, "")) for name, values in per_target.items()}
        facts = {**({"queries": 1.0, "seconds": 0.3} if attack else {}), **(facts or {})}
        access = ACCESS.get(attack, "scores") if attack else ""
        self.cells.append(
            CellResult(seed, defense, attack, family, access, status, reason, estimates, per_target, facts, path)
        )

    def results(self) -> Results:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False))
        rows = []
        by_pair = itertools.groupby(
            sorted(self.cells, key=lambda c: (c.defense, c.attack)), key=lambda c: (c.defense, c.attack)
        )
        for _, group in by_pair:
            cells = list(group)
            done = [cell for cell in cells if cell.status == "ok"]
            for cell in cells:
                rows += [self._row(cell, name, e, cell.seed) for name, e in cell.estimates.items()]
                if cell.status != "ok":
                    rows.append(self._row(cell, "advantage" if cell.attack else "test_accuracy", None, cell.seed))
            for name in done[0].estimates if done else ():
                joined = np.concatenate([cell.per_target[name] for cell in done])
                rows.append(self._row(done[0], name, _estimate(name, joined, done[0].estimates[name].note), "all"))
            if not done:
                rows.append(self._row(cells[0], "advantage" if cells[0].attack else "test_accuracy", None, "all"))
        table = pd.DataFrame(rows, columns=COLUMNS)
        table.to_csv(self.folder / "table.csv", index=False)
        return Results(self.folder, pd.read_csv(self.folder / "table.csv"), self.record, tuple(self.cells))

    def _row(self, cell: CellResult, name: str, e: Estimate | None, seed: int | str) -> tuple[Any, ...]:
        head = ("digits", "mlp", cell.defense, cell.family, cell.attack, cell.access, name)
        if e is None:
            return (*head, np.nan, np.nan, np.nan, 0, "", "", seed, cell.status, cell.reason)
        return (*head, e.value, e.low, e.high, e.n, e.unit, e.direction, seed, "ok", e.note)


def _estimate(name: str, values: np.ndarray, note: str = "") -> Estimate:
    unit, direction = MEASURES.get(name, ("share", "descriptive"))
    if not np.isfinite(values).any():
        return Estimate(np.nan, np.nan, np.nan, 0, unit, direction, note)  # type: ignore[arg-type]
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return Estimate(float(values.mean()), values.mean() - half, values.mean() + half, len(values) // 2, unit, direction)  # type: ignore[arg-type]


def membership(
    rng: np.random.Generator, strength: float, targets: int = 8, records: int = 600
) -> dict[str, np.ndarray]:
    """Scores whose members lie `strength` above the others for a fifth of the records, less for the rest."""
    member = np.empty((targets, records), bool)
    for pair in range(targets // 2):
        member[2 * pair] = rng.permutation(records) < records // 2
        member[2 * pair + 1] = ~member[2 * pair]
    exposed = np.where(np.arange(records) % 5 == 0, 1.6, 0.5)
    scores = rng.normal(size=(targets, records)) + strength * exposed * member
    return {"scores": scores, "member": member, "rows": np.arange(records), "y": np.arange(records) % 10}


def measured(rng: np.random.Generator, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Naive measures of the synthetic scores, a value a target."""
    rows: dict[str, list[float]] = {name: [] for name in ("advantage", "auc", "balanced_accuracy", "tpr_at_1pct_fpr")}
    for scores, member in zip(arrays["scores"], arrays["member"], strict=True):
        inside, outside = scores[member], np.sort(scores[~member])
        below = np.searchsorted(outside, inside) / len(outside)
        rate = float((inside > outside[-4]).mean())
        rows["advantage"].append((rate - 0.0133) / 0.9867)
        rows["auc"].append(float(below.mean()))
        rows["balanced_accuracy"].append(float((1 + (inside > 0.8).mean() - (outside > 0.8).mean()) / 2))
        rows["tpr_at_1pct_fpr"].append(rate)
    null = 0.5 + rng.normal(scale=0.01, size=len(arrays["scores"]))
    return {
        **{k: np.array(v) for k, v in rows.items()},
        "tpr_at_0.1pct_fpr": np.full(len(null), np.nan),
        "null_auc": null,
    }


def digits(rng: np.random.Generator, shape: tuple[int, ...], noise: float) -> dict[str, np.ndarray]:
    """Ten made-up images a target, and noisy versions as their reconstructions."""
    y = np.arange(10)
    grid = np.linspace(0, 3, int(np.prod(shape)))
    base = np.stack([(np.sin(grid * (k + 2)) ** 2).reshape(shape) for k in y])[None].repeat(2, 0)
    x = np.clip(base + noise * rng.normal(size=base.shape), 0, 1)
    near, far = (np.clip(base + s * rng.normal(size=base.shape), 0, 1) for s in (0.1, 0.2))
    return {
        "x": x.astype(np.float32),
        "nearest_member": near.astype(np.float32),
        "nearest_held_out": far.astype(np.float32),
        "y": y,
        "accepted": rng.random((2, 10)) > noise,
        "gap": rng.normal(0.1, 0.05, (2, 10)),
    }


def build(folder: Path, shape: tuple[int, ...] = (8, 8, 1), **config: Any) -> Folder:
    """A run with every part: two seeds, six defenses, seven attacks, one failed and several not applicable cells."""
    run = Folder(folder, **config)
    for seed in run.config["seeds"]:
        rng = np.random.default_rng(seed)
        for defense in run.config["defenses"]:
            test = ACCURACY[defense] + rng.normal(scale=0.006, size=8)
            train = np.minimum(test + 0.11 * FACTOR[defense] + 0.004, 1.0)
            utility = {"train_accuracy": train, "test_accuracy": test, "gap": train - test}
            utility["calibration_error"] = 0.03 + rng.normal(scale=0.003, size=8)
            if defense.startswith("dp"):
                utility["epsilon_claimed"] = np.full(8, float(defense[3:]))
            run.add(defense, "", utility, family="utility", seed=seed)
            for attack, strength in STRENGTH.items():
                if attack == "mi_face":
                    share = np.clip(0.5 * FACTOR[defense] + 0.03 * rng.normal(size=4), 0, 1)
                    values = {"advantage": share - 0.05, "accepted": share, "nearer_to_members": 0.5 + share / 3}
                    values |= {"null_success": np.full(4, 0.05), "ssim": share}
                    arrays = digits(rng, shape, 0.5 - 0.35 * FACTOR[defense])
                    if defense in ("rounding", "labels-only"):
                        why = (
                            "rounding leaves scores, mi_face needs weights"
                            if defense == "rounding"
                            else "needs weights"
                        )
                        run.add(defense, attack, family="inversion", seed=seed, status="not_applicable", reason=why)
                    else:
                        run.add(defense, attack, values, family="inversion", seed=seed, arrays=arrays)
                elif defense == "labels-only" and attack != "label-only":
                    why = f"{attack} needs scores, this endpoint answers with labels alone"
                    run.add(defense, attack, seed=seed, status="not_applicable", reason=why)
                elif (defense, attack) == ("dp-1", "label-only"):
                    run.add(defense, attack, seed=seed, status="failed", reason="out of memory after 4,096 queries")
                else:
                    hurt = 1.9 if (defense, attack) == ("weight-decay", "entropy") else FACTOR[defense]
                    arrays = membership(rng, strength * hurt)
                    note = "not resolvable at this n: 300 non-members allow no false positive at 0.1%"
                    notes = {"tpr_at_0.1pct_fpr": note}
                    run.add(defense, attack, measured(rng, arrays), seed=seed, arrays=arrays, notes=notes)
    return run


@pytest.fixture(scope="session")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return build(tmp_path_factory.mktemp("full")).results()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "run")


@pytest.fixture(name="build", scope="session")
def _build():
    return build


@pytest.fixture
def folder_class() -> type[Folder]:
    return Folder

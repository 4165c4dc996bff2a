"""Tidy rows: one per (defense, attack, measure, seed), and one over all seeds."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from privsec.core.estimate import Estimate
from privsec.runner import judge
from privsec.runner.config import Experiment
from privsec.runner.results import CellResult

COLUMNS = (
    *("data", "net", "defense", "family", "attack", "access", "measure"),
    *("value", "low", "high", "n", "unit", "direction", "seed", "status", "reason"),
)


def table_of(experiment: Experiment, results: Iterable[CellResult]) -> pd.DataFrame:
    """The run's table in the order of the config: defenses, attacks, measures, seeds and their aggregate.

    A cell without a number has one row for `measure = advantage` whose `status` and `reason` say why.
    """
    groups: dict[tuple[str, str], list[CellResult]] = {}
    for result in results:
        groups.setdefault((result.defense, result.attack), []).append(result)
    rows = []
    for group in groups.values():
        over_seeds = _over_seeds(group)
        measures = dict.fromkeys(name for cell in group for name in cell.estimates) or {"advantage": None}
        for measure in measures:
            for cell in group:
                rows.append(_row(experiment, cell, measure, str(cell.seed), cell.estimates.get(measure), cell.reason))
            reason = "; ".join(dict.fromkeys(cell.reason for cell in group if cell.reason))
            rows.append(_row(experiment, group[0], measure, "all", over_seeds.get(measure), reason))
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def _over_seeds(group: list[CellResult]) -> dict[str, Estimate]:
    """The Estimates over the seeds that gave numbers."""
    usable = [cell for cell in group if cell.status == "ok"]
    if not usable:
        return {}
    if len(usable) == 1:
        return usable[0].estimates
    names = [name for name in usable[0].estimates if all(name in cell.estimates for cell in usable)]
    spread = [name for name in names if all(name in cell.per_target for cell in usable)]
    per_target = {name: np.concatenate([cell.per_target[name] for cell in usable]) for name in spread}
    seeds = np.concatenate([np.full(len(cell.per_target[spread[0]]), cell.seed) for cell in usable])
    pooled = judge.estimates(per_target, usable[0].facts, seeds)
    return {name: pooled.get(name, usable[0].estimates[name]) for name in names}


def _row(
    experiment: Experiment, cell: CellResult, measure: str, seed: str, estimate: Estimate | None, reason: str
) -> dict[str, object]:
    shared = {
        "data": experiment.data.name,  # type: ignore[attr-defined]
        "net": experiment.net.name,  # type: ignore[attr-defined]
        "defense": cell.defense,
        "family": cell.family,
        "attack": cell.attack,
        "access": cell.access,
        "measure": measure,
        "seed": seed,
        "status": "ok" if estimate is not None else cell.status,
        "reason": "; ".join(dict.fromkeys(filter(None, (reason, estimate.note if estimate else "")))),
    }
    numbers = estimate._asdict() if estimate is not None else {}
    return {
        **shared,
        **{name: numbers.get(name, np.nan) for name in ("value", "low", "high")},
        "n": numbers.get("n", 0),
        "unit": numbers.get("unit", ""),
        "direction": numbers.get("direction", ""),
    }

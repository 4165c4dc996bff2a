"""The table of classes and groups on which the strongest attack does better or worse than on everybody else."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any

from privsec.core.estimate import Estimate
from privsec.report.reading import Reading
from privsec.report.sections import Shown
from privsec.report.wording import interval, number, wording

SHOWN = 8
"""At most so many slices of an attribute; `slices.csv` has all of them."""
SIGNIFICANT = 0.05
FAMILY = "membership"
TEST = "auc_against_rest"
COLUMNS = (TEST, "auc", "tpr_at_1pct_fpr", "tpr_at_global_threshold", "fpr_at_global_threshold")

Row = dict[str, str]


def exposed(reading: Reading) -> list[dict[str, Any]] | None:
    """For each defense and attribute, the slices that differ significantly under the strongest membership attack.

    Returns:
        Tables with `defense`, `attack`, `attribute`, `rows` of (slice, members, cells) and how many slices there are
        `of`; [] where nothing differs, None for a run without slices.
    """
    path = reading.results.folder / "slices.csv"
    if not path.exists():
        return None
    tables: dict[tuple[str, str, str], list[Row]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            tables.setdefault((row["defense"], row["attack"], row["attribute"]), []).append(row)
    strongest = {defense: worst[0].label for defense in reading.defenses if (worst := reading.worst(defense, FAMILY))}
    answer = []
    for defense in strongest:
        for (of, attack, attribute), rows in tables.items():
            if (of, attack) == (defense, strongest[defense]) and (found := _differing(rows)):
                named = {"defense": defense, "attack": attack, "attribute": attribute}
                some = found if len(found) <= SHOWN else [*found[: SHOWN // 2], *found[-SHOWN // 2 :]]
                count = len({row["slice"] for row in rows})
                answer.append({**named, "rows": some, "differing": len(found), "of": count})
    return answer


def headings() -> list[str]:
    """The columns of each table."""
    return [wording(name).title for name in COLUMNS]


def _differing(rows: Sequence[Row]) -> list[tuple[str, str, list[Shown]]]:
    """(slice, members, cells) of the slices whose AUC differs from the others', most exposed first."""
    slices: dict[str, dict[str, Row]] = {}
    for row in rows:
        slices.setdefault(row["slice"], {})[row["measure"]] = row
    found = [(name, row) for name, row in slices.items() if float(row[TEST]["p_holm"] or "nan") < SIGNIFICANT]
    found.sort(key=lambda item: -float(item[1][TEST]["value"]))
    return [
        (name, f"{int(row[TEST]['members']):,}", [_shown(row[measure], measure) for measure in COLUMNS])
        for name, row in found
    ]


def _shown(row: Row, measure: str) -> Shown:
    if not row["value"]:
        return Shown("", "", "", "open", row["reason"])
    style, tested = wording(measure).style, measure == TEST
    estimate = Estimate(float(row["value"]), float(row["low"]), float(row["high"]), int(row["n"]))
    p = float(row["p_holm"]) if tested else 1.0
    n = f"{estimate.n:,}" + ("" if not tested else ", p < 0.001" if p < 0.001 else f", p = {p:.3f}")
    return Shown(number(estimate.value, style, tested), interval(estimate, style, tested), n, "ok", row["reason"])

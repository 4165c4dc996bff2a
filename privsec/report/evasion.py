"""What evasion looks like: accuracy against the size of the change, and records before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from privsec.report import figures, images
from privsec.report.lines import Line, lines, over_models
from privsec.report.panels import class_name, figures_of
from privsec.report.reading import Column, Reading

SHOWN = 6
"""Records on a sheet."""
STEPS = 60
_BESIDE = ("success", "null_success", "naive_success", "masking_gap", "robust_accuracy", "median_distance")


def curves(reading: Reading) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """(legend of (swatch, text), panels of (defense, note, svg)): accuracy left within each radius, by attack.

    An attack at one radius leaves a step there; one that looks for the smallest change leaves a curve. The lowest
    curve at a radius is the model's accuracy there, as far as these attacks know.
    """
    columns = [column for column in reading.attacks if column.family == "evasion"]
    ranked = sorted(columns, key=lambda column: -_strength(reading, column))
    colored = [column.label for column in ranked[: len(figures.SERIES)]]
    panels, certified = [], False
    for defense in reading.defenses:
        drawn, marks, targets = [], [], 0
        for column in reversed(ranked):
            cells = [cell for cell in reading.cells(defense, column.label) if "radii" in cell.arrays]
            if cells:
                drawn.append(_line(column.label, cells, "accuracy", colored))
                marks += [cell.facts["radius"] for cell in cells]
                targets = max(targets, sum(len(cell.arrays["accuracy"]) for cell in cells))
        proven = [
            c for column in columns for c in reading.cells(defense, column.label) if "certified_curve" in c.arrays
        ]
        if proven:
            certified = True
            drawn.insert(0, _line("certified", proven[:1], "certified_curve", ()))
        if drawn:
            mark = marks[0] if len(set(marks)) == 1 else None
            title = f"Accuracy against the size of the change under {defense}"
            svg = lines(f"radius-{len(panels)}", title, drawn, "size of the change", "accuracy left", mark)
            panels.append((defense, f"n = {targets} models", svg))
    legend = [(figures.swatch(i), label) for i, label in enumerate(colored)]
    others = [(figures.swatch(None), "others, and what is proven")] if certified or len(ranked) > len(colored) else []
    return legend + others, panels


def sheets(reading: Reading) -> list[dict[str, Any]]:
    """For each defense, what the strongest evasion attack made of the records it broke, beside what they were."""
    made = []
    for defense in reading.defenses:
        for column in reading.advantages(defense, "evasion"):
            cell = next((cell for cell in reading.cells(defense, column.label) if "after" in cell.arrays), None)
            if cell is not None:
                made.append(_sheet(reading, cell))
                break
    return made


def _sheet(reading: Reading, cell: Any) -> dict[str, Any]:
    arrays, names = cell.arrays, reading.class_names
    kept = slice(0, min(SHOWN, len(arrays["shown"])))
    before, after = arrays["before"][kept], arrays["after"][0][kept]
    low, high = (0.0, 1.0) if min(before.min(), after.min()) >= 0 and max(before.max(), after.max()) <= 1 else (
        float(before.min()), float(before.max())
    )  # fmt: skip
    change = after - before
    most = float(np.abs(change).max()) or 1.0
    rows = arrays["shown"][kept]
    return {
        "cell": cell,
        "defenses": cell.defense,
        "shown": len(before),
        "of": len(arrays["y"]),
        "what": "points",
        "image": before.ndim == 4,
        "classes": [class_name(names, int(y)) for y in arrays["y"][rows]],
        "rows": [
            ("before", [images.data_uri(x, low, high) for x in before]),
            ("after", [images.data_uri(x, low, high) for x in after]),
            (f"change, gray is none, ends are ±{most:.2g}", [images.data_uri(x, -most, most) for x in change]),
        ],
        "words": [
            ("called before", [class_name(names, int(c)) for c in arrays["called_clean"][0][rows]]),
            ("called after", [class_name(names, int(c)) for c in arrays["called"][0][rows]]),
        ],
        "figures": figures_of(reading, cell, _BESIDE),
    }


def _line(label: str, cells: Sequence[Any], name: str, colored: Sequence[str]) -> Line:
    radii = np.linspace(0, max(float(cell.arrays["radii"][-1]) for cell in cells), STEPS + 1)
    steps = []
    for cell in cells:
        place = np.searchsorted(cell.arrays["radii"], radii * (1 + 1e-9), side="right") - 1
        steps.append(cell.arrays[name][:, place])
    return over_models(label, radii, steps, colored.index(label) if label in colored else None)


def _strength(reading: Reading, column: Column) -> float:
    found = [reading.entry(defense, column.label, "advantage") for defense in reading.defenses]
    return max((entry.known.value for entry in found if entry.resolved), default=-1.0)

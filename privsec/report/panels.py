"""The pictures of the page, as plain values for the template: plane, ROC curves, reconstructions, records at risk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from privsec.measures import membership
from privsec.report import figures, images
from privsec.report.reading import Reading
from privsec.report.sections import Shown, shown
from privsec.report.wording import interval, number, wording
from privsec.runner.results import CellResult

COLORED = len(figures.SERIES)
"""How many attacks have a color in the ROC panels; the others are grey."""
AT_RISK = 10
"""How many records the table of records at risk names."""
PICTURE_BYTES = 220_000
"""About how much of the page reconstructions may take."""


def plane(reading: Reading) -> str | None:
    """The leakage-against-utility plane, None where fewer than one defense has both."""
    found = []
    for defense in reading.defenses:
        accuracy, worst = reading.entry(defense, "", "test_accuracy"), reading.worst(defense)
        if accuracy.resolved and worst is not None:
            found.append((defense, accuracy.known, worst[1].known))
    on_front = figures.front([(accuracy.value, leak.value) for _, accuracy, leak in found])
    points = [
        figures.Point(defense, accuracy, leak, best, defense == reading.baseline)
        for (defense, accuracy, leak), best in zip(found, on_front, strict=True)
    ]
    return figures.plane(points) if points else None


def curves(reading: Reading) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """(legend of (swatch, text), panels of (defense, note, svg)): log-log ROC curves with a band over targets."""
    strongest = [worst[0].label for d in reading.defenses if (worst := reading.worst(d, "membership"))]
    others_ = [c.label for d in reading.defenses for c in reading.advantages(d, "membership")]
    colored = list(dict.fromkeys((*strongest, *others_)))[:COLORED]
    panels, others = [], False
    for defense in reading.defenses:
        drawn, targets = [], 0
        for column in reading.attacks:
            if column.family == "membership" and (found := _curve(reading, defense, column.label, colored)):
                drawn.append(found[0])
                targets = max(targets, found[1])
        if drawn:
            others = others or any(curve.series is None for curve in drawn)
            drawn.sort(key=lambda curve: -1 if curve.series is None else curve.series)
            svg = figures.roc(f"roc-{len(panels)}", f"ROC curves under {defense}", drawn)
            panels.append((defense, f"n = {targets} models", svg))
    legend = [(figures.swatch(i), label) for i, label in enumerate(colored)]
    return [*legend, *([(figures.swatch(None), "other attacks")] if others else [])], panels


def _curve(reading: Reading, defense: str, attack: str, colored: Sequence[str]) -> tuple[figures.Curve, int] | None:
    """The curve over the targets of all seeds, and how many there are."""
    grid = np.logspace(-3, 0, 49)
    arrays = [cell.arrays for cell in reading.cells(defense, attack) if cell.status == "ok"]
    scored = [a for a in arrays if "scores" in a]
    if not scored:
        return None
    bands = np.array([membership.band(a["scores"], a["member"], grid) for a in scored])
    targets = np.array([len(a["scores"]) for a in scored])
    mean, low, high = np.average(bands, axis=0, weights=targets)
    series = colored.index(attack) if attack in colored else None
    return figures.Curve(attack, grid, mean, low, high, series), int(targets.sum())


def records(reading: Reading) -> dict[str, Any] | None:
    """The records that the strongest attack gives away most, on the least defended model that has any."""
    names = reading.record.get("class_names") or ()
    for defense in dict.fromkeys(filter(None, (reading.baseline, *reading.defenses))):
        for column in reading.advantages(defense, "membership"):
            for cell in reading.cells(defense, column.label):
                arrays = cell.arrays
                if not {"scores", "member", "rows", "y"} <= arrays.keys():
                    continue
                of_row = dict(zip(arrays["rows"].tolist(), arrays["y"].tolist(), strict=True))
                found = membership.at_risk(arrays["scores"], arrays["member"], arrays["rows"], AT_RISK)
                if found:
                    rows = [_risk(risk, _class(names, of_row[risk.row])) for risk in found]
                    return {"defense": defense, "attack": column.label, "seed": cell.seed, "rows": rows}
    return None


def _risk(risk: membership.RecordRisk, label: str) -> dict[str, Any]:
    e = risk.difference
    return {
        "row": risk.row,
        "label": label,
        "inside": number(risk.called_in, "share"),
        "outside": number(risk.called_out, "share"),
        "difference": Shown(number(e.value, "share"), interval(e, "share"), f"{e.n:,}", "ok"),
    }


def _class(names: Sequence[str], label: int) -> str:
    return str(names[label]) if 0 <= label < len(names) else f"class {label}"


def reconstructions(reading: Reading) -> list[dict[str, Any]]:
    """For each inversion attack and defense: what was rebuilt from the first target beside the nearest real records."""
    cells = []
    for column in reading.attacks:
        for defense in reading.defenses if column.family == "inversion" else ():
            cells += [cell for cell in reading.cells(defense, column.label) if "x" in cell.arrays][:1]
    if not cells:
        return []
    pixels = min(max(cell.arrays["x"][0, 0].size for cell in cells), 3 * images.LARGEST**2)
    several = int(np.clip(PICTURE_BYTES / (len(cells) * 3 * (1.4 * pixels + 150)), 3, 8))
    return [_sheet(reading, cell, several) for cell in cells]


_ROWS = {
    "reconstruction": "x",
    "nearest training record": "nearest_member",
    "nearest held-out record": "nearest_held_out",
}


def _sheet(reading: Reading, cell: CellResult, several: int) -> dict[str, Any]:
    arrays, names = cell.arrays, reading.record.get("class_names") or ()
    y = arrays["y"]
    wanted = np.linspace(0, len(y) - 1, min(several, len(y))).round().astype(int)
    rows = {title: arrays[key][0] for title, key in _ROWS.items() if key in arrays}
    every = np.concatenate([values.reshape(-1) for values in rows.values()])
    unit = every.min() >= 0 and every.max() <= 1
    low, high = (0.0, 1.0) if unit else np.quantile(every, [0.01, 0.99]).tolist()
    return {
        "cell": cell,
        "shown": len(wanted),
        "of": arrays["x"].shape[0] * len(y),
        "image": arrays["x"].ndim == 5,
        "classes": [_class(names, int(y[k])) for k in wanted],
        "accepted": [bool(arrays["accepted"][0, k]) for k in wanted] if "accepted" in arrays else [],
        "rows": [(title, [images.data_uri(values[k], low, high) for k in wanted]) for title, values in rows.items()],
        "figures": [
            (wording(name).title, shown(reading.entry(cell.defense, cell.attack, name), name))
            for name in reading.measures("inversion")
        ],
    }

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
    bands, targets = [], []
    for cell in reading.cells(defense, attack):
        arrays = _read(cell, "scores", "member")
        if arrays:
            bands.append(membership.band(arrays["scores"], arrays["member"], grid))
            targets.append(len(arrays["scores"]))
    if not bands:
        return None
    mean, low, high = np.average(bands, axis=0, weights=targets)
    series = colored.index(attack) if attack in colored else None
    return figures.Curve(attack, grid, mean, low, high, series), sum(targets)


def _read(cell: CellResult, *names: str) -> dict[str, np.ndarray]:
    """These arrays of a cell, {} where it lacks one. Not kept: all cells' scores together may not fit in memory."""
    if cell.path is None:
        return {}
    with np.load(cell.path, allow_pickle=False) as file:
        return {name: file[name] for name in names} if set(names) <= set(file.files) else {}


def records(reading: Reading) -> dict[str, Any] | None:
    """The records that the strongest attack gives away most, on the least defended model that has any."""
    names = reading.class_names
    for defense in dict.fromkeys(filter(None, (reading.baseline, *reading.defenses))):
        for column in reading.advantages(defense, "membership"):
            for cell in reading.cells(defense, column.label):
                arrays = _read(cell, "scores", "member", "rows", "y")
                if not arrays:
                    continue
                of_row = dict(zip(arrays["rows"].tolist(), arrays["y"].tolist(), strict=True))
                found = membership.at_risk(arrays["scores"], arrays["member"], arrays["rows"], AT_RISK)
                if found:
                    rows = [_risk(risk, class_name(names, of_row[risk.row])) for risk in found]
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


def class_name(names: Sequence[str], label: int) -> str:
    """What a class is called on the page."""
    return str(names[label]) if 0 <= label < len(names) else f"class {label}"


def reconstructions(reading: Reading) -> list[dict[str, Any]]:
    """For each inversion attack and defense: what was rebuilt from the first target beside the nearest real records."""
    sheets: list[tuple[CellResult, list[str]]] = []
    for column in reading.attacks:
        found: list[tuple[CellResult, list[str]]] = []
        for defense in reading.defenses if column.family == "inversion" else ():
            for cell in [cell for cell in reading.cells(defense, column.label) if "nearest_member" in cell.arrays][:1]:
                same = [named for known, named in found if np.array_equal(known.arrays["x"], cell.arrays["x"])]
                if same:  # a defense of the answers alone leaves an attacker who holds the model where he was
                    same[0].append(defense)
                else:
                    found.append((cell, [defense]))
        sheets += found
    if not sheets:
        return []
    pixels = min(max(cell.arrays["x"][0, 0].size for cell, _ in sheets), 3 * images.LARGEST**2)
    several = int(np.clip(PICTURE_BYTES / (len(sheets) * 3 * (1.4 * pixels + 150)), 3, 8))
    return [_sheet(reading, cell, named, several) for cell, named in sheets]


_BESIDE = ("advantage", "accepted", "nearer_to_members", "null_success", "ssim")
"""The figures that stand below a sheet; all of them are among the numbers."""
_ROWS = {
    "reconstruction": "x",
    "nearest training record": "nearest_member",
    "nearest held-out record": "nearest_held_out",
}


def _sheet(reading: Reading, cell: CellResult, defenses: Sequence[str], several: int) -> dict[str, Any]:
    arrays, names = cell.arrays, reading.class_names
    y = arrays["y"]
    wanted = np.linspace(0, len(y) - 1, min(several, len(y))).round().astype(int)
    rows = {title: arrays[key][0] for title, key in _ROWS.items() if key in arrays}
    every = np.concatenate([values.reshape(-1) for values in rows.values()])
    unit = every.min() >= 0 and every.max() <= 1
    low, high = (0.0, 1.0) if unit else np.quantile(every, [0.01, 0.99]).tolist()
    return {
        "cell": cell,
        "defenses": ", ".join(defenses),
        "shown": len(wanted),
        "of": arrays["x"].shape[0] * len(y),
        "what": "reconstructions",
        "image": arrays["x"].ndim == 5,
        "classes": [class_name(names, int(y[k])) for k in wanted],
        "rows": [(title, [images.data_uri(values[k], low, high) for k in wanted]) for title, values in rows.items()],
        "words": [("accepted", ["✓ yes" if arrays["accepted"][0, k] else "no" for k in wanted])]
        if "accepted" in arrays
        else [],
        "figures": figures_of(reading, cell, _BESIDE),
    }


def figures_of(reading: Reading, cell: CellResult, names: Sequence[str]) -> list[tuple[str, Shown]]:
    """The named measures of a cell's pair as (title, figure), as far as there are any."""
    every = ((name, reading.entry(cell.defense, cell.attack, name)) for name in names)
    return [(wording(name).title, shown(entry, name)) for name, entry in every if entry.estimate is not None]

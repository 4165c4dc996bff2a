"""The pictures of the page, as plain values for the template: plane, ROC curves, reconstructions, records at risk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from privsec.measures import membership
from privsec.report import figures, images
from privsec.report.reading import Reading
from privsec.report.sections import Shown
from privsec.report.sheets import Sheet, class_name, distinct, each, figures_of, pictures, span
from privsec.report.wording import interval, number
from privsec.runner.results import CellResult

COLORED = len(figures.SERIES)
"""How many attacks have a color in the ROC panels; the others are grey."""
AT_RISK = 10
"""How many records the table of records at risk names."""
PICTURE_BYTES = 220_000
"""About how much of the page reconstructions may take."""
FEWEST = 4
"""Classes on a sheet, at least, however large their pictures."""
LARGE = 40
"""Images with more pixels along a side are shown larger."""


def plane(reading: Reading, family: str | None = None) -> str | None:
    """The leakage-against-utility plane, of one family or of the worst of all; None where no defense has both."""
    found = []
    for defense in reading.defenses:
        accuracy, worst = reading.entry(defense, "", "test_accuracy"), reading.worst(defense, family)
        if accuracy.resolved and worst is not None:
            found.append((defense, accuracy.known, worst[1].known))
    on_front = figures.front([(accuracy.value, leak.value) for _, accuracy, leak in found])
    points = [
        figures.Point(defense, accuracy, leak, best, defense == reading.baseline)
        for (defense, accuracy, leak), best in zip(found, on_front, strict=True)
    ]
    return figures.plane(points, family) if points else None


def planes(reading: Reading) -> list[tuple[str, str]]:
    """(family, its plane) where the run has more than one family: what helps against one may not against another."""
    families = reading.tested if len(reading.tested) > 1 else ()
    return [(family, svg) for family in families if (svg := plane(reading, family))]


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


def reconstructions(reading: Reading) -> list[Sheet]:
    """For each inversion attack and defense: what was rebuilt from the first target beside the nearest real records."""
    inversions = [column for column in reading.attacks if column.family == "inversion"]
    found = distinct(each(reading, inversions, "nearest_member"), "x")
    if not found:
        return []
    pixels = max(images.pixels(cell.arrays["x"].shape[2:]) for cell, _ in found)
    rows = max(sum(key in cell.arrays for key in _ROWS.values()) for cell, _ in found)
    several = int(np.clip(PICTURE_BYTES / (len(found) * rows * (1.4 * pixels + 150)), FEWEST, 8))
    return [_sheet(reading, cell, named, several) for cell, named in found]


_BESIDE = ("advantage", "success", "accepted", "nearer_to_members", "null_success", "ssim", "null_ssim")
"""The figures that stand below a sheet; all of them are among the numbers."""
_ROWS = {
    "reconstruction": "x",
    "from a model without the class": "twin",
    "nearest training record": "nearest_member",
    "nearest held-out record": "nearest_held_out",
}


def _sheet(reading: Reading, cell: CellResult, defenses: str, several: int) -> Sheet:
    arrays = cell.arrays
    y = arrays["y"]
    known = np.flatnonzero(arrays["judged"][0]) if "judged" in arrays else np.arange(len(y))
    wanted = known[np.linspace(0, len(known) - 1, min(several, len(known))).round().astype(int)]
    rows = {title: arrays[key][0] for title, key in _ROWS.items() if key in arrays}
    if "twin" in arrays:
        del rows["nearest held-out record"]  # another picture of a class that the model knows
    low, high = span(*rows.values())
    accepted = arrays.get("accepted")
    return Sheet(
        cell.attack,
        cell.seed,
        defenses,
        len(wanted),
        int(arrays["judged"].sum()) if "judged" in arrays else arrays["x"].shape[0] * len(y),
        "reconstructions",
        arrays["x"].ndim == 5,
        [class_name(reading.class_names, int(y[k])) for k in wanted],
        [(title, pictures(values[wanted], low, high)) for title, values in rows.items()],
        [] if accepted is None else [("accepted", ["✓ yes" if yes else "no" for yes in accepted[0, wanted]])],
        figures_of(reading, cell, _BESIDE),
        arrays["x"].ndim == 5 and max(arrays["x"].shape[2:4]) > LARGE,
    )

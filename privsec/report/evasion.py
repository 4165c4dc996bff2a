"""What evasion looks like: what stands against the size of the change, and records before and after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from privsec.report import figures
from privsec.report.lines import Legend, Line, Panels, legend, lines, over_models
from privsec.report.reading import Column, Reading
from privsec.report.sheets import Sheet, Table, class_name, distinct, figures_of, pictures, span, strongest
from privsec.report.wording import number
from privsec.runner.results import CellResult

SHOWN = 6
"""Records on a sheet."""
STEPS = 60
FARTHEST = 4.0
"""Where the axis of sizes ends at the latest, in radii."""
LARGEST = 3
"""Changed features that a table names."""
_BESIDE = ("success", "null_success", "naive_success", "masking_gap", "robust_accuracy", "median_distance")


def curves(reading: Reading) -> tuple[Legend, Panels]:
    """For each defense the share of points that each attack has not got within each size of the change.

    An attack that stays within one radius is a marker there, one that looks for the smallest change a curve. The lowest
    at a radius is what the model keeps there, as far as these attacks know.
    """
    columns = [column for column in reading.attacks if column.family == "evasion"]
    ranked = sorted(columns, key=lambda column: -_strength(reading, column))
    colored = [column.label for column in ranked[: len(figures.SERIES)]]
    panels: list[tuple[str, str, str]] = []
    every: list[Line] = []
    for defense in reading.defenses:
        drawn, marks, proven, targets = [], set(), None, 0
        for column in reversed(ranked):
            cells = [cell for cell in reading.cells(defense, column.label) if "radii" in cell.arrays]
            if cells:
                drawn.append(_line(column.label, cells, colored))
                marks |= {float(cell.facts["radius"]) for cell in cells}
                targets = max(targets, sum(len(cell.arrays["accuracy"]) for cell in cells))
                proven = next((cell for cell in cells if "certified_curve" in cell.arrays), proven)
        if proven is not None:
            curve = _smallest("proven", [proven], "certified_curve", None)
            drawn.insert(0, curve._replace(proven=True))
        if drawn:
            title = f"Points not lost against the size of the change under {defense}"
            mark = marks.pop() if len(marks) == 1 else None
            svg = lines(f"radius-{len(panels)}", title, drawn, "size of the change", "points not lost", mark)
            panels.append((defense, f"n = {targets} models", svg))
            every += drawn
    return legend(every, colored, "other attacks"), panels


def sheets(reading: Reading) -> list[Sheet]:
    """For each defense, images that the strongest attack took from the first model, beside what they became."""
    cells = [cell for cell in strongest(reading, "evasion", "after") if cell.arrays["before"].ndim == 4]
    return [_sheet(reading, cell, named) for cell, named in distinct(cells, "after") if len(_taken(cell))]


def tables(reading: Reading) -> list[Table]:
    """The same of records of tables: which features the attack changed most."""
    cells = [cell for cell in strongest(reading, "evasion", "after") if cell.arrays["before"].ndim == 2]
    return [_table(reading, cell, named) for cell, named in distinct(cells, "after") if len(_taken(cell))]


def _taken(cell: CellResult) -> np.ndarray:
    """Positions on the cell's pictures of the records that the first model loses to the attack."""
    arrays = cell.arrays
    rows = arrays["shown"]
    return np.flatnonzero((arrays["won"][0][rows] > 0.5) & (arrays["distance"][0][rows] > 0))[:SHOWN]


def _sheet(reading: Reading, cell: CellResult, defenses: str) -> Sheet:
    arrays, kept = cell.arrays, _taken(cell)
    before, after = arrays["before"][kept], arrays["after"][0][kept]
    change, (low, high) = after - before, span(before, after)
    farthest = np.abs(change).reshape(len(kept), -1).max(axis=1)
    maps = {f"the answer rests on, {when}": f"saliency_{when}" for when in ("before", "after")}
    classes, *words = _named(reading, cell, kept)
    return Sheet(
        cell.attack,
        cell.seed,
        defenses,
        len(kept),
        len(arrays["y"]),
        "points",
        True,
        classes[1],
        [
            ("before", pictures(before, low, high)),
            ("after", pictures(after, low, high)),
            (
                "moved (gray is not)",
                [uri for x, most in zip(change, farthest, strict=True) for uri in pictures([x], -most, most)],
            ),
            *((title, pictures(arrays[name][kept], 0.0, 1.0)) for title, name in maps.items() if name in arrays),
        ],
        [("moved at most by", [f"{most:.2g}" for most in farthest]), *words],
        figures_of(reading, cell, _BESIDE),
    )


def _table(reading: Reading, cell: CellResult, defenses: str) -> Table:
    arrays, kept = cell.arrays, _taken(cell)
    named = _named(reading, cell, kept)
    moved = [
        _moved(x, to, cell.facts["features"])
        for x, to in zip(arrays["before"][kept], arrays["after"][0][kept], strict=True)
    ]
    columns = [[str(row) for row in arrays["rows"][arrays["shown"][kept]]], *(texts for _, texts in named), moved]
    headings = ("point", *(title for title, _ in named), "moved, the farthest first")
    note = f"seed {cell.seed}, {len(kept)} of {len(arrays['y'])} points"
    return Table(f"{cell.attack} on {defenses}", note, headings, list(zip(*columns, strict=True)))


def _named(reading: Reading, cell: CellResult, kept: np.ndarray) -> list[tuple[str, list[str]]]:
    """The classes of these records, what the first model calls them before, and what after."""
    arrays, refused = cell.arrays, cell.facts.get("rejected")
    answers = {"class": arrays["y"], "called before": arrays["called_clean"][0], "called after": arrays["called"][0]}
    rows = arrays["shown"][kept]
    return [
        (title, [class_name(reading.class_names, int(label), refused) for label in labels[rows]])
        for title, labels in answers.items()
    ]


def _moved(before: np.ndarray, after: np.ndarray, names: Sequence[str]) -> str:
    """The features that moved farthest, and how many others did."""
    moved = np.flatnonzero(before != after)
    farthest = moved[np.argsort(-np.abs(after - before)[moved], kind="stable")]
    named = [(names[i] if names else f"feature {i}", float(before[i]), float(after[i])) for i in farthest[:LARGEST]]
    said = [f"{name} {number(x)} to {number(to)}" for name, x, to in named]
    return "; ".join([*said, f"{len(moved) - LARGEST} more"] if len(moved) > LARGEST else said)


def _line(label: str, cells: Sequence[CellResult], colored: Sequence[str]) -> Line:
    series = colored.index(label) if label in colored else None
    if not all(cell.facts.get("bounded") for cell in cells):
        return _smallest(label, cells, "accuracy", series)
    radius = max(float(cell.facts["radius"]) for cell in cells)
    left = [_at(cell, "accuracy", np.array([cell.facts["radius"]])) for cell in cells]
    return over_models(label, np.array([radius]), left, series)


def _smallest(label: str, cells: Sequence[CellResult], name: str, series: int | None) -> Line:
    far = max(min(float(cell.arrays["radii"][-1]), FARTHEST * float(cell.facts["radius"])) for cell in cells)
    radii = np.linspace(0, far, STEPS + 1)
    return over_models(label, radii, [_at(cell, name, radii) for cell in cells], series)


def _at(cell: CellResult, name: str, radii: np.ndarray) -> np.ndarray:
    """The curve `name` [T, R] at other radii; it is what it was at the last radius of its own."""
    place = np.searchsorted(cell.arrays["radii"], radii * (1 + 1e-9), side="right") - 1
    return cell.arrays[name][:, place]


def _strength(reading: Reading, column: Column) -> float:
    found = [reading.entry(defense, column.label, "advantage") for defense in reading.defenses]
    return max((entry.known.value for entry in found if entry.resolved), default=-np.inf)

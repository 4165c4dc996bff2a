"""What poisoning looks like: what was planted, what triggers it, and how well a defender told the two apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from privsec.core.estimate import Estimate
from privsec.core.evidence import ANY
from privsec.measures.intervals import clustered
from privsec.report import figures
from privsec.report.lines import Legend, Line, Panels, legend, lines, over_models
from privsec.report.reading import Reading
from privsec.report.sheets import Sheet, Table, class_name, distinct, each, figures_of, pictures, span
from privsec.report.wording import interval, number, wording
from privsec.runner.results import CellResult

SHOWN = 6
"""Records on a sheet."""
STEPS = 101
"""Points of a detector's curve."""
CLASSES = 2
"""Of each attack and defense, the accuracy in so many classes: those that lose most."""
SIGNS = (False, False, True)
"""Whether an accuracy with the poison, one without, and their difference are written with their sign."""
_BESIDE = ("success", "null_success", "refused", "clean_accuracy", "unpoisoned_accuracy", "poisoned", "certified")
_REMOVED = {
    "detected": "found at 5% false alarms",
    "poison_kept": "poison left",
    "clean_kept": "clean records left",
    "clean_accuracy": "accuracy on clean records",
    "success": "success all the same",
}

_PROVEN = {
    "changes": "training records changed",
    "certified": "answers proven under as many changes",
    "certified_changes": "changes that half of the answers withstand",
    "null_success": "success without the poison",
    "success": "success",
}


def curves(reading: Reading) -> tuple[Legend, Panels]:
    """For each defense that looked at the training records, the share of the poison it finds by its false alarms."""
    labels = [column.label for column in reading.attacks if column.family == "poisoning"]
    colored = labels[: len(figures.SERIES)]
    panels: list[tuple[str, str, str]] = []
    every: list[Line] = []
    alarms = np.linspace(0, 1, STEPS)
    for defense in reading.defenses:
        drawn, targets = [], 0
        for label in labels:
            cells = [cell for cell in reading.cells(defense, label) if _looked(cell)]
            if cells:
                series = colored.index(label) if label in colored else None
                found = [_found(cell, alarms) for cell in cells]
                drawn.append(over_models(label, alarms, found, series))
                targets = max(targets, sum(len(cell.arrays["won"]) for cell in cells))
        if drawn:
            title = f"Poison found against false alarms under {defense}"
            svg = lines(f"detector-{len(panels)}", title, drawn, "clean records suspected", "poisoned records found")
            panels.append((defense, f"n = {targets} models", svg))
            every += drawn
    return legend(every, colored, "other attacks"), panels


def sheets(reading: Reading) -> list[Sheet]:
    """A sheet for each attack on pictures, under each defense that changes what the models answer."""
    columns = [column for column in reading.attacks if column.family == "poisoning"]
    cells = [cell for cell in each(reading, columns, "planted") if cell.arrays["asked"].ndim == 4]
    return [_sheet(reading, cell, named) for cell, named in distinct(cells, "called", "won")]


def tables(reading: Reading) -> list[Table]:
    """What defenses of the training data left of the poison and of the rest, what others prove, and who pays."""
    made = (_table(reading, "What was taken out", _REMOVED), _table(reading, "What is proven", _PROVEN))
    return [table for table in (*made, _by_class(reading)) if table.rows]


def _by_class(reading: Reading) -> Table:
    """The accuracy in each class with and without the poison; of more classes than `CLASSES`, those that lose most."""
    rows, most = [], 0
    for column in reading.attacks:
        for defense in reading.defenses if column.family == "poisoning" else ():
            cells = [cell for cell in reading.cells(defense, column.label) if "class_accuracy" in cell.arrays]
            if not cells:
                continue
            found = _accuracies(cells)
            most = max(most, len(found))
            worst = sorted(found, key=lambda label: found[label][2].value)[:CLASSES]
            for label in sorted(worst):
                shares = [_with_interval(each, sign) for each, sign in zip(found[label], SIGNS, strict=True)]
                rows.append([defense, column.label, class_name(reading.class_names, label), *shares])
    pairs = "95% intervals over pairs of models, where there are some"
    which = f"; the {CLASSES} of {most} classes that lose most" if most > CLASSES else ""
    headings = ("defense", "attack", "class", "with the poison", "without", "change")
    return Table(
        "Accuracy by class",
        f"untouched records outside the training set, means over models, {pairs}{which}",
        headings,
        rows,
    )


def _with_interval(estimate: Estimate, sign: bool) -> str:
    """A share and its interval, where there is more than one pair to have one from."""
    value = number(estimate.value, "share", sign)
    return value if estimate.n < 2 else f"{value} {interval(estimate, 'share', sign)}"


def _accuracies(cells: Sequence[CellResult]) -> dict[int, tuple[Estimate, Estimate, Estimate]]:
    """For each class with a value, the accuracy with the poison, without it, and the first less the second."""
    counts = [len(cell.arrays["class_accuracy"]) for cell in cells]
    pairs = np.concatenate([np.arange(count) // 2 for count in counts])
    seeds = np.repeat([cell.seed for cell in cells], counts)
    own, others = (
        np.concatenate([np.asarray(cell.arrays[name], np.float64) for cell in cells])
        for name in ("class_accuracy", "unpoisoned_class_accuracy")
    )
    return {
        label: (
            clustered(own[:, label], pairs, seeds, bounds=(0.0, 1.0)),
            clustered(others[:, label], pairs, seeds, bounds=(0.0, 1.0)),
            clustered(own[:, label] - others[:, label], pairs, seeds, bounds=(-1.0, 1.0)),
        )
        for label in np.flatnonzero(np.isfinite(own - others).any(axis=0)).tolist()
    }


def _table(reading: Reading, title: str, measures: dict[str, str]) -> Table:
    """A row for each defense and attack of which the second measure says something."""
    rows = []
    for column in reading.attacks:
        for defense in reading.defenses if column.family == "poisoning" else ():
            entries = {name: reading.entry(defense, column.label, name) for name in measures}
            if list(entries.values())[1].resolved:
                values = [_said(name, e.known) if e.resolved else "nothing said" for name, e in entries.items()]
                rows.append([defense, column.label, *values])
    return Table(title, "means over models and seeds", ("defense", "attack", *measures.values()), rows)


def _said(name: str, estimate: Estimate) -> str:
    """A mean as text; of records, with no more digits than it needs."""
    if estimate.unit == "records":
        return f"{estimate.value:,.1f}".removesuffix(".0")
    return number(estimate.value, wording(name).style)


def _looked(cell: CellResult) -> bool:
    return len(cell.arrays.get("poison_suspicion", ())) > 0 and len(cell.arrays["clean_suspicion"]) > 0


def _found(cell: CellResult, alarms: np.ndarray) -> np.ndarray:
    """The share of poisoned records above the threshold that this share of the clean ones exceeds."""
    clean, poison = np.sort(cell.arrays["clean_suspicion"])[::-1], cell.arrays["poison_suspicion"]
    thresholds = clean[np.minimum((alarms * len(clean)).astype(int), len(clean) - 1)]
    found = np.array([float(np.mean(poison > threshold)) for threshold in thresholds])
    return np.where(alarms >= 1, 1.0, found)


def _sheet(reading: Reading, cell: CellResult, defenses: str) -> Sheet:
    arrays, kept = cell.arrays, slice(0, SHOWN)
    planted, before, asked = arrays["planted"][kept], arrays["before"][kept], arrays["asked"][kept]
    low, high = span(planted, before, asked)

    def named(labels: np.ndarray) -> list[str]:
        refused = cell.facts.get("rejected")
        return [class_name(reading.class_names, int(label), refused) for label in labels[kept]]

    goal = named(arrays["goal"]) if int(arrays["goal"][0]) != ANY else ["any wrong one"] * len(asked)
    changed = not np.array_equal(before, asked)
    rows = {"planted in the training set": planted, "test record": before} | ({"as asked": asked} if changed else {})
    more = [""] * (len(planted) - len(asked))  # where an attack has few targets, each column shows what was planted
    return Sheet(
        cell.attack,
        cell.seed,
        defenses,
        len(asked),
        arrays["won"].shape[1],
        "test records",
        True,
        [*named(arrays["y"]), *more],
        [(title, pictures(values, low, high)) for title, values in rows.items()],
        [
            ("planted with the label", named(arrays["planted_y"])),
            ("wanted", goal),
            ("called by the poisoned model", named(arrays["called"])),
            ("called by the model without the poison", named(arrays["control"])),
        ],
        figures_of(reading, cell, _BESIDE),
    )

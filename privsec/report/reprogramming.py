"""What reprogramming looks like: the program, records of the other task inside it, and the map of labels."""

from __future__ import annotations

import numpy as np

from privsec.report.reading import Reading
from privsec.report.sheets import Sheet, Table, class_name, distinct, figures_of, pictures, span, strongest
from privsec.report.wording import number
from privsec.runner.results import CellResult

SHOWN = 5
"""Records on a sheet, beside the program."""
_BESIDE = ("accuracy", "null_probe", "null_twin", "null_majority", "detected_energy", "detected_similar")


def sheets(reading: Reading) -> list[Sheet]:
    """For each defense the strongest program on the first model: alone, and with records of the task inside."""
    found = strongest(reading, "reprogramming", "programmed")
    cells = [cell for cell in found if cell.arrays["pattern"].ndim == 4]
    return [_sheet(reading, cell, named) for cell, named in distinct(cells, "programmed")]


def tables(reading: Reading) -> list[Table]:
    """The same of models of tables: which of the first model's classes stand for a class of the task, how rightly."""
    cells = [c for c in strongest(reading, "reprogramming", "mapping") if c.arrays["pattern"].ndim == 2]
    return [_table(reading, cell, named) for cell, named in distinct(cells, "pattern")]


def _sheet(reading: Reading, cell: CellResult, defenses: str) -> Sheet:
    arrays, names = cell.arrays, cell.facts.get("task_classes") or ()
    kept = slice(0, SHOWN)
    pattern, asked = arrays["pattern"][0], arrays["programmed"][0][kept]
    most = float(np.abs(pattern).max()) or 1.0
    rows = [
        ("record of the task", ["", *pictures(arrays["task"][kept], 0.0, 1.0)]),
        ("what the model is asked", [*pictures([pattern], -most, most), *pictures(asked, *span(asked))]),
    ]
    if "saliency" in arrays:
        maps = pictures([arrays["effect"], *arrays["saliency"][kept]], 0.0, 1.0)
        rows.append(("what the answer rests on", maps))
    return Sheet(
        cell.attack,
        cell.seed,
        defenses,
        len(asked),
        int(arrays["confusion"][0].sum()),
        "records of the task",
        True,
        ["the program", *(class_name(names, int(y)) for y in arrays["y"][kept])],
        rows,
        [
            ("answer, as the task's class", ["", *(class_name(names, int(c)) for c in arrays["called"][0][kept])]),
            ("classes that stand for it", ["", *(_standing(reading, cell, int(y)) for y in arrays["y"][kept])]),
        ],
        figures_of(reading, cell, _BESIDE),
    )


def _table(reading: Reading, cell: CellResult, defenses: str) -> Table:
    names, confusion = cell.facts.get("task_classes") or (), cell.arrays["confusion"][0]
    rows = []
    for g, answered in enumerate(confusion):
        right = number(answered[g] / answered.sum(), "share") if answered.sum() else "no record"
        rows.append((class_name(names, g), _standing(reading, cell, g), f"{answered.sum():,}", right))
    headings = ("class of the task", "the model's classes that stand for it", "records", "right")
    return Table(f"{cell.attack} on {defenses}", f"seed {cell.seed}, the first model", headings, rows)


def _standing(reading: Reading, cell: CellResult, goal: int) -> str:
    """The model's own classes that stand for a class of the task."""
    found = np.flatnonzero(cell.arrays["mapping"][0][:, goal])
    return ", ".join(class_name(reading.class_names, int(c)) for c in found) or "none"

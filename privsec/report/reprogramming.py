"""What reprogramming looks like: the program, and records of the other task inside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from privsec.report import images
from privsec.report.panels import class_name, figures_of
from privsec.report.reading import Reading
from privsec.runner.results import CellResult

SHOWN = 5
"""Records on a sheet, beside the program."""
_BESIDE = ("accuracy", "null_probe", "null_twin", "null_majority", "detected_energy", "pattern_norm")


def sheets(reading: Reading) -> list[dict[str, Any]]:
    """For each defense the strongest program: alone, and with records of the task inside."""
    made = []
    for defense in reading.defenses:
        for column in reading.advantages(defense, "reprogramming"):
            cell = next((cell for cell in reading.cells(defense, column.label) if "programmed" in cell.arrays), None)
            if cell is not None:
                made.append(_sheet(reading, cell))
                break
    return made


def _sheet(reading: Reading, cell: CellResult) -> dict[str, Any]:
    arrays, names = cell.arrays, cell.facts.get("task_classes") or ()
    kept = slice(0, min(SHOWN, len(arrays["y"])))
    pattern, asked = arrays["pattern"][0], arrays["programmed"][0][kept]
    most = float(np.abs(pattern).max()) or 1.0
    low, high = (0.0, 1.0) if asked.min() >= 0 and asked.max() <= 1 else (float(asked.min()), float(asked.max()))
    called = [class_name(names, int(c)) if c >= 0 else "refused" for c in arrays["called"][0][kept]]
    return {
        "cell": cell,
        "defenses": cell.defense,
        "shown": len(asked),
        "of": int(arrays["confusion"][0].sum()),
        "what": "records of the task",
        "image": asked.ndim == 4,
        "classes": ["the program", *(class_name(names, int(y)) for y in arrays["y"][kept])],
        "rows": [
            ("record of the task", ["", *(images.data_uri(x, 0.0, 1.0) for x in arrays["task"][kept])]),
            (
                "what the model is asked",
                [images.data_uri(pattern, -most, most), *(images.data_uri(x, low, high) for x in asked)],
            ),
        ],
        "words": [("answer, as the task's class", ["", *called])],
        "figures": figures_of(reading, cell, _BESIDE),
    }

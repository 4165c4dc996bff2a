"""What extraction looks like: fidelity against the number of queries."""

from __future__ import annotations

from privsec.report import figures
from privsec.report.lines import Legend, Line, Panels, legend, lines, over_models
from privsec.report.reading import Reading


def curves(reading: Reading) -> tuple[Legend, Panels]:
    """For each defense the fidelity of the copies by query budget, and that of students who never asked, in gray."""
    labels = [column.label for column in reading.attacks if column.family == "extraction"]
    colored = labels[: len(figures.SERIES)]
    panels: list[tuple[str, str, str]] = []
    every: list[Line] = []
    for defense in reading.defenses:
        drawn, targets = [], 0
        for label in labels:
            cells = [cell for cell in reading.cells(defense, label) if "budgets" in cell.arrays]
            cells = [cell for cell in cells if len(cell.arrays["budgets"]) == len(cells[0].arrays["budgets"])]
            if cells:
                budgets = cells[0].arrays["budgets"]
                series = colored.index(label) if label in colored else None
                drawn.append(over_models(label, budgets, [cell.arrays["fidelity"] for cell in cells], series))
                null = [cell.arrays["null_fidelity"] for cell in cells]
                drawn.insert(0, over_models(f"{label}, never asked", budgets, null, None))
                targets = max(targets, sum(len(cell.arrays["fidelity"]) for cell in cells))
        if drawn:
            title = f"Fidelity of a copy against queries under {defense}"
            svg = lines(f"extraction-{len(panels)}", title, drawn, "records asked about", "answers as the model does")
            panels.append((defense, f"n = {targets} models", svg))
            every += drawn
    return legend(every, colored, "students that never asked"), panels

"""Each family in the form its readers expect: curves, contact sheets, tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from privsec.report import evasion, extraction, rebuilt, reprogramming
from privsec.report.reading import Reading
from privsec.report.wording import number


class Table(NamedTuple):
    """A small table as text; the first value of a row heads it."""

    title: str
    note: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


class Pictured(NamedTuple):
    """A section of the page about one family."""

    id: str
    short: str
    title: str
    lead: str
    legend: Sequence[tuple[str, str]] = ()
    panels: Sequence[tuple[str, str, str]] = ()
    sheets: Sequence[dict[str, Any]] = ()
    tables: Sequence[Table] = ()


def pictured(reading: Reading) -> list[Pictured]:
    """The sections of the families that this run tested and that left something to show."""
    made = (_attributes(reading), _gradients(reading), _evasion(reading), _reprogramming(reading), _extraction(reading))
    return [section for section in made if section.panels or section.sheets or section.tables]


def _evasion(reading: Reading) -> Pictured:
    legend, panels = evasion.curves(reading)
    return Pictured(
        "evasion",
        "Evasion",
        "What small changes do",
        "Above, how much accuracy is left when every point may be changed up to a size; the lowest curve is what is "
        "known of the model, and the dashed line marks the radius of the tables. An attack with one radius makes a "
        "step there. Below, records that the strongest attack on each defense broke, as they were and as they became.",
        legend,
        panels,
        evasion.sheets(reading),
    )


def _reprogramming(reading: Reading) -> Pictured:
    return Pictured(
        "reprogramming",
        "Reprogramming",
        "What the model is made to do",
        "One pattern around every record, and a map of labels, turn the model to another task. The program is shown "
        "with gray for nothing; beside it stand records of the task, and what the model was asked.",
        sheets=reprogramming.sheets(reading),
    )


def _attributes(reading: Reading) -> Pictured:
    tables = []
    for column in reading.attacks:
        for defense in reading.defenses:
            for cell in [c for c in reading.cells(defense, column.label) if "recall_imputed" in c.arrays][:1]:
                arrays = cell.arrays
                rows = [
                    [name, f"{count:,}", *(_share(arrays[key][v]) for key in _COLUMNS)]
                    for v, (name, count) in enumerate(zip(cell.facts["values"], arrays["count"], strict=True))
                ]
                title = f"{cell.facts['attribute']}: {column.label} on {defense}"
                tables.append(Table(title, f"seed {cell.seed}", ("value", "records", *_COLUMNS.values()), rows))
    return Pictured(
        "attributes",
        "Hidden attributes",
        "What is guessed of a person",
        "How often a value is found where it stands, and how often a guess of it is right, with the model and by "
        "imputation from public records alone. Only what the model adds is the model's leak.",
        tables=tables,
    )


def _gradients(reading: Reading) -> Pictured:
    return Pictured(
        "gradients",
        "Gradients seen",
        "What a gradient shows of its batch",
        "Records of the observed batches, what was rebuilt from the gradient alone, and the most similar public "
        "record, which an attacker without the gradient might have shown as well. Success is a PSNR above 20 dB.",
        sheets=rebuilt.sheets(reading),
    )


def _extraction(reading: Reading) -> Pictured:
    legend, panels = extraction.curves(reading)
    return Pictured(
        "extraction",
        "Extraction",
        "What a copy is worth",
        "How often the copy answers as the model does, by the number of records asked about. Gray is a student of the "
        "same records that was taught their true labels and never asked the model.",
        legend,
        panels,
    )


_COLUMNS = {
    "recall": "found",
    "recall_imputed": "found without the model",
    "precision": "right when guessed",
    "precision_imputed": "right without the model",
}


def _share(value: float) -> str:
    return "never guessed" if math.isnan(value) else number(float(value), "share")

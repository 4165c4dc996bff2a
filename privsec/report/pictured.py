"""Each family in the form its readers expect: curves, contact sheets, tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from privsec.report import evasion, extraction, poisoning, rebuilt, reprogramming
from privsec.report.lines import Legend, Panels
from privsec.report.reading import Reading
from privsec.report.sheets import Sheet, Table, each
from privsec.report.wording import number


class Pictured(NamedTuple):
    """A section of the page about one family."""

    id: str
    short: str
    title: str
    lead: str
    legend: Legend = ()
    panels: Panels = ()
    sheets: Sequence[Sheet] = ()
    tables: Sequence[Table] = ()


def pictured(reading: Reading) -> list[Pictured]:
    """The sections of the families that this run tested and that left something to show."""
    made = (_attributes(reading), _gradients(reading), _evasion(reading), _poisoning(reading))
    made += (_reprogramming(reading), _extraction(reading))
    return [section for section in made if section.panels or section.sheets or section.tables]


def _evasion(reading: Reading) -> Pictured:
    legend, panels = evasion.curves(reading)
    return Pictured(
        "evasion",
        "Evasion",
        "What small changes do",
        "The share of points that each attack has not got while it may change them up to a size (the accuracy left, if "
        "any wrong class will do). An attack with one radius is a marker there, one that looks for the smallest change "
        "a curve; the lowest is what is known of the model. The dashed line marks the radius of the tables. Below are "
        "records that the strongest attack on each defense took from the first model, what of them was moved, and, "
        "where the model shows its gradient, the features on which each answer depends most (white).",
        legend,
        panels,
        evasion.sheets(reading),
        evasion.tables(reading),
    )


def _poisoning(reading: Reading) -> Pictured:
    (legend, panels), sheets = poisoning.curves(reading), poisoning.sheets(reading)
    heads = "Over each column of pictures stands the class of the test record. " if sheets else ""
    return Pictured(
        "poisoning",
        "Poisoning",
        "What was planted, and what it does",
        "Records that an attacker put into the training data, test records with the trigger where there is one, and "
        f"what the first poisoned model calls them, beside the same model spared the poison. {heads}Where a defense "
        "looked at the training records first, the curve shows how much of the poison stands out: the share found, by "
        "the share of clean records that are suspected as well.",
        legend,
        panels,
        sheets,
        poisoning.tables(reading),
    )


def _reprogramming(reading: Reading) -> Pictured:
    return Pictured(
        "reprogramming",
        "Reprogramming",
        "What the model is made to do",
        "One pattern around every record, and a map of labels, turn the model to another task. The program is shown "
        "with gray for nothing, and below it which parts of it bring the answers about (white: most, by integrated "
        "gradients); beside it stand records of the task, what the model was asked, and the features on which its "
        "answer depends most.",
        sheets=reprogramming.sheets(reading),
        tables=reprogramming.tables(reading),
    )


def _attributes(reading: Reading) -> Pictured:
    tables = []
    for cell in each(reading, reading.attacks, "recall_imputed"):
        arrays = cell.arrays
        rows = [
            [name, f"{count:,}", *(_share(arrays[key][v]) for key in _COLUMNS)]
            for v, (name, count) in enumerate(zip(cell.facts["values"], arrays["count"], strict=True))
        ]
        title = f"{cell.facts['attribute']}: {cell.attack} on {cell.defense}"
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

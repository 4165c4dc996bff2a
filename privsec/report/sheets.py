"""What the pictured sections share: contact sheets of records, small tables, and which cells they are made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from privsec.report import images
from privsec.report.reading import Column, Reading
from privsec.report.sections import Shown, shown
from privsec.report.wording import wording
from privsec.runner.results import CellResult


class Sheet(NamedTuple):
    """Pictures of records in columns, under the figures of their cell.

    Attributes:
        attack, seed: of the cell.
        defenses: those under which it came out the same.
        shown, of, what: how many of how many things are pictured.
        image: whether records are images; else each is a patch of its features.
        classes: heads of the columns.
        rows: (what it is, data URIs; "" for none).
        words: (what it is, texts), below the pictures.
        figures: the cell's measures that stand below.
        large: whether the pictures are shown larger.
    """

    attack: str
    seed: int
    defenses: str
    shown: int
    of: int
    what: str
    image: bool
    classes: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    words: Sequence[tuple[str, Sequence[str]]]
    figures: Sequence[tuple[str, Shown]]
    large: bool = False


class Table(NamedTuple):
    """A small table as text; the first value of a row heads it."""

    title: str
    note: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def distinct(cells: Iterable[CellResult], *names: str) -> list[tuple[CellResult, str]]:
    """(cell, its defenses), cells of one attack whose arrays of these `names` are the same taken together.

    A defense that does not act on what an attacker holds leaves him where he was.
    """
    found: list[tuple[CellResult, list[str]]] = []
    for cell in cells:
        for known, defenses in found:
            same = all(np.array_equal(known.arrays[name], cell.arrays[name]) for name in names)
            if known.attack == cell.attack and same:
                defenses.append(cell.defense)
                break
        else:
            found.append((cell, [cell.defense]))
    return [(cell, ", ".join(defenses)) for cell, defenses in found]


def each(reading: Reading, columns: Iterable[Column], name: str) -> list[CellResult]:
    """The first cell with an array `name` of each of these attacks on each defense."""
    every = (reading.cells(defense, column.label) for column in columns for defense in reading.defenses)
    return [kept[0] for cells in every if (kept := [cell for cell in cells if name in cell.arrays])]


def strongest(reading: Reading, family: str, name: str) -> list[CellResult]:
    """For each defense the first cell of the strongest attack of a family that left an array `name`."""
    found = []
    for defense in reading.defenses:
        every = (
            cell for column in reading.advantages(defense, family) for cell in reading.cells(defense, column.label)
        )
        found += [cell for cell in every if name in cell.arrays][:1]
    return found


def pictures(records: Iterable[np.ndarray], low: float, high: float) -> list[str]:
    """Each record as a data URI, `low` black and `high` white."""
    return [images.data_uri(record, low, high) for record in records]


def span(*records: np.ndarray) -> tuple[float, float]:
    """What is black and what is white in records shown together: 0 and 1 for images, else nearly their extremes."""
    every = np.concatenate([part[np.isfinite(part)] for part in records])
    if every.min() >= 0 and every.max() <= 1:
        return 0.0, 1.0
    low, high = np.quantile(every, [0.01, 0.99])
    return float(low), float(high)


def class_name(names: Sequence[str], label: int, refused: int | None = -1) -> str:
    """What an answer is called on the page; `refused` is the one by which a model declines to answer."""
    if label == refused:
        return "refused"
    return str(names[label]) if 0 <= label < len(names) else f"class {label}"


def figures_of(reading: Reading, cell: CellResult, names: Sequence[str]) -> list[tuple[str, Shown]]:
    """The named measures of a cell's pair as (title, figure), as far as there are any."""
    every = ((name, reading.entry(cell.defense, cell.attack, name)) for name in names)
    return [(wording(name).title, shown(entry, name)) for name, entry in every if entry.resolved]

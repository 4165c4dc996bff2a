"""Two runs side by side: what they share is subtracted, what only one of them has is shown as such."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from privsec.measures.intervals import holm
from privsec.report import methods, page
from privsec.report.changes import Change, paired, unpaired
from privsec.report.reading import Column, Entry, Reading
from privsec.report.sections import Shown, shown
from privsec.report.verdict import judge
from privsec.report.wording import interval, number, wording
from privsec.runner.results import Results

if TYPE_CHECKING:
    from rich.table import Table

UTILITY = Column("", "utility", "")
ABSENT = Entry(None, "not_applicable", "not in this run")
IN_SHORT = ("advantage", "test_accuracy")
"""The measures of the text table."""


class Row(NamedTuple):
    """One figure in both runs.

    Attributes:
        defense, attack, measure: as in the table; `attack` is "" for utility.
        a, b: the entries; one that a run does not have says so.
        change: b - a, None where either side has no value.
        p: its p-value, adjusted over all rows of the same measure (Holm).
    """

    defense: str
    attack: str
    measure: str
    a: Entry
    b: Entry
    change: Change | None
    p: float

    @property
    def mark(self) -> str:
        """What b is, measurably, for the model's owner ("▲ worse", "▼ better"); "▲ higher", "▼ lower" where neither."""
        if self.change is None:
            return ""
        if not self.p < 0.05:
            return "not significant"
        rises = self.change.estimate.value > 0
        words = {"higher_is_worse": ("worse", "better"), "higher_is_better": ("better", "worse")}
        up, down = words.get(self.a.known.direction, ("higher", "lower"))
        return f"▲ {up}" if rises else f"▼ {down}"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; `rich.print` shows it as a table.

    Attributes:
        a, b: the two runs.
        paired: whether data, population and seeds are the same, so that targets are compared one by one.
        settings: (path, value in a, value in b) of every setting that differs.
        rows: every figure of either run.
    """

    a: Reading
    b: Reading
    paired: bool
    settings: tuple[tuple[str, str, str], ...]
    rows: tuple[Row, ...]

    def __rich__(self) -> Table:
        """The advantages and test accuracies as a table for the terminal."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(f"A: {self.a.results.title}\nB: {self.b.results.title}"), show_lines=True)
        table.caption = Text("95% intervals; a change is named where it is significant at 5% over all rows (Holm)")
        for heading in ("defense", "attack", "A", "B", "B - A", "n"):
            table.add_column(heading, min_width=min(len(heading), 7))
        for row in self.rows:
            if row.measure in IN_SHORT:
                label = row.attack or wording(row.measure).title
                cells = (shown(row.a, row.measure), shown(row.b, row.measure), difference(row))
                counts = "\n".join(dict.fromkeys(cell.n for cell in cells[:2] if cell.n))
                table.add_row(*map(Text, (row.defense, label, *map(_lines, cells), counts)))
        return table


def compare(a: Results, b: Results) -> Comparison:
    """Every figure of two runs side by side, with the difference and its interval.

    Differences are paired over targets where both runs trained on the same records (equal data, population and seeds),
    and otherwise treat the runs as independent.
    """
    left, right = Reading(a), Reading(b)
    same = all(left.config.get(part) == right.config.get(part) for part in ("data", "population", "seeds"))
    found: list[Row] = []
    for measure, columns in _measures(left, right).items():
        rows = [_row(left, right, d, c, measure, same) for d in _both(left.defenses, right.defenses) for c in columns]
        rows = [row for row in rows if row.a is not ABSENT or row.b is not ABSENT]
        p_values = holm([row.change.p if row.change else float("nan") for row in rows])
        found += [row._replace(p=float(p)) for row, p in zip(rows, p_values, strict=True)]
    settings = _different(dict(methods.flat(left.config)), dict(methods.flat(right.config)))
    return Comparison(left, right, same, settings, tuple(found))


def write_comparison(a: Results, b: Results, path: Path) -> Path:
    """Writes the comparison of two runs as one HTML file and returns its path."""
    found = compare(a, b)
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in found.rows:
        cells = [shown(row.a, row.measure), shown(row.b, row.measure), difference(row)]
        groups.setdefault(wording(row.measure).title, []).append(
            {"defense": row.defense, "attack": row.attack or "utility", "cells": cells}
        )
    text = page.render(
        "compare.html",
        title=f"{found.a.results.title} / {found.b.results.title}",
        runs=[(name, run.results.title, judge(run).headline) for name, run in (("A", found.a), ("B", found.b))],
        summary=summary(found),
        paired=found.paired,
        settings=found.settings,
        groups=groups,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def summary(found: Comparison) -> str:
    """How the two runs differ in leakage, in a sentence."""
    rows = [row for row in found.rows if row.measure == "advantage"]
    compared = [row for row in rows if row.change]
    if not compared:
        return "No cell has an advantage in both runs, so nothing can be compared."
    counts = {word: sum(word in row.mark for row in compared) for word in ("worse", "better")}
    only = len(rows) - len(compared)
    more, less = counts["worse"], counts["better"]
    text = f"Of {len(compared)} cells measured in both runs, B leaks measurably more in {more}, less in {less}"
    return f"{text}; {only} have a figure in one run at most." if only else f"{text}."


def difference(row: Row) -> Shown:
    """B - A as a table shows it."""
    if row.change is None:
        return Shown("", "", "", "not_applicable", "not in both runs")
    e, style = row.change.estimate, wording(row.measure).style
    p = "p < 0.001" if row.p < 0.001 else f"p = {row.p:.3f}"
    n = f"{e.n:,}{'' if row.change.paired else ', unpaired'}, {p}"
    return Shown(number(e.value, style, sign=True), interval(e, style, sign=True), n, "ok", "", 0.0, row.mark)


def _row(left: Reading, right: Reading, defense: str, column: Column, measure: str, same: bool) -> Row:
    a, b = (_entry(run, defense, column, measure) for run in (left, right))
    made = None
    if a.resolved and b.resolved:
        made = paired(left.cells(defense, column.label), right.cells(defense, column.label), measure) if same else None
        made = made or unpaired(a.known, b.known)
    return Row(defense, column.label, measure, a, b, made, float("nan"))


def _entry(run: Reading, defense: str, column: Column, measure: str) -> Entry:
    has_attack = column == UTILITY or column.label in {known.label for known in run.attacks}
    has_measure = measure == "advantage" or measure in run.measures(column.family)
    return (
        run.entry(defense, column.label, measure) if defense in run.defenses and has_attack and has_measure else ABSENT
    )


def _measures(left: Reading, right: Reading) -> dict[str, list[Column]]:
    """The columns in which each measure can stand, advantage first."""
    columns = list({column.label: column for column in (*left.attacks, *right.attacks)}.values())
    found: dict[str, list[Column]] = {"advantage": columns}
    for column in (*columns, UTILITY):
        for measure in _both(left.measures(column.family), right.measures(column.family)):
            if column not in found.setdefault(measure, []):
                found[measure].append(column)
    return found


def _both(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*left, *right)))


def _different(left: dict[str, str], right: dict[str, str]) -> tuple[tuple[str, str, str], ...]:
    paths = dict.fromkeys((*left, *right))
    pairs = ((path, left.get(path, "not set"), right.get(path, "not set")) for path in paths)
    return tuple(pair for pair in pairs if pair[1] != pair[2])


def _lines(cell: Shown) -> str:
    if cell.status != "ok":
        return cell.reason
    return "\n".join(filter(None, (cell.value, cell.interval, cell.mark.replace("not significant", ""))))

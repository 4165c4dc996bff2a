"""The tables of the page, as plain values for the template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from privsec.measures.fairness import MEASURES, kind_of
from privsec.report.changes import Change, adjusted, change
from privsec.report.reading import Column, Entry, Reading
from privsec.report.wording import interval, number, wording


class Shown(NamedTuple):
    """A cell of a table as text.

    Attributes:
        value, interval, n: the figure; `value` is "" where there is none.
        status: "ok", "open" (not resolvable), "failed" or "not_applicable".
        reason: why there is no value, or what is missing from it.
        level: 0 to 1, how deeply the cell is colored.
        mark: what stands beside the value, for example "worst".
    """

    value: str
    interval: str
    n: str
    status: str
    reason: str = ""
    level: float = 0.0
    mark: str = ""


def shown(entry: Entry, name: str, mark: str = "") -> Shown:
    """The entry of measure `name` as a table shows it; without a value its reason stands there instead."""
    if not entry.resolved:
        return Shown("", "", "", "open" if entry.status == "ok" else entry.status, entry.reason)
    known, style = entry.known, wording(name).style
    if not known.n:  # a figure that was computed, not estimated from a sample
        return Shown(number(known.value, style), "", "", "ok", entry.reason)
    level = math.sqrt(min(max(known.value, 0.0), 1.0)) if name == "advantage" else 0.0
    return Shown(number(known.value, style), interval(known, style), f"{known.n:,}", "ok", entry.reason, level, mark)


def heat_map(reading: Reading) -> list[tuple[str, list[Shown]]]:
    """(defense, advantage under each attack), the strongest attack of each row marked."""
    rows = []
    for defense in reading.defenses:
        worst = reading.worst(defense)
        marks = {worst[0]: "worst"} if worst else {}
        entries = [(c, reading.entry(defense, c.label, "advantage")) for c in reading.attacks]
        rows.append((defense, [shown(entry, "advantage", marks.get(column, "")) for column, entry in entries]))
    return rows


def families(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """(family, number of its columns) in the order of the columns."""
    counted: dict[str, int] = {}
    for column in columns:
        counted[column.family] = counted.get(column.family, 0) + 1
    return list(counted.items())


def changes(reading: Reading) -> list[tuple[str, list[Shown]]]:
    """(defense, change of advantage under each attack against no defense), marked where significant (Holm)."""
    table = adjusted(reading)
    return [
        (defense, [_changed(reading, table.get((defense, c.label)), defense, c) for c in reading.attacks])
        for defense in reading.defenses
        if defense != reading.baseline and reading.baseline is not None
    ]


def _changed(reading: Reading, found: tuple[Change, float] | None, defense: str, column: Column) -> Shown:
    if found is None:
        sides = (reading.entry(d, column.label, "advantage") for d in (defense, reading.baseline or ""))
        entry = next(e for e in sides if not e.resolved)
        return shown(entry, "advantage")
    made, p = found
    estimate = made.estimate
    mark = "not significant" if p >= 0.05 else "▼ helps" if estimate.value < 0 else "▲ hurts"
    p_text = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    n = f"{estimate.n:,}{'' if made.paired else ', unpaired'}, {p_text}"
    return Shown(number(estimate.value, sign=True), interval(estimate, sign=True), n, "ok", "", 0.0, mark)


def utility(reading: Reading) -> tuple[list[str], list[tuple[str, list[Shown]]]]:
    """(headings, (defense, utility measures and the change of test accuracy))."""
    found = [name for name in reading.measures("utility") if "[" not in name]
    order = ("test_accuracy", "train_accuracy", "gap", "calibration_error", "epsilon_claimed")
    names = [name for name in order if name in found] + [name for name in found if name not in order]
    rows = []
    for defense in reading.defenses:
        cells = [_of_utility(reading, defense, name) for name in names]
        rows.append((defense, [*cells, _change_of(reading, defense, "test_accuracy")]))
    return [*(wording(name).title for name in names), "change of test accuracy"], rows


def fairness(reading: Reading) -> list[tuple[str, list[str], list[tuple[str, list[Shown]]]]]:
    """(attribute, headings, (defense, gaps between groups, each group's accuracy, change of the worst)) of each one."""
    found = [name for name in reading.measures("utility") if kind_of(name) in MEASURES]
    tables = []
    for worst in (name for name in found if kind_of(name) == "worst_group_accuracy"):
        attribute = worst.removesuffix("]").partition("[")[2]
        gaps = [name for name in found if name.endswith(f"[{attribute}]")]
        groups = [name for name in found if name.startswith(f"group_accuracy[{attribute}=")]
        titles = [wording(kind_of(name)).title for name in gaps]
        titles += [name.removesuffix("]").partition("=")[2] for name in groups]
        rows = [
            (
                defense,
                [_noted(reading, defense, name) for name in (*gaps, *groups)] + [_change_of(reading, defense, worst)],
            )
            for defense in reading.defenses
        ]
        tables.append((attribute, [*titles, "change of the worst group's accuracy"], rows))
    return tables


def _noted(reading: Reading, defense: str, name: str) -> Shown:
    """The entry with what it would be by chance."""
    cell, entry = shown(reading.entry(defense, "", name), name), reading.entry(defense, "", name)
    return cell._replace(reason=cell.reason or entry.known.note) if entry.resolved else cell


def _change_of(reading: Reading, defense: str, measure: str) -> Shown:
    """The change of a share against no defense, in percentage points."""
    made = change(reading, defense, "", measure)
    if made is None:
        same = defense == reading.baseline
        return Shown("", "", "", "not_applicable", "the reference" if same else "not measured on both sides")
    e = made.estimate
    return Shown(number(e.value, "share", True), interval(e, "share", True), f"{e.n:,}", "ok")


def _of_utility(reading: Reading, defense: str, name: str) -> Shown:
    entry = reading.entry(defense, "", name)
    if name == "epsilon_claimed" and entry.estimate is None:
        return Shown("", "", "", "not_applicable", "no guarantee claimed")
    return shown(entry, name)


def numbers(reading: Reading) -> list[dict[str, Any]]:
    """Every figure of the run's table with the values of the seeds; one row says why where a pair has none at all."""
    rows = []
    for column in (*reading.attacks, Column("", "utility", "")):
        for defense in reading.defenses:
            entries = {name: reading.entry(defense, column.label, name) for name in reading.measures(column.family)}
            filled = {name: entry for name, entry in entries.items() if entry.estimate is not None}
            for name, entry in filled.items() or list(entries.items())[:1]:
                style = wording(name).style
                rows.append(
                    {
                        "defense": defense,
                        "attack": column.label or "utility",
                        "measure": wording(name).title,
                        "cell": shown(entry, name),
                        "unit": entry.known.unit if entry.resolved else "",
                        "seeds": ", ".join(number(value, style) for _, value in entry.seeds if len(entry.seeds) > 1),
                    }
                )
    return rows

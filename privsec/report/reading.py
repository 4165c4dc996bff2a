"""A run as the report reads it: which defenses, which attacks, and one entry for every pair of them and measure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from privsec.core.estimate import Direction, Estimate
from privsec.runner.results import CellResult, Results

FAMILIES = ("membership", "inversion", "evasion", "poisoning", "reprogramming", "extraction")
"""Every question an attack may ask of a model, tested in this run or not."""


class Entry(NamedTuple):
    """One place in a table: an Estimate, or the reason why there is none.

    Attributes:
        estimate: over all seeds; None where nothing was measured.
        status: "ok", "failed" or "not_applicable".
        reason: why there is no value, or what part of it is missing; never empty without a value.
        seeds: (seed, value) for each seed that has a row.
    """

    estimate: Estimate | None
    status: str
    reason: str
    seeds: tuple[tuple[str, float], ...] = ()

    @property
    def resolved(self) -> bool:
        """Whether there is a value."""
        return self.estimate is not None and self.estimate.resolved

    @property
    def says_nothing(self) -> bool:
        """Whether an advantage may be anything: no success at all, and a complete one."""
        return self.known.low <= 0 and self.known.high >= 1

    @property
    def known(self) -> Estimate:
        """The Estimate of an entry that has one."""
        assert self.estimate is not None
        return self.estimate


class Column(NamedTuple):
    """An attack as tables show it."""

    label: str
    family: str
    access: str


@dataclass(frozen=True)
class Reading:
    """A `Results` put in order. Tolerates missing families, missing aggregates and folders of unfinished runs."""

    results: Results

    @cached_property
    def table(self) -> pd.DataFrame:
        """The run's table with text columns free of NaN and seeds as text."""
        table = self.results.table.copy()
        for name in ("defense", "family", "attack", "access", "measure", "unit", "direction", "status", "reason"):
            table[name] = (
                (table[name] if name in table else pd.Series("", table.index)).astype(object).fillna("").astype(str)
            )
        table["seed"] = table["seed"].astype(str)
        for name in ("value", "low", "high"):
            table[name] = table[name].astype(float)
        return table

    @cached_property
    def config(self) -> dict[str, Any]:
        """The run's resolved config."""
        return self.results.config

    @property
    def record(self) -> dict[str, Any]:
        """Versions, device, seeds, times."""
        return self.results.record

    @property
    def class_names(self) -> Sequence[str]:
        """What the classes are called, as far as the record says."""
        data = self.record.get("data") or {}
        return data.get("class_names") or self.record.get("class_names") or ()

    @cached_property
    def defenses(self) -> tuple[str, ...]:
        """Defenses in the order of the config."""
        return _ordered(
            self.config.get("defenses") or {}, self.table["defense"], (c.defense for c in self.results.cells)
        )

    @cached_property
    def attacks(self) -> tuple[Column, ...]:
        """Attacks, family by family, in the order of the config."""
        named = [a.get("label") or a.get("name", "") for a in self.config.get("attacks") or ()]
        rows = self.table[["attack", "family", "access"]].itertuples(index=False, name=None)
        found = {
            label: Column(label, family, access)
            for label, family, access in (*((c.attack, c.family, c.access) for c in self.results.cells), *rows)
            if label
        }
        order = _ordered((label for label in named if label in found), found)
        return tuple(
            found[label]
            for family in (*FAMILIES, *sorted({c.family for c in found.values()} - set(FAMILIES)))
            for label in order
            if found[label].family == family
        )

    @cached_property
    def tested(self) -> tuple[str, ...]:
        """The families of which at least one attack was asked for."""
        return tuple(dict.fromkeys(column.family for column in self.attacks))

    @cached_property
    def baseline(self) -> str | None:
        """The config's key of "no defense" (the empty list), None where the run has none."""
        given = self.config.get("defenses") or {}
        empty = [name for name in self.defenses if name in given and not given[name]]
        return empty[0] if empty else ("none" if "none" in self.defenses else None)

    @cached_property
    def _rows(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self.table.to_dict("records"):
            rows.setdefault((row["defense"], row["attack"]), []).append({str(k): v for k, v in row.items()})
        return rows

    @cached_property
    def _cells(self) -> dict[tuple[str, str], list[CellResult]]:
        cells: dict[tuple[str, str], list[CellResult]] = {}
        for cell in self.results.cells:
            cells.setdefault((cell.defense, cell.attack), []).append(cell)
        return cells

    def cells(self, defense: str, attack: str) -> list[CellResult]:
        """The cells of one (defense, attack), a seed each; attack "" for utility."""
        return self._cells.get((defense, attack), [])

    def measures(self, family: str) -> tuple[str, ...]:
        """The measures that the rows of `family` carry, in the table's order."""
        named = dict.fromkeys(self.table.loc[self.table["family"] == family, "measure"])
        return tuple(name for name in named if name and (family, name) != ("utility", "advantage"))

    def entry(self, defense: str, attack: str, measure: str) -> Entry:
        """What the run says of this defense, attack ("" for utility) and measure."""
        pair = self._rows.get((defense, attack), [])
        rows = [row for row in pair if row["measure"] == measure]
        by_seed = tuple((row["seed"], row["value"]) for row in rows if row["seed"] != "all")
        cells = self.cells(defense, attack)
        trouble = [(c.status, c.reason) for c in cells if c.status != "ok"]
        trouble += [(row["status"], row["reason"]) for row in pair if row["status"] != "ok"]
        reasons = "; ".join(dict.fromkeys(reason for _, reason in trouble if reason))
        total = next((row for row in rows if row["seed"] == "all" and row["status"] == "ok"), None)
        if total is None:
            harmless = trouble and all(status == "not_applicable" for status, _ in trouble)
            return Entry(
                None, "not_applicable" if harmless else "failed", reasons or "no such row in the run's table", by_seed
            )
        note = next((row["reason"] for row in (total, *rows) if row["reason"]), "") or self._note(
            defense, attack, measure
        )
        estimate = Estimate(
            total["value"],
            total["low"],
            total["high"],
            _count(total["n"]),
            total["unit"],
            _direction(total["direction"]),
            note,
        )
        if not estimate.resolved:
            return Entry(estimate, "ok", note or "not resolvable at this n", by_seed)
        missing = sum(cell.status != "ok" for cell in cells)
        return Entry(
            estimate, "ok", f"{missing} of {len(cells)} seeds without a value: {reasons}" if missing else "", by_seed
        )

    def _note(self, defense: str, attack: str, measure: str) -> str:
        notes = (c.estimates[measure].note for c in self.cells(defense, attack) if measure in c.estimates)
        return next(filter(None, notes), "")

    def advantages(self, defense: str, family: str | None = None) -> dict[Column, Entry]:
        """The attacks with a measured advantage on this defense, strongest first."""
        entries = {c: self.entry(defense, c.label, "advantage") for c in self.attacks if family in (None, c.family)}
        measured = {c: e for c, e in entries.items() if e.resolved}
        return dict(sorted(measured.items(), key=lambda item: -item[1].known.value))

    def worst(self, defense: str, family: str | None = None) -> tuple[Column, Entry] | None:
        """The strongest attack on this defense, None where none was measured.

        That is the largest advantage whose interval lies above 0: a larger figure that may be noise must not hide a
        leak that is certain. Where no interval does, it is the largest figure.
        """
        measured = self.advantages(defense, family)
        certain = {column: entry for column, entry in measured.items() if entry.known.low > 0}
        return next(iter((certain or measured).items()), None)

    def on_average(self, defense: str, family: str | None = None) -> tuple[Column, Entry] | None:
        """The attack with the largest AUC whose interval lies above 0.5, None where there is none.

        An attack may rank members above others on the whole and yet name nobody at 1% false positives.
        """
        entries = {c: self.entry(defense, c.label, "auc") for c in self.attacks if family in (None, c.family)}
        above = {c: e for c, e in entries.items() if e.resolved and e.known.low > 0.5}
        return max(above.items(), key=lambda item: item[1].known.value, default=None)

    def blanks(self, status: str) -> tuple[tuple[str, str, str], ...]:
        """(defense, attack, reason) of every pair with this status, for some seed at least."""
        found = []
        for defense in self.defenses:
            for column in self.attacks:
                entry = self.entry(defense, column.label, "advantage")
                partly = any(cell.status == status for cell in self.cells(defense, column.label))
                if entry.status == status or partly:
                    found.append((defense, column.label, entry.reason))
        return tuple(found)


def _ordered(*names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in names for name in group if name))


def _count(n: Any) -> int:
    return 0 if n is None or math.isnan(float(n)) else int(n)


def _direction(text: str) -> Direction:
    return text if text in ("higher_is_worse", "higher_is_better") else "descriptive"  # type: ignore[return-value]

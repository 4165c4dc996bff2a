"""Rules of tables: inferred from the cells, and checked by pandera."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from privsec.core.errors import ConfigError, did_you_mean
from privsec.schema.rules import MISSING_VALUES, SHOWN, Column, Problem, TableSchema

if TYPE_CHECKING:
    from pandera.pandas import Check  # pyright: ignore[reportMissingImports]  (an extra)

MAX_LEVELS = 50
"""A column with more different values than this is text, not a category."""
FEWEST_FOR_UNIQUE = 20
"""So many records must differ in a column before it is taken to be unique."""


def infer(cells: pd.DataFrame, slack: float = 0.0) -> tuple[TableSchema, tuple[str, ...]]:
    """The strictest rules that a clean table keeps, and what is odd about it.

    Args:
        cells: text, one column a column.
        slack: how far ranges reach beyond what was seen, as a share of their width.

    Returns:
        The schema, and remarks about columns that are constant, empty, or have a value with one record.
    """
    columns, remarks = {}, []
    for name in map(str, cells.columns):
        column = _series(cells, name)
        present = pd.Series(column[~column.isin(MISSING_VALUES)])
        columns[name] = _column(present, len(cells), slack)
        counts = present.value_counts()
        if not len(present):
            remarks.append(f"{name}: every cell is missing")
        elif len(counts) == 1 and len(present) == len(cells) > 1:
            remarks.append(f"{name}: constant, every record has {counts.index[0]!r}")
        elif columns[name].type == "category" and counts.iloc[-1] == 1:
            lone = [str(level) for level, count in counts.items() if count == 1]
            remarks.append(f"{name}: one record alone has {', '.join(map(repr, sorted(lone)[:SHOWN]))}")
    return TableSchema(columns=columns), tuple(remarks)


def _column(present: pd.Series, count: int, slack: float) -> Column:
    missing = len(present) < count
    numbers = _numbers(present)
    distinct = present.nunique()
    different = distinct == len(present) >= FEWEST_FOR_UNIQUE
    if len(present) and np.isfinite(numbers).all():
        low, high = float(numbers.min()), float(numbers.max())
        whole = bool((numbers == np.floor(numbers)).all())
        wider = slack * (high - low)
        ends = (
            (low - wider, high + wider) if not whole else (float(np.floor(low - wider)), float(np.ceil(high + wider)))
        )
        kind = "integer" if whole else "number"
        return Column(type=kind, low=ends[0], high=ends[1], missing=missing, unique=whole and different)
    if len(present) and distinct <= MAX_LEVELS and not different:
        return Column(type="category", values=tuple(sorted(present.unique())), missing=missing)
    longest = max(int(present.str.len().max()), 1) if len(present) else None
    return Column(type="text", longest=longest, missing=missing, unique=different)


def check(cells: pd.DataFrame, schema: TableSchema) -> tuple[Problem, ...]:
    """Every rule that the table breaks, in the order of the schema's columns.

    Args:
        cells: text, one column a column.
        schema: the rules.

    Raises:
        ConfigError: pandera is not installed.
    """
    pandera = _pandera()
    values = cells.mask(cells.isin(schema.missing_values))
    problems = list(_present([str(name) for name in cells.columns], schema))
    if len(cells) < schema.fewest_records:
        plural = "s" * (schema.fewest_records != 1)
        problems.append(Problem("", "fewest_records", f"at least {schema.fewest_records} record{plural}", len(cells)))
    known = {name: column for name, column in schema.columns.items() if name in cells.columns}
    for name, column in known.items():
        wanted = _wanted(column)
        rules = pandera.DataFrameSchema(
            {
                name: pandera.Column(
                    None, checks=_checks(pandera, column), nullable=column.missing, unique=column.unique, coerce=False
                )
            }
        )
        try:
            rules.validate(values[[name]], lazy=True)
        except pandera.errors.SchemaErrors as error:
            failures = error.failure_cases
            for rule, rows in failures.groupby("check", sort=False):
                named = {"not_nullable": "missing", "field_uniqueness": "unique"}.get(str(rule), str(rule))
                problems.append(_problem(name, named, wanted[named], rows["index"], _series(cells, name)))
        if not column.constant and len(cells) > 1 and _series(values, name).nunique() < 2:
            first = str(_series(cells, name).iloc[0])
            problems.append(Problem(name, "constant", wanted["constant"], len(cells), ((0, first),)))
    return tuple(problems)


def _present(columns: Sequence[str], schema: TableSchema) -> list[Problem]:
    lacking = [name for name in schema.columns if name not in columns]
    further = [name for name in columns if name not in schema.columns]
    found = [
        Problem(name, "present", f"a column of this name.{did_you_mean(name, further)}".rstrip("."), 0)
        for name in lacking
    ]
    if not schema.others:
        joined = len(columns) == 1 and lacking and any(mark in columns[0] for mark in ",;\t|")
        hint = ". Is this the whole first line? Then the `delimiter` is another" if joined else ""
        found += [Problem(str(name), "known", f"no columns beside those of the schema{hint}", 0) for name in further]
    return found


def _wanted(column: Column) -> dict[str, str]:
    """What each rule asks for, in words."""
    low, high = ("any" if end is None else f"{end:g}" for end in (column.low, column.high))
    values = column.values or ()
    listed = ", ".join(map(repr, values[:8])) + (f" and {len(values) - 8} more" if len(values) > 8 else "")
    return {
        "type": {"integer": "a whole number", "number": "a finite number"}.get(column.type, column.type),
        "range": f"{low} to {high}",
        "values": f"one of {listed}",
        "longest": f"at most {column.longest} characters",
        "missing": "a value",
        "unique": "no value twice",
        "constant": "more than one value",
        "fewest": f"at least {column.fewest} records of every value",
    }


def _checks(pandera: Any, column: Column) -> list[Check]:
    """pandera's checks of a column of text; each answers for every cell that is not missing."""
    made: list[tuple[str, Callable[[pd.Series], Any]]] = []
    if column.type in ("integer", "number"):
        whole = column.type == "integer"
        made.append(("type", lambda cells: _is_number(cells, whole)))
        low = -np.inf if column.low is None else column.low
        high = np.inf if column.high is None else column.high

        def inside(cells: pd.Series) -> Any:
            numbers = _numbers(cells)
            return ~np.isfinite(numbers) | ((numbers >= low) & (numbers <= high))

        made.append(("range", inside))
    if column.values is not None:
        made.append(("values", lambda cells: cells.isin(column.values)))
    if column.longest is not None:
        made.append(("longest", lambda cells: cells.str.len() <= column.longest))
    if column.fewest > 1:
        made.append(("fewest", lambda cells: cells.map(cells.value_counts()) >= column.fewest))
    return [pandera.Check(_answering(rule), name=name) for name, rule in made]


def _answering(rule: Callable[[pd.Series], Any]) -> Callable[[pd.Series], pd.Series]:
    """The rule with an answer for each cell: missing ones keep every rule but their own."""

    def answer(cells: pd.Series) -> pd.Series:
        present = cells.dropna()
        kept = pd.Series(True, index=cells.index, dtype=bool)
        if len(present):
            kept[present.index] = np.asarray(rule(present), bool)
        return kept

    return answer


def _numbers(cells: pd.Series) -> np.ndarray:
    """float64, NaN where a cell is no number."""
    return np.asarray(pd.to_numeric(cells, errors="coerce"), np.float64)


def _series(cells: pd.DataFrame, name: str) -> pd.Series:
    return pd.Series(cells[name])


def _is_number(cells: pd.Series, whole: bool) -> np.ndarray:
    numbers = _numbers(cells)
    finite = np.isfinite(numbers)
    return finite & (numbers == np.floor(np.where(finite, numbers, 0.0))) if whole else finite


def _problem(name: str, rule: str, wanted: str, rows: pd.Series, cells: pd.Series) -> Problem:
    records = sorted({int(row) for row in rows})
    return Problem(name, rule, wanted, len(records), tuple((row, str(cells.iloc[row])) for row in records[:SHOWN]))


def _pandera() -> Any:
    try:
        import pandera.pandas  # pyright: ignore[reportMissingImports]  (an extra)
    except ImportError:
        raise ConfigError(
            "checking a table needs pandera, which is not installed: pip install 'privsec[data]' (arrays do without)"
        ) from None
    return pandera.pandas

"""Rules of arrays: inferred and checked by our own means."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from privsec.core.errors import did_you_mean
from privsec.schema.rules import SHOWN, Array, ArraySchema, Problem

MAX_CLASSES = 1000
"""Whole numbers 0 .. C-1 with more values than this are no labels."""


def infer(arrays: Mapping[str, np.ndarray], slack: float = 0.0) -> tuple[ArraySchema, tuple[str, ...]]:
    """The strictest rules that clean arrays keep, and what is odd about them.

    A one-dimensional array of whole numbers in which each of 0 .. C-1 occurs is taken to be labels.

    Args:
        arrays: by name.
        slack: how far ranges reach beyond what was seen, as a share of their width.
    """
    found = {name: _array(array, slack) for name, array in arrays.items()}
    lengths: dict[int, list[str]] = {}
    for name, array in arrays.items():
        if array.ndim:
            lengths.setdefault(len(array), []).append(name)
    together = tuple(tuple(names) for names in lengths.values() if len(names) > 1)
    remarks = []
    for name, array in arrays.items():
        if array.size > 1 and array.dtype.kind in "biuf" and (array == array.flat[0]).all():
            remarks.append(f"{name}: constant, every value is {array.flat[0]}")
        elif found[name].classes is not None and (np.bincount(array) == 1).any():
            remarks.append(f"{name}: class {int(np.argmax(np.bincount(array) == 1))} has one member")
    return ArraySchema(arrays=found, same_length=together), tuple(remarks)


def _array(array: np.ndarray, slack: float) -> Array:
    shape = (None, *array.shape[1:]) if array.ndim else ()
    if array.dtype.kind not in "biuf" or not array.size:
        return Array(dtype=str(array.dtype), shape=shape)
    if array.ndim == 1 and array.dtype.kind in "iu" and array.min() == 0 and array.max() < MAX_CLASSES:
        if (np.bincount(array) > 0).all():
            return Array(dtype=str(array.dtype), shape=shape, classes=int(array.max()) + 1)
    finite = np.isfinite(array)
    if not finite.any():
        return Array(dtype=str(array.dtype), shape=shape, finite=False)
    low, high = float(array[finite].min()), float(array[finite].max())
    wider = slack * (high - low)
    return Array(dtype=str(array.dtype), shape=shape, low=low - wider, high=high + wider, finite=bool(finite.all()))


def check(arrays: Mapping[str, np.ndarray], schema: ArraySchema) -> tuple[Problem, ...]:
    """Every rule that the arrays break, in the order of the schema's arrays."""
    further = [name for name in arrays if name not in schema.arrays]
    problems = [
        Problem(name, "present", f"an array of this name.{did_you_mean(name, further)}".rstrip("."), 0)
        for name in schema.arrays
        if name not in arrays
    ]
    if not schema.others:
        problems += [Problem(name, "known", "no arrays beside those of the schema", 0) for name in further]
    for name, rules in schema.arrays.items():
        if name in arrays:
            problems += _broken(name, arrays[name], rules, schema.fewest_records)
    for group in schema.same_length:
        lengths = {name: len(arrays[name]) for name in group if name in arrays and arrays[name].ndim}
        if len(set(lengths.values())) > 1:
            shown = tuple((-1, f"{name}: {length}") for name, length in lengths.items())
            problems.append(Problem(", ".join(lengths), "same_length", "as many records as each other", 0, shown))
    return tuple(problems)


def _broken(name: str, array: np.ndarray, rules: Array, fewest: int) -> list[Problem]:
    wanted = np.dtype(rules.dtype)
    alike = array.dtype.kind == wanted.kind if wanted.kind in "US" else array.dtype == wanted
    problems = [] if alike else [Problem(name, "dtype", str(wanted), 0, ((-1, str(array.dtype)),))]
    fits = array.ndim == len(rules.shape) and all(
        want in (None, have) for want, have in zip(rules.shape, array.shape, strict=True)
    )
    if not fits:
        shape = f"[{', '.join('any' if length is None else str(length) for length in rules.shape)}]"
        problems.append(Problem(name, "shape", shape, 0, ((-1, str(list(array.shape))),)))
    if array.ndim and len(array) < fewest:
        problems.append(Problem(name, "fewest_records", f"at least {fewest} record{'s' * (fewest != 1)}", len(array)))
    if array.dtype.kind not in "biuf" or not array.size:
        return problems
    table = array.reshape(len(array) if array.ndim else 1, -1)
    finite = np.isfinite(table)

    def rule(of: str, wish: str, wrong: Callable[[np.ndarray], np.ndarray]) -> None:
        bad = wrong(table)
        if bad.any():
            problems.append(_problem(name, of, wish, table, bad))

    if rules.finite:
        rule("finite", "no NaN and no infinity", lambda values: ~finite)
    low, high = (-np.inf if rules.low is None else rules.low), (np.inf if rules.high is None else rules.high)
    rule("range", f"{low:g} to {high:g}", lambda values: finite & ((values < low) | (values > high)))
    if rules.classes is not None:
        top = rules.classes - 1
        outside = finite & ((table < 0) | (table > top) | (table != np.floor(table)))
        rule("classes", f"labels 0 to {top}", lambda values: outside)
        if rules.fewest > 1:
            _, of, counts = np.unique(table, return_inverse=True, return_counts=True)
            rare = (counts[of] < rules.fewest).reshape(table.shape)
            rule("fewest", f"at least {rules.fewest} records of every class", lambda values: rare)
    return problems


def _problem(name: str, rule: str, wanted: str, table: np.ndarray, bad: np.ndarray) -> Problem:
    records = np.flatnonzero(bad.any(axis=1))
    examples = tuple((int(row), _shown(table[row], bad[row])) for row in records[:SHOWN])
    return Problem(name, rule, wanted, len(records), examples)


def _shown(values: np.ndarray, bad: np.ndarray) -> str:
    """The first offending value of a record, with its column where there are several."""
    column = int(np.argmax(bad))
    return str(values[column]) + (f" in column {column}" if len(values) > 1 else "")

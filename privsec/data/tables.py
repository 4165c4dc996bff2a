"""Tables of numeric and categorical columns, turned into features without using any statistic of the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from privsec.core.data import Attribute, Constraints, Dataset
from privsec.core.errors import DataError, did_you_mean
from privsec.data import formats
from privsec.data.base import FileSource

MISSING = "missing"
"""The level, or the suffix of the indicator column, that stands for a missing value."""


class Table(FileSource):
    """Base of data sets with named columns.

    A column whose every present value is a number is numeric: kept as it is and marked to be standardized by public
    records (unless it holds only 0 and 1). Any other column is one-hot, a feature `column=level` for each of its levels
    in sorted order; which levels there are is taken to be public.

    A changed record keeps to the kind of its columns (`Dataset.constraints`): columns of whole numbers stay whole, one
    level of a categorical column is on. Any categorical column, and one of 0 and 1, can be inferred as an attribute.
    """

    sensitive: tuple[str, ...] = ()
    """Columns kept as group codes for slices and fairness."""
    keep_sensitive: bool = True
    """Whether the sensitive columns are features as well."""
    categorical: tuple[str, ...] = ()
    """Columns to one-hot although their values are numbers, for example postal codes."""
    fixed: tuple[str, ...] = ()
    """Columns that nobody can change in a record of theirs, for example age."""
    drop: tuple[str, ...] = ()
    """Columns left out, for example identifiers."""
    missing: Literal["error", "drop", "indicate"] = "error"
    """What to do about missing values: refuse them, drop the records that have any, or make missingness a feature
    (a level of its own in a categorical column; 0 and an indicator column in a numeric one). None is guessed."""
    missing_values: tuple[str, ...] = ("", "?", "NA", "N/A", "NaN", "nan", "null")
    """Cells that mean "not known"."""
    max_levels: Annotated[int, Field(ge=2)] = 100
    """Most levels of a categorical column, a sensitive column or the target; more looks like an identifier."""

    def _picked(self, path: Path, wanted: Sequence[str]) -> list[list[str]]:
        """The cells of the `wanted` columns of a csv file, in this order."""
        header, *rows = formats.read_csv(path)
        if lacking := [name for name in wanted if name not in header]:
            raise DataError(f"{path}: the first line does not name {', '.join(lacking)}. {self._wanted}")
        keep = [header.index(name) for name in wanted]
        return [[row[position] for position in keep] for row in rows]

    def _encode(self, header: Sequence[str], rows: list[list[str]], target: str, source: str, sha256: str) -> Dataset:
        """The Dataset of a table of text cells; `target` names the column of classes."""
        self._check_header(header, target, source)
        columns = self._columns(header, rows, target, source)
        classes, y = self._levels(columns[target], source)
        groups = {name: self._levels(columns[name], source) for name in self.sensitive}
        unused = {target} if self.keep_sensitive else {target, *self.sensitive}
        features = {name: self._features(columns[name], source) for name in columns if name not in unused}
        if not features:
            raise DataError(f"{source}: no feature column is left beside the target {target!r}. Drop fewer columns.")
        flat = [part for parts in features.values() for part in parts]
        return Dataset(
            x=np.stack([part.values for part in flat], axis=1),
            y=y,
            num_classes=len(classes),
            class_names=classes,
            feature_names=tuple(part.name for part in flat),
            standardize=np.array([part.scaled for part in flat]),
            sensitive={name: codes.astype(np.int32) for name, (_, codes) in groups.items()},
            group_names={name: levels for name, (levels, _) in groups.items()},
            constraints=_constraints(features, self.fixed),
            attributes=_attributes(features),
            source=source,
            sha256=sha256,
        )

    def _check_header(self, header: Sequence[str], target: str, source: str) -> None:
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise DataError(
                f"{source}: the column names {', '.join(map(repr, twice))} occur more than once. Rename them."
            )
        named = {"target": (target,), "sensitive": self.sensitive, "categorical": self.categorical, "drop": self.drop}
        named["fixed"] = self.fixed
        for key, names in named.items():
            for name in names:
                if name not in header:
                    raise DataError(
                        f"{source}: no column {name!r} (asked for by `{key}`).{did_you_mean(name, header)} "
                        f"The first line names: {', '.join(header)}."
                    )
        if clash := sorted({target, *self.sensitive} & set(self.drop)):
            raise DataError(
                f"{source}: {', '.join(clash)} cannot be dropped: it is the target or sensitive. To leave a "
                "sensitive column out of the features write `keep_sensitive: false`."
            )

    def _columns(self, header: Sequence[str], rows: list[list[str]], target: str, source: str) -> dict[str, _Column]:
        """The columns in use, after the policy on missing values."""
        if not rows:
            raise DataError(f"{source}: names columns but holds no records. Is it the right file?")
        cells = {name: np.array(column) for name, column in zip(header, zip(*rows, strict=True), strict=True)}
        columns = {
            name: _Column(name, column, np.isin(column, self.missing_values))
            for name, column in cells.items()
            if name not in self.drop
        }
        if self.missing == "drop":
            kept = ~np.any([column.absent for column in columns.values()], axis=0)
            if not kept.any():
                raise DataError(
                    f"{source}: every record lacks some value. Write `missing: indicate`, or `drop` columns."
                )
            columns = {name: _Column(name, column.cells[kept], column.absent[kept]) for name, column in columns.items()}
        for column in columns.values() if self.missing == "error" else [columns[target]]:
            if column.absent.any():
                remedy = (
                    "A label cannot be guessed: write `missing: drop`."
                    if column.name == target
                    else "Write `missing: drop` (leaves their records out) or `missing: indicate` (makes it a feature)."
                )
                raise DataError(
                    f"{source}: {int(column.absent.sum())} missing values in column {column.name!r}, the first in "
                    f"record {int(column.absent.argmax())}. {remedy}"
                )
        return columns

    def _features(self, column: _Column, source: str) -> list[_Feature]:
        """The features of a column."""
        numbers = None if column.name in self.categorical else column.numbers()
        if numbers is None:
            levels, codes = self._levels(column, source)
            return [
                _Feature(f"{column.name}={level}", (codes == code).astype(float), level=level)
                for code, level in enumerate(levels)
            ]
        features = [_Feature(column.name, numbers, scaled=not np.isin(numbers, (0.0, 1.0)).all())]
        if column.absent.any():
            features.append(_Feature(f"{column.name}={MISSING}", column.absent.astype(float)))
        return features

    def _levels(self, column: _Column, source: str) -> tuple[tuple[str, ...], np.ndarray]:
        """The levels of a column, sorted (numbers by value, missing last), and each record's code."""
        levels, codes = np.unique(column.cells[~column.absent], return_inverse=True)
        if len(levels) > self.max_levels:
            raise DataError(
                f"{source}: column {column.name!r} has {len(levels)} different values, more than max_levels = "
                f"{self.max_levels}. A target must be cut into classes first; an identifier or free text belongs into "
                "`drop`; else raise `max_levels`."
            )
        values = _Column(column.name, levels, np.zeros(len(levels), bool)).numbers()
        order = np.arange(len(levels)) if values is None else np.argsort(values, kind="stable")
        found = np.full(len(column.cells), len(levels))
        found[~column.absent] = np.argsort(order)[codes]
        names = tuple(str(level) for level in levels[order])
        return (*names, MISSING) if column.absent.any() else names, found


class _Feature(NamedTuple):
    """One feature of a column: `values` float64 [N], whether to standardize them, and the level that a 1 stands for."""

    name: str
    values: np.ndarray
    scaled: bool = False
    level: str | None = None


def _constraints(features: Mapping[str, list[_Feature]], fixed: Sequence[str]) -> Constraints:
    """What a changed record keeps to: fixed columns, whole numbers, one level of each categorical column."""
    rows = [
        (name in fixed, np.all(part.values == np.round(part.values)), -1 if part.level is None else number)
        for number, (name, parts) in enumerate(features.items())
        for part in parts
    ]
    held, whole, group = (np.array(column) for column in zip(*rows, strict=True))
    return Constraints(held, whole.astype(np.float32), np.zeros(len(whole), np.float32), group.astype(np.int32))


def _attributes(features: Mapping[str, list[_Feature]]) -> dict[str, Attribute]:
    """The columns that can be inferred: categorical ones, and those of 0 and 1."""
    found, start = {}, 0
    for name, parts in features.items():
        columns = np.arange(start, start + len(parts))
        start += len(parts)
        if parts[0].level is not None:
            levels = tuple(str(part.level) for part in parts)
            found[name] = Attribute(columns, np.eye(len(parts), dtype=np.float32), levels)
        elif len(parts) == 1 and not parts[0].scaled:
            found[name] = Attribute(columns, np.array([[0.0], [1.0]], np.float32), ("0", "1"))
    return found


class _Column(NamedTuple):
    name: str
    cells: np.ndarray
    """Text [N]."""
    absent: np.ndarray
    """Bool [N]: is the value missing?"""

    def numbers(self) -> np.ndarray | None:
        """The values as float64 [N], 0 where absent; None when some value is not a number, or none is present."""
        if self.absent.all():
            return None
        try:
            return np.where(self.absent, "0", self.cells).astype(np.float64)
        except ValueError:
            return None

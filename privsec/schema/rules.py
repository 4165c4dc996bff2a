"""A schema: the rules of a table's columns or of an npz's arrays, as one YAML file says them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pydantic
import yaml
from pydantic import Field, model_validator

from privsec.core.errors import ConfigError, did_you_mean
from privsec.core.spec import Spec, SpecError, explain

SHOWN = 5
"""Offending records that a problem names."""
MISSING_VALUES = ("", "?", "NA", "N/A", "NaN", "nan", "null")
"""Cells that mean "not known", where a schema does not say otherwise."""


class Column(Spec):
    """What the cells of one column of a table must be like."""

    type: Literal["integer", "number", "category", "text"]
    """Whole numbers, finite numbers, one of `values`, or anything."""
    low: float | None = None
    """The smallest number allowed."""
    high: float | None = None
    """The largest number allowed."""
    values: tuple[str, ...] | None = None
    """Of a category: the cells allowed, as they are written."""
    longest: int | None = Field(default=None, ge=1)
    """Of a text: the most characters."""
    missing: bool = False
    """Whether a cell may be missing."""
    unique: bool = False
    """Whether no two records may have the same value."""
    constant: bool = True
    """Whether all records may have the same value."""
    fewest: int = Field(default=1, ge=1)
    """Records that every value which occurs must have: 2 refuses a class with one member."""

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        numeric = self.type in ("integer", "number")
        if not numeric and (self.low is not None or self.high is not None):
            raise ValueError(f"a {self.type} has no range: `low` and `high` are of numbers")
        _ordered(self.low, self.high)
        if (self.type == "category") != (self.values is not None):
            raise ValueError("a category says its `values`, and nothing else does")
        if self.values is not None and len(set(self.values)) < max(len(self.values), 1):
            raise ValueError("`values` must name at least one, and none twice")
        if self.longest is not None and self.type != "text":
            raise ValueError("`longest` is of a text")
        if self.unique and self.fewest > 1:
            raise ValueError("`unique` allows a value one record, and `fewest` asks for more")
        return self


class Array(Spec):
    """What one array of an npz must be like."""

    dtype: str
    """Its NumPy type, for example uint8 or float32."""
    shape: tuple[int | None, ...]
    """The length of each axis; null for any."""
    low: float | None = None
    """The smallest value allowed."""
    high: float | None = None
    """The largest value allowed."""
    finite: bool = True
    """Whether NaN and infinity are refused."""
    classes: int | None = Field(default=None, ge=1)
    """Of labels: how many classes C; every value is one of 0 .. C-1."""
    fewest: int = Field(default=1, ge=1)
    """Of labels: records that every class which occurs must have."""

    @model_validator(mode="after")
    def _consistent(self) -> Array:
        try:
            kind = np.dtype(self.dtype).kind
        except TypeError:
            raise ValueError(f"{self.dtype!r} is no type of NumPy; uint8, int64 and float32 are") from None
        _ordered(self.low, self.high)
        if kind not in "biuf" and (self.low is not None or self.high is not None or self.classes is not None):
            raise ValueError(f"values of type {self.dtype} have no range and are no labels")
        if self.classes is not None and (len(self.shape) != 1 or self.low is not None or self.high is not None):
            raise ValueError("labels are [N], and `classes` says their range")
        if self.fewest > 1 and self.classes is None:
            raise ValueError("`fewest` is of labels: say their `classes`")
        if any(length is not None and length < 0 for length in self.shape):
            raise ValueError("an axis has no negative length; write null for any")
        return self


def _ordered(low: float | None, high: float | None) -> None:
    if any(end is not None and np.isnan(end) for end in (low, high)):
        raise ValueError("a range has no end at NaN; leave it out")
    if low is not None and high is not None and low > high:
        raise ValueError(f"the range is empty: low = {low:g} is above high = {high:g}")


class TableSchema(Spec):
    """The rules of a table: csv, tsv or parquet."""

    kind: Literal["table"] = "table"
    columns: dict[str, Column] = Field(min_length=1)
    """The rules of each column, by its name."""
    others: bool = False
    """Whether further columns are allowed."""
    fewest_records: int = Field(default=1, ge=1)
    """The fewest records."""
    missing_values: tuple[str, ...] = MISSING_VALUES
    """Cells that mean "not known"."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """What separates the cells; by default a comma, in a tsv file a tab."""
    encoding: str = "utf-8"
    """How the text is encoded, for example latin-1."""

    @model_validator(mode="after")
    def _consistent(self) -> TableSchema:
        for name, column in self.columns.items():
            if clash := sorted(set(column.values or ()) & set(self.missing_values)):
                raise ValueError(f"column {name!r} has a value {clash[0]!r}, which `missing_values` calls missing")
        return self


class ArraySchema(Spec):
    """The rules of the arrays of an npz."""

    kind: Literal["arrays"] = "arrays"
    arrays: dict[str, Array] = Field(min_length=1)
    """The rules of each array, by its name."""
    others: bool = False
    """Whether further arrays are allowed."""
    fewest_records: int = Field(default=1, ge=1)
    """The fewest records: the length of the first axis."""
    same_length: tuple[tuple[str, ...], ...] = ()
    """Groups of arrays with as many records as each other."""

    @model_validator(mode="after")
    def _consistent(self) -> ArraySchema:
        for name in (name for group in self.same_length for name in group):
            if name not in self.arrays:
                raise ValueError(f"`same_length` names {name!r}, of which `arrays` says nothing")
        return self


Schema = TableSchema | ArraySchema
_KINDS: dict[str, type[TableSchema] | type[ArraySchema]] = {"table": TableSchema, "arrays": ArraySchema}


class Problem(NamedTuple):
    """One rule that data break.

    Attributes:
        column: or array; "" for the file as a whole.
        rule: its name in the schema, or `present`, `known`, `readable`.
        wanted: what the rule asks for.
        records: how many break it.
        examples: (record, value) of the first of them, records counted from 0; -1 where it is no record's fault.
    """

    column: str
    rule: str
    wanted: str
    records: int
    examples: tuple[tuple[int, str], ...] = ()

    @property
    def told(self) -> str:
        """In one line: column, rule, what was wanted, how many records break it, the first of them."""
        where = ".".join(filter(None, (self.column, self.rule)))
        if self.rule == "readable":
            return f"{where}: {self.wanted}"
        wish = f"{where}: wanted {self.wanted}"
        if self.rule == "fewest_records":
            return f"{wish}; there {'is' if self.records == 1 else 'are'} {self.records:,}"
        counted = f"; {self.records:,} record{'s' * (self.records != 1)}" if self.records else ""
        if self.examples and all(row < 0 for row, _ in self.examples):
            return f"{wish}{counted}; found {', '.join(value for _, value in self.examples)}"
        shown = ", ".join(f"record {row}: {value!r}" for row, value in self.examples)
        more = ", ..." if self.records > len(self.examples) > 0 else ""
        return f"{wish}{counted}{f' ({shown}{more})' if shown else ''}"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        examples = [{"record": record, "value": value} for record, value in self.examples]
        return {**self._asdict(), "examples": examples}


def load(path: Path) -> Schema:
    """The schema in a YAML file.

    Raises:
        ConfigError: no such file, not YAML, an unknown rule, or rules that contradict each other.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ConfigError(
            f"{path}: there is no such schema.{did_you_mean(path.name, siblings)} `privsec data schema FILE --out "
            f"{path}` makes one of a clean file"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or values.get("kind") not in _KINDS:
        raise ConfigError(f"{path}: a schema is a mapping with `kind: table` and `columns`, or `kind: arrays`")
    try:
        return _KINDS[values["kind"]].model_validate(values)
    except pydantic.ValidationError as error:
        raise SpecError(str(path), explain(error, values)) from None


def dump(schema: Schema) -> str:
    """The schema as YAML, without the rules that say what is so anyway; `load` reads it back."""
    values = _short(schema.model_dump(mode="json", exclude_defaults=True))
    return yaml.safe_dump({"kind": schema.kind, **values}, sort_keys=False, allow_unicode=True, width=120)


def write(schema: Schema, path: Path) -> Path:
    """Writes the schema to a file and returns its path.

    Raises:
        ConfigError: it cannot be written there.
    """
    try:
        path.write_text(dump(schema), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def _short(value: Any) -> Any:
    """Whole floats as integers: 17 instead of 17.0."""
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value

"""Files held against a schema: read by their ending, checked, and told with every problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from privsec.core.errors import ConfigError, DataError
from privsec.data import formats
from privsec.schema import arrays, rules, tables
from privsec.schema.rules import ArraySchema, Problem, Schema, TableSchema

Content = pd.DataFrame | dict[str, np.ndarray]
TABLES = {".csv": ",", ".tsv": "\t", ".parquet": None, ".pq": None}
"""Endings of tables, and what separates their cells."""

LISTED = 10
"""Broken rules that a refusal lists."""
_OF = {"table": "a table", "arrays": "arrays"}


@dataclass(frozen=True)
class Checked:
    """A file held against a schema.

    Attributes:
        path: of the file.
        sha256: of its bytes.
        schema: where the rules stand.
        schema_digest: names the rules.
        records: in the file; 0 where it cannot be read.
        problems: every rule that is broken.
    """

    path: Path
    sha256: str
    schema: Path
    schema_digest: str
    records: int
    problems: tuple[Problem, ...]

    @property
    def passed(self) -> bool:
        """Whether no rule is broken."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """Plain values, for other programs."""
        return {
            "file": str(self.path),
            "sha256": self.sha256,
            "schema": str(self.schema),
            "schema_digest": self.schema_digest,
            "records": self.records,
            "passed": self.passed,
            "problems": [problem.as_json() for problem in self.problems],
        }


def check(path: Path, schema: Path) -> Checked:
    """Holds a file against the schema in another.

    A file that is broken (ragged rows, another encoding, truncated, empty) has a problem of the rule `readable`.

    Raises:
        ConfigError: there is no such file, its ending is unknown, or the schema is wrong or of another kind.
    """
    wanted = rules.load(schema)
    read = _reader(path)
    if (path.suffix.lower() == ".npz") != isinstance(wanted, ArraySchema):
        other = "arrays" if wanted.kind == "table" else "table"
        raise ConfigError(f"{schema}: these are rules of {_OF[wanted.kind]}, and {path} holds {_OF[other]}")
    digest = formats.sha256(path)
    try:
        content = read(wanted)
    except DataError as error:
        problem = Problem("", "readable", str(error), 0)
        return Checked(path, digest, schema, wanted.digest, 0, (problem,))
    found = _check(content, wanted)
    return Checked(path, digest, schema, wanted.digest, _records(content), found)


def enforce(
    path: Path, schema: Path, kind: str, *, delimiter: str | None = None, encoding: str | None = None
) -> Checked:
    """Holds a file of known form against a schema, whatever its ending, and refuses it where a rule is broken.

    Args:
        path: of the file.
        schema: where the rules stand.
        kind: "table" for text with a delimiter, "arrays" for an npz.
        delimiter: of a table, instead of the schema's.
        encoding: of a table, instead of the schema's.

    Raises:
        ConfigError: the schema is missing, wrong or of another kind, or pandera is not installed.
        DataError: the file is broken or breaks a rule; the text names every rule with the first records.
    """
    wanted = rules.load(schema)
    if wanted.kind != kind:
        raise ConfigError(f"{schema}: these are rules of {_OF[wanted.kind]}, and {path} holds {_OF[kind]}")
    digest = formats.sha256(path)
    content = _arrays(path) if isinstance(wanted, ArraySchema) else _table(path, wanted, delimiter, encoding)
    found = Checked(path, digest, schema, wanted.digest, _records(content), _check(content, wanted))
    if found.passed:
        return found
    count = len(found.problems)
    listed = "".join(f"\n  {problem.told}" for problem in found.problems[:LISTED])
    further = f"\n  and {count - LISTED} more: `privsec data check {path} --schema {schema}`" if count > LISTED else ""
    raise DataError(
        f"{path}: breaks {count} rule{'s' * (count > 1)} of {schema}, and is not used (records are counted from 0):"
        f"{listed}{further}\nMend the file, or, where the rule is too strict for data that are right, loosen it in "
        f"{schema}."
    )


def infer(
    path: Path, *, slack: float = 0.0, delimiter: str | None = None, encoding: str = "utf-8"
) -> tuple[Schema, tuple[str, ...]]:
    """The strictest schema that a clean file keeps, and remarks on what is odd about it.

    Args:
        path: of the file.
        slack: how far ranges reach beyond what was seen, as a share of their width.
        delimiter: what separates the cells; by default a comma, in a tsv file a tab.
        encoding: of the text.

    Raises:
        ConfigError: there is no such file, or its ending is unknown.
        DataError: the file is broken.
    """
    if slack < 0:
        raise ConfigError(f"slack is {slack:g}; a range cannot be narrower than what was seen: write 0 or more")
    if delimiter is not None and len(delimiter) != 1:
        raise ConfigError(f"the delimiter is {delimiter!r}; it is one character")
    form = TableSchema(columns={"any": rules.Column(type="text")}, delimiter=delimiter, encoding=encoding)
    content = _reader(path)(form)
    if isinstance(content, dict):
        return arrays.infer(content, slack)
    found, remarks = tables.infer(content, slack)
    return found.model_copy(update={"delimiter": delimiter, "encoding": encoding}), remarks


def _check(content: Content, schema: Schema) -> tuple[Problem, ...]:
    if isinstance(schema, ArraySchema):
        assert isinstance(content, dict)
        return arrays.check(content, schema)
    assert isinstance(content, pd.DataFrame)
    return tables.check(content, schema)


def _records(content: Content) -> int:
    if isinstance(content, pd.DataFrame):
        return len(content)
    return max((len(array) for array in content.values() if array.ndim), default=0)


def _reader(path: Path) -> Callable[[Schema], Content]:
    """How a file is read; its form (delimiter, encoding) is the schema's."""
    suffix = path.suffix.lower()
    if suffix not in (*TABLES, ".npz"):
        raise ConfigError(f"{path}: a file that can be checked ends in .npz, {', '.join(TABLES)}")
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")
    if suffix == ".npz":
        return lambda schema: _arrays(path)
    if suffix in (".parquet", ".pq"):
        return lambda schema: _parquet(path)
    return lambda schema: _cells(path, TABLES[suffix] or ",", schema)


def _cells(path: Path, delimiter: str, schema: Schema) -> pd.DataFrame:
    assert isinstance(schema, TableSchema)
    return _table(path, schema, schema.delimiter or delimiter, schema.encoding, quoted=path.suffix.lower() != ".tsv")


def _table(
    path: Path, schema: TableSchema, delimiter: str | None, encoding: str | None, quoted: bool = True
) -> pd.DataFrame:
    delimiter, encoding = delimiter or schema.delimiter or ",", encoding or schema.encoding
    header, *rows = formats.read_csv(path, delimiter=delimiter, encoding=encoding, quoted=quoted)
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise DataError(f"{path}: the column names {', '.join(map(repr, twice))} occur more than once. Rename them.")
    return pd.DataFrame(rows, columns=pd.Index(header), dtype=object)


def _parquet(path: Path) -> pd.DataFrame:
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]  (an extra)
    except ImportError:
        raise ConfigError(
            f"{path}: reading parquet needs pyarrow, which is not installed: pip install 'privsec[parquet]'"
        ) from None
    with formats.explained(path, "parquet"):
        try:
            table = pd.read_parquet(path, engine="pyarrow")
        except pyarrow.ArrowException as error:
            raise ValueError(str(error)) from None
    table.columns = [str(name) for name in table.columns]
    return pd.DataFrame({name: _as_text(pd.Series(table[name])) for name in table.columns}, dtype=object)


def _as_text(values: pd.Series) -> list[str]:
    """The cells of a column as they would stand in a csv file; a missing one is empty."""
    return ["" if lacking else str(value) for value, lacking in zip(values, values.isna(), strict=True)]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with formats.explained(path, "npz without pickles"), path.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise DataError(f"{path}: is one array (npy), not an npz (`numpy.savez`).")
        return {name: file[name] for name in file.files}

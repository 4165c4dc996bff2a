"""What an auditor hands over about members and about non-members: arrays, tables, or files of either.

One side is a table of named columns. Bare arrays have no names; a file, a DataFrame or a mapping may have these:

    score | loss | confidence | logit_0 ... | probability_0 ...    what the model (or an attack) says of the record
    label, group, id                                               its class, the person it belongs to, its own name
    slice_<attribute>                                              attributes by which results are split
    feature_<name>                                                 the record itself, for the blind baseline
    member                                                         0 or 1, where one table holds both sides
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeGuard, cast, get_args

import numpy as np
import pandas as pd

from privsec.core.errors import ConfigError, DataError, did_you_mean

What = Literal["score", "loss", "confidence", "logits", "probabilities"]
"""What given numbers are. Only a score is higher for members by itself, whatever it is."""

SINGLE = {"score": "score", "loss": "loss", "confidence": "confidence"}
MANY = {"logits": "logit_", "probabilities": "probability_"}
SUFFIXES = (".npy", ".npz", ".csv", ".parquet")


@dataclass(frozen=True)
class Side:
    """Members or non-members, as they were given; every part has one entry a record.

    Attributes:
        values: what the model says, [N] or [N, C]; None where it is to be asked.
        what: what the values are.
        x: the records themselves, where given.
        labels: their classes, numbers or names.
        groups: whom each belongs to.
        identifiers: their own names.
        slices: attribute -> its value for each record.
    """

    size: int
    values: np.ndarray | None = None
    what: What | None = None
    x: np.ndarray | None = None
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    identifiers: np.ndarray | None = None
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)

    def take(self, rows: np.ndarray) -> Side:
        """The records at `rows` (a mask or indices)."""
        parts = {name: getattr(self, name) for name in ("values", "x", "labels", "groups", "identifiers")}
        kept = {name: part[rows] for name, part in parts.items() if part is not None}
        slices = {name: codes[rows] for name, codes in self.slices.items()}
        return replace(self, size=int(np.arange(self.size)[rows].size), slices=slices, **kept)


def both_sides(
    members: Any, non_members: Any, *, records: bool, what: What | None = None, member_column: str = "member"
) -> tuple[Side, Side]:
    """The two sides; where `non_members` is None, `members` is a table of both with a column that says which is which.

    Args:
        members: scores, answers or (with `records`) records; an array, a table, or the path of one.
        non_members: likewise.
        records: whether the records themselves are given, to be shown to a model.
        what: what bare numbers are; a named column says it by itself.
        member_column: see above.

    Raises:
        ConfigError: an unknown `what`; no non-members.
        DataError: a file or array that cannot be understood.
    """
    if what is not None and what not in get_args(What):
        raise ConfigError(f"what={what!r} is not known.{did_you_mean(what, get_args(What))} It is one of {_options()}.")
    if non_members is not None:
        return (
            side_of(members, "members", records=records, what=what),
            side_of(non_members, "non-members", records=records, what=what),
        )
    table = _table(members, "the table")
    if table is None or member_column not in table:
        raise ConfigError(
            "there are no non-members. Give them as the second argument, or one table (.csv, .npz, .parquet, a "
            f"DataFrame) of both sides with a column {member_column!r} of 0 and 1."
        )
    bits = np.asarray(table[member_column])
    member = np.isin(bits.astype(str), ("1", "1.0", "True", "true"))
    if not np.isin(bits[~member].astype(str), ("0", "0.0", "False", "false")).all():
        raise DataError(f"column {member_column!r} must hold 0 and 1 (or true and false) only")
    rest = {name: column for name, column in table.items() if name != member_column}
    together = _of_table(rest, "the table", records, what)
    return together.take(member), together.take(~member)


def side_of(given: Any, name: str, *, records: bool, what: What | None = None) -> Side:
    """One side, from an array, `Examples`, `(x, y)`, a mapping of columns, a DataFrame, or the path of a file.

    Raises:
        DataError: it cannot be understood; the text says what was expected.
    """
    if records and isinstance(given, tuple) and len(given) == 2:  # Examples too
        x, y = (np.asarray(part) for part in given)
        return _checked(Side(len(x), x=x, labels=y), name)
    table = _table(given, name)
    if table is not None:
        return _of_table(table, name, records, what)
    values = _array(_npy(_path(given)) if _is_path(given) else given, name)
    if records:
        raise DataError(
            f"{name}: a target is asked about records with labels: pass privsec.Examples(x, y), a pair (x, y), or the "
            f"path of an .npz with arrays `x` and `y` or of a .csv with a column `label`. Got an array {values.shape}."
        )
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    return _checked(Side(len(values), values=values, what=what or "score"), name)


def _is_path(given: Any) -> TypeGuard[str | Path]:
    return isinstance(given, (str, Path))


def _path(given: str | Path) -> Path:
    path = Path(given)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: files of scores or records are {', '.join(SUFFIXES)}.")
    if not path.is_file():
        near = [str(file) for file in path.parent.glob(f"*{path.suffix}")] if path.parent.is_dir() else []
        raise DataError(f"{path}: there is no such file.{did_you_mean(path, near)}")
    return path


def _npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as .npy: {error}. Write it again by `numpy.save`.") from None


def _table(given: Any, name: str) -> dict[str, np.ndarray] | None:
    """The columns by name; None for a bare array."""
    if isinstance(given, pd.DataFrame):
        return {str(column): given[column].to_numpy() for column in given.columns}
    if isinstance(given, Mapping):
        return {str(column): _array(values, f"{name}, {column}") for column, values in given.items()}
    if not _is_path(given):
        return None
    path = _path(given)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return None
    try:
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {column: file[column] for column in file.files}
        frame = pd.read_csv(path, skipinitialspace=True) if suffix == ".csv" else pd.read_parquet(path)
    except ImportError:
        raise ConfigError(
            f"{path}: reading Parquet takes pyarrow, which is not installed: pip install 'privsec[parquet]', or write "
            "the table as .csv or .npz."
        ) from None
    except Exception as error:  # each format's reader has its own
        raise DataError(f"{path}: cannot be read as {suffix}: {' '.join(str(error).split())[:200]}") from None
    if len(frame.columns) == 1 and _is_number(frame.columns[0]):  # no header: its first line was a number
        frame = pd.read_csv(path, header=None, names=["value"])
    return _table(frame, name)


def _is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True


def _of_table(table: Mapping[str, np.ndarray], name: str, records: bool, what: What | None) -> Side:
    rest = dict(table)
    labels = next((rest.pop(key) for key in ("label", "labels", "y", "target") if key in rest), None)
    groups, identifiers = rest.pop("group", None), rest.pop("id", None)
    slices = {key.removeprefix("slice_"): rest.pop(key) for key in list(rest) if key.startswith("slice_")}
    values, features = None, _columns(rest, "feature_")
    if records:
        features = rest.pop("x") if "x" in rest else features if features is not None else _stacked(rest, name)
        if labels is None:
            raise DataError(
                f"{name}: records need their classes: a column `label`, or an array `y`. Got {_list(table)}."
            )
    else:
        features = rest.pop("x", features)
        values, what = _values(rest, name, what)
    size = len(features if values is None else values)  # type: ignore[arg-type]
    return _checked(Side(size, values, what, features, labels, groups, identifiers, slices), name)


def _values(table: Mapping[str, np.ndarray], name: str, what: What | None) -> tuple[np.ndarray, What]:
    found: dict[What, np.ndarray] = {cast(What, key): table[key] for key in SINGLE if key in table}
    for key, prefix in MANY.items():
        columns = table[key] if key in table else _columns(table, prefix)
        if columns is not None:
            found[cast(What, key)] = columns
    if what in found:
        return found[what], what
    if len(found) == 1:
        only, values = next(iter(found.items()))
        if what is not None:
            raise DataError(f"{name}: what={what!r}, but the table holds a column of {only}. Leave `what` away.")
        return values, only
    if found:
        raise DataError(f"{name}: holds {', '.join(found)}; say which one to judge by what=...")
    numbers = [column for column in table.values() if column.ndim == 1 and column.dtype.kind in "fiu"]
    if len(table) == 1 and numbers:
        return numbers[0], what or "score"
    raise DataError(
        f"{name}: no column says what the model answered: name it {_options()} (logits as logit_0, logit_1 ..., "
        f"probabilities as probability_0 ...). Got {_list(table)}."
    )


def _columns(table: Mapping[str, np.ndarray], prefix: str) -> np.ndarray | None:
    """The columns `<prefix>...` side by side; numbered ones in the order of their numbers."""
    names = [name for name in table if name.startswith(prefix)]
    if not names:
        return None
    if all(re.fullmatch(r"\d+", name.removeprefix(prefix)) for name in names):
        names.sort(key=lambda name: int(name.removeprefix(prefix)))
    return np.stack([table[name] for name in names], axis=1)


def _stacked(table: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    words = [column for column, values in table.items() if values.dtype.kind not in "fiub"]
    if words or not table:
        raise DataError(
            f"{name}: the model takes numbers, but {', '.join(words) or 'no column'} is left for the records. Encode "
            "text columns as the model's training did, and store the result."
        )
    return np.stack([np.asarray(values, np.float32) for values in table.values()], axis=1)


def _array(given: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(given)
    except ValueError:
        raise DataError(f"{name}: rows of different lengths. One number (or C numbers) a record is needed.") from None
    if array.dtype == object:
        raise DataError(f"{name}: holds {type(array.flat[0]).__name__ if array.size else 'nothing'}, not numbers.")
    if array.ndim == 0:
        raise DataError(f"{name}: is a single number; one a record is needed.")
    return array


def _checked(side: Side, name: str) -> Side:
    if side.size == 0:
        raise DataError(f"{name}: none were given. An audit compares members with non-members: give records of both.")
    parts: dict[str, Any] = {"records": side.x, "labels": side.labels, "groups": side.groups}
    parts |= {"identifiers": side.identifiers, **{f"slice {key}": codes for key, codes in side.slices.items()}}
    for part, values in parts.items():
        if values is not None and len(values) != side.size:
            raise DataError(f"{name}: {side.size} records but {len(values)} {part}; one a record, in the same order.")
    return side


def with_parts(
    sides: tuple[Side, Side], *, slices: Mapping[str, Sequence[Any]] | None = None, **pairs: Sequence[Any] | None
) -> tuple[Side, Side]:
    """The sides with parts given beside them, each a pair `(of members, of non-members)`.

    Raises:
        DataError: not a pair, or not one entry a record.
    """
    for name, pair in pairs.items():
        if pair is not None:
            sides = tuple(replace(side, **{name: part}) for side, part in zip(sides, _pair(pair, name), strict=True))  # type: ignore[assignment]
    for name, pair in (slices or {}).items():
        sides = tuple(
            replace(side, slices={**side.slices, name: part})
            for side, part in zip(sides, _pair(pair, f"slices[{name!r}]"), strict=True)
        )  # type: ignore[assignment]
    return _checked(sides[0], "members"), _checked(sides[1], "non-members")


def _pair(given: Sequence[Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(given, str) or len(given) != 2 or not all(np.ndim(part) for part in given):
        raise DataError(f"{name} must be a pair: (those of the members, those of the non-members).")
    return np.asarray(given[0]), np.asarray(given[1])


def _options() -> str:
    return ", ".join(get_args(What))


def _list(table: Mapping[str, np.ndarray]) -> str:
    return ", ".join(list(table)[:8]) or "nothing"

"""What must hold of a data set before anything is computed from it."""

from __future__ import annotations

import numpy as np

from privsec.core.data import Dataset
from privsec.core.errors import DataError

MIN_PER_CLASS = 2
"""A class of one record cannot be trained on and tested at once."""


def as_features(x: np.ndarray, what: str) -> np.ndarray:
    """Features as float32; byte images [N, H, W, C] are divided by 255.

    Raises:
        DataError: `x` holds no numbers.
    """
    if x.dtype.kind not in "fiub":
        raise DataError(
            f"{what}: features are {x.dtype}, not numbers. Encode text columns first, or read the table as csv."
        )
    if x.dtype == np.uint8 and x.ndim == 4:
        return x.astype(np.float32) / np.float32(255)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which `check` reports with its place
        return x.astype(np.float32, copy=False)


def as_labels(y: np.ndarray, what: str) -> np.ndarray:
    """Labels int32 [N] from integers, or floats that are integers, of shape [N] or [N, 1].

    Raises:
        DataError: another shape, text, NaN or fractions; the first offending row is named.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"{what}: labels have shape {y.shape}; wanted one integer a record, shape [N].")
    if y.dtype.kind == "f":
        wrong = np.flatnonzero(~(np.isfinite(y) & (y == np.floor(y))))
        if wrong.size:
            raise DataError(
                f"{what}: label {y[wrong[0]]} of record {wrong[0]} is not a whole number ({wrong.size} such labels). "
                "Classes are numbered 0..C-1; a measured quantity must be cut into classes first."
            )
    elif y.dtype.kind not in "iub":
        raise DataError(f"{what}: labels are {y.dtype}, not integers. Number the classes 0..C-1.")
    if y.size and (y.min() < -(2**31) or y.max() >= 2**31):
        raise DataError(f"{what}: labels run from {y.min()} to {y.max()}; are they classes? Number the classes 0..C-1.")
    return y.astype(np.int32)


def check(dataset: Dataset, what: str) -> Dataset:
    """The same data set, if training on it and attacking it means something.

    Args:
        dataset: x float32 [N, D] or [N, H, W, C], y int32 [N].
        what: how messages name it: the data set and its file.

    Raises:
        DataError: empty; wrong shape or type; lengths that differ; NaN or infinity; labels outside 0..C-1; a class with
            fewer than two records; every record the same; values outside `box`; tracks, constraints or attributes that
            do not fit the records.
    """
    x, y, count = dataset.x, dataset.y, dataset.num_classes
    if x.ndim not in (2, 4):
        raise DataError(
            f"{what}: features have shape {x.shape}; wanted [N, D] for a table or [N, H, W, C] for images. "
            "Gray images [N, H, W] need a last axis of length 1."
        )
    if x.dtype != np.float32 or y.dtype != np.int32:
        raise DataError(f"{what}: wanted x float32 and y int32, got {x.dtype} and {y.dtype}.")
    if y.ndim != 1 or len(x) != len(y):
        raise DataError(f"{what}: {len(x)} records but labels of shape {y.shape}. One label a record is needed.")
    if not x.size:
        raise DataError(f"{what}: no records or no features (shape {x.shape}). Is it the right file?")
    for name, codes in dataset.sensitive.items():
        if codes.shape != y.shape:
            raise DataError(f"{what}: sensitive {name!r} has shape {codes.shape} for {len(y)} records.")
    if dataset.tracks is not None and dataset.tracks.shape != y.shape:
        raise DataError(f"{what}: tracks have shape {dataset.tracks.shape} for {len(y)} records.")
    _check_labels(y, count, what)
    _check_names(dataset, what)
    _check_columns(dataset, what)
    low, high = x.min(axis=0), x.max(axis=0)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        _raise_not_finite(dataset, what)
    if (low == high).all():
        raise DataError(
            f"{what}: all {len(x)} records are the same, so there is nothing to learn. Is it the right file?"
        )
    if dataset.box is not None and (low.min() < dataset.box[0] or high.max() > dataset.box[1]):
        raise DataError(
            f"{what}: values lie in [{low.min():g}, {high.max():g}], outside the box {list(dataset.box)}. "
            "Scale them (byte images by 255), or state the box they really have."
        )
    return dataset


def _check_labels(y: np.ndarray, count: int, what: str) -> None:
    if count < 2:
        raise DataError(
            f"{what}: {count} class; a classifier needs at least two. Is `target` or the labels' key right?"
        )
    if y.min() < 0 or y.max() >= count:
        row = int(np.flatnonzero((y < 0) | (y >= count))[0])
        raise DataError(
            f"{what}: label {y[row]} of record {row} is outside 0..{count - 1}. "
            f"Number the {count} classes from 0 (labels that start at 1 need 1 subtracted)."
        )
    if count > len(y):
        raise DataError(
            f"{what}: {count} classes for {len(y)} records; every class needs at least {MIN_PER_CLASS}. Raise `limit`; "
            "or, if the labels are measurements or identifiers, choose a column of classes."
        )
    members = np.bincount(y, minlength=count)
    rare = np.flatnonzero(members < MIN_PER_CLASS)
    if rare.size:
        shown = ", ".join(f"class {c} has {members[c]}" for c in rare[:5]) + (", ..." if rare.size > 5 else "")
        raise DataError(
            f"{what}: every class needs at least {MIN_PER_CLASS} records, but {shown}. "
            "Raise `limit`, number the classes without gaps, or merge or drop the rare ones."
        )


def _check_names(dataset: Dataset, what: str) -> None:
    width = dataset.x.shape[1]
    if dataset.class_names and len(dataset.class_names) != dataset.num_classes:
        raise DataError(f"{what}: {len(dataset.class_names)} class names for {dataset.num_classes} classes.")
    if dataset.feature_names and len(dataset.feature_names) != width:
        raise DataError(f"{what}: {len(dataset.feature_names)} feature names for {width} columns.")
    if dataset.standardize is not None and (dataset.x.ndim != 2 or dataset.standardize.shape != (width,)):
        raise DataError(
            f"{what}: `standardize` marks columns of a table; got {dataset.standardize.shape} for {dataset.x.shape}."
        )
    if dataset.standardize is not None and dataset.standardize.any() and dataset.box is not None:
        raise DataError(
            f"{what}: columns to be standardized leave the box {list(dataset.box)}. State one or the other."
        )


def _check_columns(dataset: Dataset, what: str) -> None:
    """Constraints are arrays [D]; attributes name columns, and every record has one of their values there."""
    width = dataset.x.shape[1]
    if dataset.constraints is not None:
        for name, part in zip(dataset.constraints._fields, dataset.constraints, strict=True):
            if dataset.x.ndim != 2 or np.shape(part) != (width,):
                raise DataError(f"{what}: constraints.{name} has shape {np.shape(part)} for records {dataset.shape}.")
    for name, (columns, values, names) in dataset.attributes.items():
        if dataset.x.ndim != 2 or values.shape != (len(names), len(columns)) or columns.max() >= width:
            raise DataError(
                f"{what}: attribute {name!r} has values of shape {values.shape} for {len(names)} names and "
                f"{len(columns)} columns of records {dataset.shape}."
            )
        known = np.any([np.all(dataset.x[:, columns] == value, axis=1) for value in values], axis=0)
        if not known.all():
            raise DataError(
                f"{what}: in record {int(known.argmin())} the columns of attribute {name!r} hold none of its values."
            )


def _raise_not_finite(dataset: Dataset, what: str) -> None:
    bad = ~np.isfinite(dataset.x.reshape(len(dataset.x), -1))
    row = int(np.flatnonzero(bad.any(axis=1))[0])
    column = int(np.flatnonzero(bad[row])[0])
    name = f" ({dataset.feature_names[column]!r})" if dataset.feature_names else ""
    value = dataset.x.reshape(len(dataset.x), -1)[row, column]
    raise DataError(
        f"{what}: {value} in record {row}, column {column}{name}; {int(bad.sum())} values in "
        f"{int(bad.any(axis=1).sum())} records are NaN or infinite. Drop or fill them; a csv has `missing:` for that."
    )

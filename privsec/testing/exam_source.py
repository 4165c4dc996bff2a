"""What every data set has to pass: what it loads is what the learner and the splits count on."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

import numpy as np

from privsec.core.data import Dataset
from privsec.data.base import Source
from privsec.testing.exam import Check, examine, is_documented, is_its_config, require


def examine_source(source: Source, *, skip: Iterable[str] = ()) -> None:
    """Holds a data set against everything that privsec expects of one; it is loaded three times.

    Args:
        source: the Spec, for example `Digits()` or `Npz(path="mine.npz")`.
        skip: names of `SOURCE_CHECKS` that do not apply.

    Raises:
        AssertionError: which requirements it misses, and what to do.

    >>> from privsec.data.digits import Digits
    >>> examine_source(Digits(limit=300))
    """
    examine(source, SOURCE_CHECKS, skip)


def config(source: Source) -> None:
    """A data set is its config."""
    is_its_config(source)


def declaration(source: Source) -> None:
    """A data set says where it comes from and on what terms."""
    is_documented(source)
    require(getattr(source, "origin", ""), "`origin` must say who made the data and on what terms")


def records(source: Source) -> None:
    """Records are finite float32, labels int32 from 0 to C - 1, each class with a record."""
    data = _loaded(source)
    require(data.x.dtype == np.float32 and np.isfinite(data.x).all(), "x must be float32 without NaN or infinity")
    require(data.x.ndim in (2, 4), f"x has shape {data.x.shape}; tables are [N, D], images [N, H, W, C]")
    require(data.y.shape == (data.size,) and data.y.dtype == np.int32, "y must be int32 [N]")
    require(set(np.unique(data.y)) == set(range(data.num_classes)), "labels must be 0..C-1, and each must occur")
    if data.box is not None:
        low, high = data.box
        require(low <= data.x.min() and data.x.max() <= high, f"records leave the declared box {data.box}")
    require(not data.is_image or data.box is not None, "images need a `box`, [0, 1] as a rule")


def description(source: Source) -> None:
    """What is known beside the records fits them: names, columns to scale, groups, where the file came from."""
    data = _loaded(source)
    require(
        len(data.class_names) in (0, data.num_classes),
        f"{len(data.class_names)} class names for {data.num_classes} classes",
    )
    require(
        len(data.feature_names) in (0, *data.shape[:1]),
        f"{len(data.feature_names)} feature names for shape {data.shape}",
    )
    require(data.standardize is None or data.standardize.shape == data.shape, "`standardize` must be bool [D]")
    require(
        data.standardize is None or data.box is None,
        "a column that is scaled later has no box: leave one of the two out",
    )
    for name, groups in data.sensitive.items():
        require(
            len(groups) == data.size,
            f"the sensitive attribute {name!r} has {len(groups)} codes for {data.size} records",
        )
    require(data.source, "`source` must say where the records came from")


def repeatable(source: Source) -> None:
    """Loading twice gives the same records in the same order."""
    require(_same(_loaded(source), source.load()), "two loads differ: draw nothing at random but by a fixed seed")


def limited(source: Source) -> None:
    """`limit` keeps so many records, and no class is lost."""
    whole = _loaded(source)
    limit = max(whole.size // 2, min(whole.size, 2 * whole.num_classes))
    part = source.model_copy(update={"limit": limit}).load()
    require(part.size == limit, f"limit={limit} keeps {part.size} records")
    require(
        part.num_classes == whole.num_classes, "a subset has another number of classes: take it from the whole data"
    )


@functools.lru_cache(maxsize=1)
def _loaded(source: Source) -> Dataset:
    return source.load()


def _same(a: Dataset, b: Dataset) -> bool:
    return np.array_equal(a.x, b.x) and np.array_equal(a.y, b.y) and a.sha256 == b.sha256


SOURCE_CHECKS: Mapping[str, Check[Source]] = {
    check.__name__: check for check in (config, declaration, records, description, repeatable, limited)
}
"""The requirements by name."""

"""Records, and what must be known of a data set before anything is trained on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import numpy as np

Array = jax.Array | np.ndarray
"""A device array or a host array."""


class Examples(NamedTuple):
    """N labelled records: `x` float32 [N, ...features], `y` int32 [N]."""

    x: Array
    y: Array

    def take(self, rows: Array) -> Examples:
        """The records at `rows` (indices or a mask)."""
        return Examples(self.x[rows], self.y[rows])

    @property
    def size(self) -> int:
        """N."""
        return int(self.y.shape[0])


class Constraints(NamedTuple):
    """What an attacker who changes a record of a table has to keep to; arrays [D] beside the data's box.

    Attributes:
        fixed: bool: this feature cannot be changed.
        step: float: values lie on the grid `offset + k * step`; 0 for a continuous feature.
        offset: float.
        group: int: features with the same number are a one-hot group (exactly one is on); -1 for none.
    """

    fixed: Array
    step: Array
    offset: Array
    group: Array


class Attribute(NamedTuple):
    """A feature of a table that an attacker may want to know of a person.

    Attributes:
        columns: int [L]: the columns that encode it.
        values: float32 [V, L]: what stands there for each of its values.
        names: V names for tables.
    """

    columns: Array
    values: Array
    names: tuple[str, ...]


class Step(NamedTuple):
    """One thing that was done to records between the file and the training, for their lineage.

    Attributes:
        name: "schema", "read", "limit", "scale" or "standardize".
        records: how many there were afterwards.
        detail: by what, in words.
    """

    name: str
    records: int
    detail: str = ""


@dataclass(frozen=True)
class Dataset:
    """A whole data set on the host, checked (see `data/validation.py`), before any split.

    Attributes:
        x: float32 [N, ...features]: [N, D] for tables, [N, H, W, C] for images (values in [0, 1]).
        y: int32 [N], labels 0..C-1.
        num_classes: C.
        box: smallest and largest value a feature can take, where that is known beforehand (images: 0, 1); else None.
        class_names: C names for the report.
        feature_names: D names for tables, else ().
        standardize: bool [D]: which columns are to be scaled by statistics of *public* records; None for none.
        sensitive: group codes int32 [N] by the attribute's name, for slices and fairness.
        group_names: what the groups of each sensitive attribute are called, in the order of their codes.
        tracks: int32 [N]: records with one number show the same thing (frames of one film) and stay on one side of
            every split; None where records are independent.
        constraints: what a changed record must keep to beside its box; None where nothing is known.
        attributes: features an attacker may want to infer, by name.
        source: where the records came from (a path, "bundled with scikit-learn", ...).
        sha256: digest of the file read, when there was one.
        steps: what was done to the records so far, in order.
    """

    x: np.ndarray
    y: np.ndarray
    num_classes: int
    box: tuple[float, float] | None = None
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    standardize: np.ndarray | None = None
    sensitive: Mapping[str, np.ndarray] = field(default_factory=dict)
    group_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tracks: np.ndarray | None = None
    constraints: Constraints | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    source: str = ""
    sha256: str = ""
    steps: tuple[Step, ...] = ()

    @property
    def size(self) -> int:
        """N."""
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one record."""
        return self.x.shape[1:]

    @property
    def is_image(self) -> bool:
        return self.x.ndim == 4

    def examples(self, rows: np.ndarray) -> Examples:
        """The records at `rows` as models and attacks take them."""
        return Examples(self.x[rows], self.y[rows])

    def take(self, rows: np.ndarray) -> Dataset:
        """The same data set with only `rows`."""
        return replace(
            self,
            x=self.x[rows],
            y=self.y[rows],
            sensitive={k: v[rows] for k, v in self.sensitive.items()},
            tracks=None if self.tracks is None else self.tracks[rows],
        )


class Splits(NamedTuple):
    """Who is who: disjoint row indices into a Dataset, and which candidate trains which model.

    Attributes:
        candidates: int64 [N], the records whose membership is asked. Models train on these and on nothing else.
        population: the attacker's own records from the same distribution, or of other classes where halves are drawn
            by class; never trained on, never a candidate.
        holdout: the defender's own records: early stopping, evaluators, preprocessing statistics.
        include: bool [M, N]: does candidate n train model m? Rows 2p and 2p + 1 are complements (a pair).
    """

    candidates: np.ndarray
    population: np.ndarray
    holdout: np.ndarray
    include: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """bool [M, M]: which models serve as references where model t is the target: all but t and its complement.

        A complement that stayed would give the target's membership away.
        """
        pair = np.arange(len(self.include)) // 2
        return pair[:, None] != pair

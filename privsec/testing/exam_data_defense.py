"""What a defense of the data has to pass: it judges every record, touches none, and leaves enough to learn from."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core import keys
from privsec.core.data import Array, Examples
from privsec.core.defense import Cleaned, Curator, DataDefense
from privsec.core.target import Target
from privsec.testing.exam import read_only, require, writing_nothing
from privsec.testing.exam_training_defense import accuracy_of, blobs, plain_model, plain_recipe
from privsec.training import loop

KEPT = 0.5
"""Share of clean records that has to stay."""


def changes_nothing(defense: DataDefense) -> bool:
    """Whether every record is kept, with its label, and no model is trained to find that out."""

    def fit(y: Array, mask: Array, key: jax.Array) -> Target:
        raise NotImplementedError

    data = blobs(0)
    try:
        made = defense.on_data(data, Curator(blobs(2), fit, keys.root(0)))
    except NotImplementedError:
        return False
    return bool(np.all(made.kept)) and np.array_equal(made.y, data.y)


def keeps_to_its_stage(defense: DataDefense) -> None:
    """It returns a label, a decision and a suspicion for each record, and leaves the records as they are."""
    data = blobs(0)
    given, public = (Examples(read_only(each.x), read_only(each.y)) for each in (data, blobs(2)))
    with writing_nothing("`on_data`", "return corrected labels in a Cleaned; records stay as they are"):
        made = defense.on_data(given, Curator(public, _fit, keys.root(0)))
    require(isinstance(made, Cleaned), "`on_data` must return Cleaned(y, kept, suspicion)")
    for name, kind in (("y", "i"), ("kept", "b"), ("suspicion", "f")):
        part = np.asarray(getattr(made, name))
        require(
            part.shape == (data.size,) and part.dtype.kind == kind,
            f"`{name}` has shape {list(part.shape)} and type {part.dtype}: Cleaned has y int32, kept bool and "
            f"suspicion float64, each of shape [{data.size}]",
        )


def distribution(defense: DataDefense) -> None:
    """Labels are classes, and a suspicion is a finite number, or NaN where nothing is said."""
    for data in (blobs(0), _few()):
        made = defense.on_data(data, Curator(blobs(2), _fit, keys.root(0)))
        y = np.asarray(made.y)
        require(y.min() >= 0 and y.max() < plain_model().num_classes, "it makes labels that are no classes")
        require(not np.isinf(np.asarray(made.suspicion)).any(), "a suspicion is infinite: write NaN for none")


def repetition(defense: DataDefense) -> None:
    """The same records and key bring the same decisions."""
    first, again = _cleaned(defense), defense.on_data(blobs(0), Curator(blobs(2), _fit, keys.root(0)))
    for name in Cleaned._fields:
        require(
            np.array_equal(getattr(first, name), getattr(again, name), equal_nan=name == "suspicion"),
            f"`{name}` differs from call to call: draw by `curator.key` alone",
        )


def accuracy(defense: DataDefense) -> float:
    """The share of fresh records that a model gets right which was trained on what is left of clean ones."""
    made = _cleaned(defense)
    kept = float(np.mean(made.kept))
    require(kept >= KEPT, f"it leaves {kept:.0%} of clean records: examine it at a mild strength")
    return accuracy_of(_fit(made.y, made.kept, keys.root(1)))


def _fit(y: Array, mask: Array, key: jax.Array) -> Target:
    """A small network trained on those of `blobs` where the mask holds."""
    y, mask = np.asarray(y), np.asarray(mask)
    require(
        mask.dtype == bool and y.dtype.kind == "i" and mask.shape == y.shape,
        "`curator.fit` takes a label int32 and a bool for each record of the training set it was given",
    )
    x = np.asarray(blobs(0).x) if len(y) == blobs(0).size else np.asarray(_few().x)
    rest = blobs(0).size - len(y)  # the recipe is for so many records; those that are missing have no weight
    data = Examples(jnp.asarray(np.pad(x, ((0, rest), (0, 0)))), jnp.asarray(np.pad(y, (0, rest))))
    model, everything = plain_model(), np.ones(data.size, bool)
    return Target.of(
        model, loop.train(model, plain_recipe(), data, everything, key, kept=np.pad(mask, (0, rest))).params
    )


@functools.cache
def _few() -> Examples:
    """A hundred records; one class has a single one, and another none."""
    data = blobs(0)
    y = np.asarray(data.y)
    rows = np.sort(
        np.concatenate([np.flatnonzero(y == 0)[:50], np.flatnonzero(y == 1)[:49], np.flatnonzero(y == 2)[:1]])
    )
    return data.take(rows)


@functools.lru_cache(maxsize=64)
def _cleaned(defense: DataDefense) -> Cleaned:
    return defense.on_data(blobs(0), Curator(blobs(2), _fit, keys.root(0)))

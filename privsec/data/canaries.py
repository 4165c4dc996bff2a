"""Canaries: records made to be found, each put into the training set or left out by a fair coin of its own."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import jax
import numpy as np

from privsec.core.data import Array, Examples
from privsec.core.errors import ConfigError, DataError, did_you_mean
from privsec.core.keys import derive, generator

Kind = Literal["mislabeled", "blank", "out_of_distribution"]
MARK = 8
"""Features by which one blank canary differs from the next; all of them where a record has fewer."""


@dataclass(frozen=True)
class Planted:
    """A training set with canaries in it, and the coins that say which of them are trained on.

    Whoever trains sees `train` and nothing else; whoever audits scores `canaries` afterwards, and only then looks at
    `coins`.

    Attributes:
        examples: all records: those that are always trained on, and every canary, in or out.
        rows: int64 [m], which of `examples` are canaries, ascending.
        coins: bool [m], is canary i trained on? Independent fair coins, so their number is random too.
        kind: what the canaries are.
    """

    examples: Examples
    rows: np.ndarray
    coins: np.ndarray
    kind: str

    @property
    def include(self) -> np.ndarray:
        """bool [N]: is this record of `examples` trained on?"""
        include = np.ones(self.examples.size, bool)
        include[self.rows] = self.coins
        return include

    @property
    def train(self) -> Examples:
        """The records to train on."""
        return self.examples.take(self.include)

    @property
    def canaries(self) -> Examples:
        """All m canaries, to be scored by the trained model."""
        return self.examples.take(self.rows)

    def save(self, path: str | Path) -> Path:
        """Writes everything to an npz file and returns its path (with that ending)."""
        path = Path(path).with_suffix(".npz")
        np.savez_compressed(
            path, x=self.examples.x, y=self.examples.y, rows=self.rows, coins=self.coins, kind=np.asarray(self.kind)
        )
        return path

    @classmethod
    def load(cls, path: str | Path) -> Planted:
        """What `save` wrote.

        Raises:
            DataError: there is no such file, or it holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                given = dict(file)
            return cls(Examples(given["x"], given["y"]), given["rows"], given["coins"], str(given["kind"]))
        except FileNotFoundError:
            raise DataError(f"{path}: there is no such file. Planted.save writes it.") from None
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: does not hold planted canaries ({error}). Planted.save writes them.") from None


def plant(
    examples: Examples,
    count: int,
    kind: Kind,
    key: jax.Array,
    *,
    num_classes: int | None = None,
    box: tuple[Array, Array] | None = None,
) -> Planted:
    """Makes `count` canaries and tosses a fair coin for each.

    - `"mislabeled"`: `count` of the given records, drawn at random, each with a wrong label drawn uniformly. They take
      the place of the records they are made of, so that nothing is trained under two labels.
    - `"blank"`: added to the records; every feature at the low end of the box but for a mark of `MARK` random features
      drawn uniformly from the box, without which no model could tell two canaries of one label apart; random label.
    - `"out_of_distribution"`: added to the records; features drawn uniformly from the box; random label.

    Args:
        examples: N records that are to be trained on.
        count: m, how many canaries; about half of them will be trained on.
        kind: what they are.
        key: fixes the canaries and, independently of them, the coins.
        num_classes: C; by default one more than the largest label.
        box: smallest and largest value of each feature, broadcast to one record; by default those of `examples`.

    Returns:
        Planted. Equal arguments give equal canaries and coins.

    Raises:
        ConfigError: no such kind, fewer than one canary, or fewer than two classes.
        DataError: more mislabeled canaries than records.

    >>> records = Examples(np.zeros((100, 3), np.float32), np.arange(100) % 5)
    >>> planted = plant(records, 40, "mislabeled", jax.random.key(0))
    >>> planted.canaries.size, planted.train.size - int(planted.coins.sum())
    (40, 60)

    References: Steinke et al. 2023, arXiv 2305.08846 (one run, fair coins); Nasr et al. 2023, arXiv 2302.07956.
    """
    if kind not in get_args(Kind):
        raise ConfigError(
            f"no canaries are called {kind!r}.{did_you_mean(kind, get_args(Kind))} Write one of "
            f"{', '.join(get_args(Kind))}. (Gradient canaries are no records: see training/dirac.py.)"
        )
    x, y = np.asarray(examples.x), np.asarray(examples.y)
    classes = int(y.max(initial=0)) + 1 if num_classes is None else num_classes
    if count < 1 or classes < 2:
        raise ConfigError(f"canaries take a count of at least 1 and two classes; got {count} and {classes}")
    coins = generator(derive(key, "coins")).random(count) < 0.5
    rng = generator(derive(key, "canaries", kind))
    if kind == "mislabeled":
        if count > len(y):
            raise DataError(f"{count} mislabeled canaries cannot be made of {len(y)} records; ask for fewer")
        rows = np.sort(rng.choice(len(y), count, replace=False))
        wrong = y.copy()
        wrong[rows] = (y[rows] + rng.integers(1, classes, count)) % classes
        return Planted(Examples(x, wrong), rows, coins, kind)
    low, high = (x.min(axis=0), x.max(axis=0)) if box is None else map(np.asarray, box)
    low, high = (np.broadcast_to(end, x.shape[1:]).ravel() for end in (low, high))
    made = rng.uniform(low, high, (count, low.size))
    if kind == "blank":
        features = min(MARK, low.size)
        marked = np.argsort(rng.random(made.shape), axis=1)[:, :features]
        marks = np.take_along_axis(made, marked, axis=1)
        made = np.tile(low.astype(np.float64), (count, 1))
        np.put_along_axis(made, marked, marks, axis=1)
    labels = rng.integers(0, classes, count).astype(y.dtype)
    everything = Examples(
        np.concatenate([x, made.reshape(count, *x.shape[1:]).astype(x.dtype)]), np.concatenate([y, labels])
    )
    return Planted(everything, np.arange(len(y), len(y) + count), coins, kind)

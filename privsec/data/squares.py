"""Images in which squares are to be counted."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from privsec.core.data import Dataset
from privsec.data.base import Source

GRID = 4
"""Squares stand on a grid of so many places a side."""
MOST = 10
DIMMEST = 0.3


class Squares(Source):
    """Gray images of 1 to 10 squares at random places of a 4 x 4 grid; the class is their number.

    The counting task of Elsayed et al. 2018, arXiv 1806.11146: white squares with black frames, made here at random.
    Class c has c + 1 squares, and every class has as many records as the others, but for rounding.
    """

    name: Literal["squares"] = "squares"

    size: int = Field(default=36, ge=12)
    """Height and width of an image; a square with its frame takes a quarter of it."""
    records: int = Field(default=2000, ge=2 * MOST)
    """How many images are made."""
    seed: int = Field(default=0, ge=0)
    """Draws the places and the order of the images."""
    shades: bool = False
    """Every square has a brightness of its own, from 0.3 to 1: the count can then not be read off the sum of all
    pixels, which solves the task of equal squares by a linear function."""
    negatives: bool = False
    """Every other image, at random, is its negative, black squares on white: no linear function counts both kinds."""

    origin: ClassVar[str] = "made by this library after Elsayed, Goodfellow and Sohl-Dickstein 2018; free of rights"

    def _read(self) -> Dataset:
        rng = np.random.default_rng([self.seed, self.size, self.records])
        y = rng.permutation(np.arange(self.records) % MOST)
        taken = rng.permuted(np.tile(np.arange(GRID * GRID), (self.records, 1)), axis=1) <= y[:, None]
        brightness = rng.uniform(DIMMEST, 1.0, taken.shape) if self.shades else 1.0
        places = (taken * brightness).reshape(-1, GRID, GRID)
        cell = self.size // GRID
        square = np.pad(np.ones((cell - 2, cell - 2)), 1)  # its black frame keeps neighbors apart
        margin = self.size - GRID * cell
        x = np.pad(np.kron(places, square), ((0, 0), *[(margin // 2, margin - margin // 2)] * 2))
        if self.negatives:
            dark = rng.permutation(self.records) % 2 == 1
            x = np.where(dark[:, None, None], 1.0 - x, x)
        return Dataset(
            x=x[..., None].astype(np.float32),
            y=y,
            num_classes=MOST,
            box=(0.0, 1.0),
            class_names=tuple(map(str, range(1, MOST + 1))),
            source=f"made from seed {self.seed}",
        )

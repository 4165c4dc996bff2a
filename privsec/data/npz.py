"""Your own arrays."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from privsec.core.data import Dataset
from privsec.data import formats
from privsec.data.ruled import RuledSource
from privsec.data.validation import as_labels


class Npz(RuledSource):
    """A table [N, D] or images [N, H, W] or [N, H, W, C] with labels 0..C-1, from a NumPy npz file.

    Byte images are divided by 255. Columns of a table that hold more than 0 and 1 are marked to be standardized.
    """

    name: Literal["npz"] = "npz"

    path: str  # type: ignore[assignment]  # here there is no default to look for
    """The npz file, relative to the current directory."""
    features: tuple[str, ...] = Field(default=("features",), min_length=1)
    """Keys of the feature arrays, joined along the records, for example [x_train, x_test]."""
    labels: tuple[str, ...] = Field(default=("labels",), min_length=1)
    """Keys of the label arrays, in the same order."""
    box: tuple[float, float] | None = None
    """Smallest and largest value a feature can take; [0, 1] for byte images when not given."""
    standardize: bool = True
    """Whether a table's columns are to be scaled by statistics of public records; a table with a `box` never is."""

    origin: ClassVar[str] = "your own file"
    layout: ClassVar[str] = "an npz written by numpy.savez, with the arrays that `features` and `labels` name"

    @property
    def form(self) -> dict[str, str]:
        return {"kind": "arrays"}

    def _read(self) -> Dataset:
        path = self.locate()
        arrays = formats.read_npz(path, (*self.features, *self.labels))
        with formats.explained(path, f"joined arrays {', '.join(self.features)} and {', '.join(self.labels)}"):
            x = np.concatenate(arrays[: len(self.features)])
            y = np.concatenate(arrays[len(self.features) :])
        x = x[..., None] if x.ndim == 3 else x
        box = (0.0, 1.0) if self.box is None and x.ndim == 4 and x.dtype == np.uint8 else self.box
        marked = None
        if self.standardize and box is None and x.ndim == 2:
            marked = ~((x == 0) | (x == 1)).all(axis=0)
        y = as_labels(y, f"{path} ({', '.join(self.labels)})")
        return Dataset(
            x, y, int(y.max(initial=-1)) + 1, box, standardize=marked, source=str(path), sha256=formats.sha256(path)
        )

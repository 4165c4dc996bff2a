"""Tables of 0 and 1 in the layouts in which the membership-inference literature passes them on."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from privsec.core.data import Dataset
from privsec.core.errors import DataError
from privsec.data import formats
from privsec.data.base import FileSource


class BitTable(FileSource):
    """Base of Location-30, Purchase-100 and Texas-100: D binary columns, C classes.

    Read from an npz (`features` [N, D]; `labels` 0..C-1, or one-hot [N, C]), from the original tar archive, from the
    folder it unpacks to, or from its single csv file. The original files number the classes 1..C.
    """

    members: ClassVar[tuple[str, ...]]
    """Files inside the original archive: one whose first column is the label, or features and labels apart."""
    columns: ClassVar[int]
    classes: ClassVar[int]

    def _read(self) -> Dataset:
        path = self.locate()
        x, y = self._from_npz(path) if path.suffix == ".npz" else self._from_original(path)
        if x.ndim != 2 or x.shape[1] != self.columns:
            raise DataError(
                f"{path}: records of shape {x.shape[1:]}; {self.title} has {self.columns} columns. {self._wanted}"
            )
        return Dataset(x, y, self.classes, box=(0.0, 1.0), source=str(path), sha256=formats.sha256(path))

    def _from_npz(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        x, y = formats.read_npz(path, ("features", "labels"))
        return x, (y.argmax(axis=1) if y.ndim == 2 and y.shape[1] == self.classes else y)

    def _from_original(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        if path.is_file() and len(self.members) == 1 and path.suffix not in (".tgz", ".gz", ".tar"):
            with path.open("rb") as stream:
                tables = [formats.read_bits(stream, path)]
        else:
            with formats.members(path, self.members) as streams:
                tables = [formats.read_bits(stream, path) for stream in streams]
        x, y = (tables[0][:, 1:], tables[0][:, 0]) if len(tables) == 1 else (tables[0], tables[1][:, 0])
        return x, y.astype(np.int32) - 1

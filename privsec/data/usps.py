"""USPS: digits from envelopes."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from privsec.core.errors import DataError
from privsec.data import formats
from privsec.data.pictures import Pictures


class USPS(Pictures):
    """9,298 gray images [16, 16, 1] of ten handwritten digits from envelopes, the 7,291 training images first.

    The normalized digits of LeCun et al. (Neural Computation 1, 1989). No checksum of the original files is known to
    this project, so `path` or $PRIVSEC_DATA must hold them.
    """

    name: Literal["usps"] = "usps"

    size: ClassVar[tuple[int, int, int]] = (16, 16, 1)
    origin: ClassVar[str] = "US Postal Service, passed on with The Elements of Statistical Learning; research use"
    names: ClassVar[tuple[str, ...]] = ("usps.npz", "usps")
    class_names: ClassVar[tuple[str, ...]] = tuple("0123456789")
    layout: ClassVar[str] = (
        "an npz (x_train, y_train, x_test, y_test; 16 x 16 values from 0 to 1) or a folder with zip.train and zip.test "
        "(with or without .gz)"
    )

    def _from_original(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        rows = np.concatenate([self._part(path, stem) for stem in ("zip.train", "zip.test")])
        if rows.shape[1:] != (257,):
            raise DataError(f"{path}: rows of {rows.shape[1:]} numbers; wanted a digit and 256 values. {self._wanted}")
        return (rows[:, 1:].reshape(-1, 16, 16) + 1) / 2, rows[:, 0]  # ink is stored from -1 to 1

    def _part(self, path: Path, stem: str) -> np.ndarray:
        for name in (f"{stem}.gz", stem):
            if (path / name).is_file():
                with formats.explained(path / name, "rows of numbers"):
                    return np.loadtxt(path / name, np.float32, ndmin=2)  # it unpacks gz by itself
        raise DataError(f"{path}: has no {stem} (nor {stem}.gz). {self._wanted}")

"""Image data sets that come as a training and a test part, joined here: who trains on what is decided by `splits`."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import ClassVar

import numpy as np

from privsec.core.data import Dataset
from privsec.core.errors import DataError
from privsec.data import formats
from privsec.data.base import FileSource

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


class Pictures(FileSource):
    """Base of MNIST, Fashion-MNIST and CIFAR-10: byte images [N, H, W, C], ten classes, training part first."""

    size: ClassVar[tuple[int, int, int]]
    """H, W, C of one image."""
    class_names: ClassVar[tuple[str, ...]]

    def _read(self) -> Dataset:
        path = self.locate()
        x, y = self._from_npz(path) if path.suffix == ".npz" else self._from_original(path)
        if x.ndim == 3:
            x = x[..., None]
        if x.shape[1:] != self.size:
            raise DataError(f"{path}: images of shape {x.shape[1:]}; {self.title} has {self.size}. {self._wanted}")
        return Dataset(
            x, y, len(self.class_names), (0.0, 1.0), self.class_names, source=str(path), sha256=formats.sha256(path)
        )

    def _from_npz(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        x_train, y_train, x_test, y_test = formats.read_npz(path, ARRAYS)
        if x_train.shape[1:] != x_test.shape[1:]:
            raise DataError(
                f"{path}: x_train holds images {x_train.shape[1:]}, x_test {x_test.shape[1:]}; they must agree."
            )
        with formats.explained(path, f"joined arrays {', '.join(ARRAYS)}"):
            return np.concatenate([x_train, x_test]), np.concatenate([y_train.ravel(), y_test.ravel()])

    @abc.abstractmethod
    def _from_original(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels in the format in which the authors give them away."""


class IdxPictures(Pictures):
    """Base of the data sets whose originals are four idx files."""

    size: ClassVar[tuple[int, int, int]] = (28, 28, 1)
    layout: ClassVar[str] = (
        "an npz (x_train, y_train, x_test, y_test) or a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, "
        "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte (with or without .gz)"
    )

    def _from_original(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        def part(stem: str) -> np.ndarray:
            for name in (f"{stem}.gz", stem, stem.replace("-idx", ".idx")):
                if (path / name).is_file():
                    return formats.read_idx(path / name)
            raise DataError(f"{path}: has no {stem} (nor {stem}.gz). {self._wanted}")

        x = np.concatenate([part(f"{which}-images-idx3-ubyte") for which in ("train", "t10k")])
        return x, np.concatenate([part(f"{which}-labels-idx1-ubyte") for which in ("train", "t10k")])

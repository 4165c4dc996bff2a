"""Handwritten digits, 8 x 8 pixels, bundled with scikit-learn: the data set that needs no download."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from privsec.core.data import Dataset
from privsec.data.base import Source


class Digits(Source):
    """1,797 gray images [8, 8, 1] of ten digits; 17 levels of ink, divided by 16.

    The test part of the optical recognition data of Alpaydin and Kaynak (UCI, 1998).
    """

    name: Literal["digits"] = "digits"

    origin: ClassVar[str] = "UCI optical recognition of handwritten digits, CC BY 4.0; bundled with scikit-learn"

    def _read(self) -> Dataset:
        import sklearn.datasets

        bunch: Any = sklearn.datasets.load_digits()
        return Dataset(
            x=bunch.images[..., None] / np.float32(16),
            y=bunch.target,
            num_classes=10,
            box=(0.0, 1.0),
            class_names=tuple(map(str, bunch.target_names)),
            source="bundled with scikit-learn",
        )

"""The Wisconsin diagnostic breast cancer data, bundled with scikit-learn."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from privsec.core.data import Dataset
from privsec.data.base import Source


class BreastCancer(Source):
    """569 tumors, 30 measurements of cell nuclei (to be standardized), malignant or benign (Wolberg et al., 1995)."""

    name: Literal["breast_cancer"] = "breast_cancer"

    origin: ClassVar[str] = "UCI breast cancer Wisconsin (diagnostic), CC BY 4.0; bundled with scikit-learn"

    def _read(self) -> Dataset:
        import sklearn.datasets

        bunch: Any = sklearn.datasets.load_breast_cancer()
        return Dataset(
            x=bunch.data,
            y=bunch.target,
            num_classes=2,
            class_names=tuple(map(str, bunch.target_names)),
            feature_names=tuple(map(str, bunch.feature_names)),
            standardize=np.ones(bunch.data.shape[1], bool),
            source="bundled with scikit-learn",
        )

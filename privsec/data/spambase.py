"""Spambase: e-mails as frequencies of words."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from privsec.core.data import Dataset
from privsec.core.errors import DataError
from privsec.data import formats
from privsec.data.base import FileSource

WORDS = (
    "make address all 3d our over remove internet order mail receive will people report addresses free business email "
    "you credit your font 000 money hp hpl george 650 lab labs telnet 857 data 415 85 technology 1999 parts pm direct "
    "cs meeting original project re edu table conference"
).split()
SIGNS = ("semicolon", "parenthesis", "bracket", "exclamation", "dollar", "hash")
RUNS = ("average", "longest", "total")
COLUMNS = (
    *(f"word {word}" for word in WORDS),
    *(f"sign {sign}" for sign in SIGNS),
    *(f"capitals {run}" for run in RUNS),
)


class Spambase(FileSource):
    """4,601 e-mails as frequencies of 48 words and 6 signs and as runs of capitals (Hopkins et al., 1999).

    1,813 are spam. Columns are marked to be standardized by public records. 391 records repeat others.
    """

    name: Literal["spambase"] = "spambase"

    origin: ClassVar[str] = "https://doi.org/10.24432/C53G6T (UCI), CC BY 4.0"
    names: ClassVar[tuple[str, ...]] = ("spambase.npz", "spambase.data")
    layout: ClassVar[str] = "an npz with features and labels, or UCI's spambase.data (57 numbers and the label a line)"

    def _read(self) -> Dataset:
        path = self.locate()
        if path.suffix == ".npz":
            x, y = formats.read_npz(path, ("features", "labels"))
        else:
            rows = formats.read_csv(path)
            with formats.explained(path, "a table of numbers"):
                table = np.array(rows, np.float64)
            x, y = table[:, :-1], table[:, -1]
        if x.ndim != 2 or x.shape[1] != len(COLUMNS):
            raise DataError(f"{path}: features have shape {x.shape}, wanted [N, {len(COLUMNS)}]. {self._wanted}")
        return Dataset(
            x=x,
            y=y,
            num_classes=2,
            class_names=("mail", "spam"),
            feature_names=COLUMNS,
            standardize=np.ones(len(COLUMNS), bool),
            source=str(path),
            sha256=formats.sha256(path),
        )

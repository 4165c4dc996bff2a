"""Adult: census income."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from privsec.core.data import Dataset
from privsec.core.errors import DataError
from privsec.data import formats
from privsec.data.download import Download
from privsec.data.tables import Table

COLUMNS: Sequence[str] = (
    "age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,race,sex,capital-gain,capital-loss,"
    "hours-per-week,native-country,income"
).split(",")
HOST = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult"


class Adult(Table):
    """48,842 people of the 1994 census, 14 attributes, income above 50,000 dollars or not (Becker and Kohavi, 1996).

    3,620 records lack workclass, occupation or native-country (a level of their own by default); 52 repeat others. The
    official training and test parts are joined.
    """

    name: Literal["adult"] = "adult"

    sensitive: tuple[str, ...] = ("sex", "race")
    """Columns kept as group codes for slices and fairness."""
    fixed: tuple[str, ...] = ("age", "fnlwgt", "race", "sex", "native-country")
    """Columns that nobody can change in a record of theirs; `fnlwgt` is the census's, not the person's."""
    missing: Literal["error", "drop", "indicate"] = "indicate"
    """What to do about missing values: refuse them, drop their records, or make missingness a level of its own."""

    origin: ClassVar[str] = "https://doi.org/10.24432/C5XW20 (UCI), CC BY 4.0"
    names: ClassVar[tuple[str, ...]] = ("adult.csv", "adult")
    layout: ClassVar[str] = (
        "a csv file with a first line of names (age, ..., income) or a folder with adult.data and adult.test"
    )
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(f"{HOST}/adult.data", "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d"),
        Download(f"{HOST}/adult.test", "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05"),
    )

    def _read(self) -> Dataset:
        path = self.locate()
        rows = self._from_folder(path) if path.is_dir() else self._picked(path, COLUMNS)
        return self._encode(COLUMNS, rows, "income", str(path), formats.sha256(path))

    def _from_folder(self, path: Path) -> list[list[str]]:
        rows: list[list[str]] = []
        for name in ("adult.data", "adult.test"):
            if not (path / name).is_file():
                raise DataError(f"{path}: has no {name}. {self._wanted}")
            rows += formats.read_csv(path / name, skip="|")
        wrong = next((row for row in rows if len(row) != len(COLUMNS)), None)
        if wrong is not None:
            raise DataError(f"{path}: records of {len(wrong)} cells, wanted {len(COLUMNS)}. {self._wanted}")
        return [[*row[:-1], row[-1].rstrip(".")] for row in rows]

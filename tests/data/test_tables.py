from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from privsec.core.errors import DataError
from privsec.core.spec import SpecError
from privsec.data.csv import Csv

TABLE = """id,age,city,smoker,sex,zip,dose
a1,30,Bonn,1,f,53111,low
a2,?,Köln,0,m,50667,high
a3,50,,1,f,53111,low
a4,41.5,Bonn,0,m,10115,high
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "trial.csv").write_text(TABLE, encoding="utf-8")
    return str(tmp_path / "trial.csv")


def spec(path: str, **given) -> Csv:
    return Csv(
        **{"path": path, "target": "dose", "drop": ("id",), "categorical": ("zip",), "missing": "indicate"} | given
    )


def columns(data) -> dict[str, list[float]]:
    return {name: data.x[:, k].tolist() for k, name in enumerate(data.feature_names)}


def test_missing_indicated(path: str):
    data = spec(path, sensitive=("sex", "city")).load()
    assert columns(data) == {
        "age": [30, 0, 50, 41.5],
        "age=missing": [0, 1, 0, 0],
        "city=Bonn": [1, 0, 0, 1],
        "city=Köln": [0, 1, 0, 0],
        "city=missing": [0, 0, 1, 0],
        "smoker": [1, 0, 1, 0],
        "sex=f": [1, 0, 1, 0],
        "sex=m": [0, 1, 0, 1],
        "zip=10115": [0, 0, 0, 1],
        "zip=50667": [0, 1, 0, 0],
        "zip=53111": [1, 0, 1, 0],
    }
    assert np.flatnonzero(data.standardize).tolist() == [0]  # not 0/1 columns, not one-hot ones
    assert data.class_names == ("high", "low")
    assert data.y.tolist() == [1, 0, 1, 0]
    assert data.sensitive["sex"].tolist() == [0, 1, 0, 1]
    assert data.sensitive["city"].tolist() == [0, 1, 2, 0]
    assert data.sensitive["sex"].dtype == np.int32
    assert len(data.sha256) == 64
    assert data.source == path


def test_missing_dropped_in_the_columns_in_use_only(path: str):
    with pytest.raises(DataError, match="class 0 has 1"):
        spec(path, missing="drop").load()
    data = spec(path, missing="drop", drop=("id", "city", "age")).load()
    assert len(data.x) == 4
    with pytest.raises(DataError, match=r"every record lacks some value\. Write `missing: indicate`"):
        spec(path, missing="drop", missing_values=("low", "high")).load()


def test_missing_refused_by_default(path: str):
    with pytest.raises(
        DataError, match=r"trial\.csv: 1 missing values in column 'age', the first in record 1\. Write `missing"
    ):
        Csv(path=path, target="dose", drop=("id",)).load()


def test_missing_target_is_never_a_class(path: str):
    with pytest.raises(
        DataError, match=r"1 missing values in column 'city', the first in record 2\. A label cannot be"
    ):
        spec(path, target="city").load()


def test_sensitive_columns_may_stay_out_of_the_features(path: str):
    data = spec(path, sensitive=("sex",), keep_sensitive=False).load()
    assert not any(name.startswith("sex") for name in data.feature_names)
    assert "sex" in data.sensitive


def test_numbers_as_classes_are_sorted_by_value(tmp_path: Path):
    (tmp_path / "a.csv").write_text(
        "x,stage\n" + "\n".join(f"{k},{stage}" for k, stage in enumerate([10, 9, 2, 10, 9, 2]))
    )
    data = Csv(path=str(tmp_path / "a.csv"), target="stage").load()
    assert data.class_names == ("2", "9", "10")
    assert data.y.tolist() == [2, 1, 0, 2, 1, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"target": "does"},
            r"no column 'does' \(asked for by `target`\)\. Did you mean 'dose'\? The first line names: id",
        ),
        ({"sensitive": ("gender",)}, "asked for by `sensitive`"),
        ({"drop": ("ID",)}, "asked for by `drop`"),
        ({"drop": ("id", "sex"), "sensitive": ("sex",)}, "sex cannot be dropped.*keep_sensitive: false"),
        ({"max_levels": 2}, "column 'zip' has 3 different values, more than max_levels = 2.*identifier"),
        ({"drop": ("id", "age", "city", "smoker", "sex", "zip"), "categorical": ()}, "no feature column is left"),
    ],
)
def test_what_is_wrong_is_said(path: str, change: dict, message: str):
    with pytest.raises(DataError, match=rf"trial\.csv: .*{message}"):
        spec(path, **change).load()


def test_repeated_names_empty_tables_and_infinities_are_refused(tmp_path: Path):
    file = tmp_path / "a.csv"
    for content, message in (
        ("x,x,y\n1,2,a\n", "column names 'x' occur more than once"),
        ("x,y\n", "names columns but holds no records"),
        ("x,y\n1,a\ninf,b\n2,a\n3,b\n", r"inf in record 1, column 0 \('x'\)"),
        ("x,y\n1,a\n1,b\n1,a\n1,b\n", "records are the same"),
    ):
        file.write_text(content)
        with pytest.raises(DataError, match=message):
            Csv(path=str(file), target="y").load()


def test_a_typo_in_the_spec_names_the_nearest_key():
    with pytest.raises(SpecError, match="Did you mean 'sensitive'"):
        Csv(path="a.csv", target="y", sensitives=("sex",))
    with pytest.raises(SpecError, match="target: is required"):
        Csv(path="a.csv")

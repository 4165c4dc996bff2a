from __future__ import annotations

import csv

import numpy as np
import pytest

from privsec.core.errors import DataError
from privsec.data.iwpc_warfarin import COLUMNS, IWPCWarfarin

PATIENTS = """age,height,weight,race,amiodarone,carbamazepine,phenytoin,rifampin,cyp2c9,vkorc1,dose,stable
60 - 69,170.5,70.0,White,0.0,0.0,0.0,0.0,*1/*1,A/G,21.0,1.0
90+,160.0,50.0,Asian,1.0,0.0,,1.0,*1/*3,A/A,21.5,1.0
10 - 19,,50.0,Asian,,,,,*1/*11,A/A,49.0,1.0
20 - 29,180.0,80.0,White,0.0,,,0.0,*1/*14,G/G,48.9,1.0
70 - 79,181.0,81.0,White,0.0,0.0,0.0,0.0,*1/*1,G/G,70.0,1.0
70 - 79,182.0,82.0,White,0.0,0.0,0.0,0.0,*1/*1,A/A,7.0,1.0
70 - 79,183.0,83.0,White,0.0,0.0,0.0,0.0,*1/*1,G/G,49.0,1.0
70 - 79,184.0,84.0,White,0.0,0.0,0.0,0.0,*1/*1,G/G,49.0,0.0
70 - 79,184.0,84.0,White,0.0,0.0,0.0,0.0,,G/G,49.0,1.0
70 - 79,184.0,84.0,White,0.0,0.0,0.0,0.0,*1/*1,,49.0,1.0
70 - 79,184.0,84.0,White,0.0,0.0,0.0,0.0,*1/*1,G/G,,1.0
"""


@pytest.fixture
def path(tmp_path) -> str:
    short, *rows = csv.reader(PATIENTS.splitlines())
    named = {short_name: name for name, short_name in COLUMNS.items()}
    with (tmp_path / "dose.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[named[name] for name in short] + ["Target INR"], *([*row, "2.5"] for row in rows)])
    return str(tmp_path / "dose.csv")


def test_patients_become_the_features_of_the_dosing_algorithm(path):
    data = IWPCWarfarin(path=path, missing="indicate").load()
    at = {name: data.x[:, k].tolist() for k, name in enumerate(data.feature_names)}
    assert data.class_names == ("low", "intermediate", "high")
    assert data.y.tolist() == [0, 1, 2, 1, 2, 0, 2]  # 21 mg is low, 49 mg is high; nobody without a stable dose
    assert at["age"] == [6, 9, 1, 2, 7, 7, 7]
    assert at["height"][:3] == [170.5, 160, 0] and at["height=missing"][:3] == [0, 0, 1]
    assert at["inducer=yes"][:4] == [0, 1, 0, 0] and at["inducer=unknown"][:4] == [0, 0, 1, 1]
    assert at["amiodarone=unknown"][:3] == [0, 0, 1] and at["cyp2c9=other"][:4] == [0, 0, 1, 1]
    assert data.attributes["vkorc1"].names == ("A/A", "A/G", "G/G")
    assert IWPCWarfarin(path=path).load().size == 6  # one has no height


def test_another_table_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("Age,Race\n1,White\n")
    with pytest.raises(DataError, match=r"does not name Height \(cm\), .*the consortium's table"):
        IWPCWarfarin(path=str(tmp_path / "a.csv")).load()


@pytest.mark.data
def test_the_real_table(real_data):
    data = IWPCWarfarin(path=str(real_data("iwpc_warfarin.csv"))).load()
    assert data.size == 3450 and np.bincount(data.y).tolist() == [1191, 1823, 436]
    genotype = data.attributes["vkorc1"]
    dose = [data.y[data.x[:, column] == 1].mean() for column in genotype.columns]
    assert dose[0] < dose[1] < dose[2]  # A/A is the sensitive genotype (IWPC 2009)

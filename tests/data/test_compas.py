from __future__ import annotations

import numpy as np
import pytest

from privsec.core.errors import DataError
from privsec.data.compas import COMPAS

NAMES = (
    "id,sex,age,age_cat,race,juv_fel_count,decile_score,juv_misd_count,juv_other_count,priors_count,c_charge_degree,"
    "is_recid,two_year_recid\n"
)
ROWS = """1,Male,69,Greater than 45,Other,0,1,0,0,0,F,0,0
3,Male,34,25 - 45,African-American,0,3,0,0,0,F,1,1
4,Female,24,Less than 25,African-American,1,4,0,1,4,M,1,1
5,Female,23,Less than 25,Other,0,8,1,0,1,F,0,0
"""


def test_the_answer_and_other_models_answers_are_no_features(tmp_path):
    (tmp_path / "c.csv").write_text(NAMES + ROWS)
    data = COMPAS(path=str(tmp_path / "c.csv")).load()
    assert data.y.tolist() == [0, 1, 1, 0] and data.class_names == ("0", "1")
    assert not [name for name in data.feature_names if "recid" in name or "score" in name or name == "id"]
    assert data.group_names["sex"] == ("Female", "Male") and data.sensitive["sex"].tolist() == [1, 1, 0, 0]
    assert data.group_names["race"] == ("African-American", "Other")
    assert set(data.sensitive) == {"race", "sex", "age_cat"}
    (tmp_path / "d.csv").write_text("sex,age\nMale,3\n")
    with pytest.raises(DataError, match="does not name age_cat"):
        COMPAS(path=str(tmp_path / "d.csv")).load()


@pytest.mark.data
def test_the_real_table(real_data):
    data = COMPAS(path=str(real_data("compas_two_years.csv"))).load()
    assert data.size == 7214 and np.bincount(data.y).tolist() == [3963, 3251]
    assert len(data.group_names["race"]) == 6

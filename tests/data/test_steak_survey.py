from __future__ import annotations

import csv

import numpy as np
import pytest

from privsec.core.errors import DataError
from privsec.data.steak_survey import COLUMNS, DONENESS, SteakSurvey


@pytest.fixture
def path(tmp_path) -> str:
    rng = np.random.default_rng(0)

    def person(k: int) -> list[str]:
        answers = {name: ("", "No", "Yes")[rng.integers(3)] for name in COLUMNS.values()}
        answers |= {"steak": (*DONENESS, "")[k % 6], "cheated": ("No", "Yes", "")[k // 12]}
        return ["Yes", *answers.values()]

    with (tmp_path / "steak.csv").open("w", newline="") as file:
        rows = [["Do you eat steak?", *COLUMNS], *(person(k) for k in range(36))]
        csv.writer(file).writerows(
            [[name + " Choose one." if i == 1 else name for i, name in enumerate(rows[0])], *rows[1:]]
        )
    return str(tmp_path / "steak.csv")


def test_people_who_eat_steak_and_answered(path):
    data = SteakSurvey(path=path).load()
    assert data.size == 20 and data.class_names == DONENESS
    assert data.y.tolist() == [0, 1, 2, 3, 4] * 4
    assert data.attributes["cheated"].names == ("No", "Yes")
    assert data.x[:, data.attributes["cheated"].columns[1]].tolist() == [0] * 10 + [1] * 10
    assert "smokes=missing" in data.feature_names and not any("eat steak" in name for name in data.feature_names)


def test_another_table_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("Age,Race\n1,White\n")
    with pytest.raises(DataError, match="does not name Consider the following"):
        SteakSurvey(path=str(tmp_path / "a.csv")).load()


@pytest.mark.data
def test_the_real_survey(real_data):
    data = SteakSurvey(path=str(real_data("steak_risk_survey.csv"))).load()
    assert np.bincount(data.y).tolist() == [23, 165, 132, 74, 36]
    assert int(data.x[:, data.attributes["cheated"].columns[1]].sum()) == 72

"""How Americans like their steak."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from privsec.core.data import Dataset
from privsec.data import formats
from privsec.data.tables import Table

COLUMNS = {
    "Consider the following hypothetical situations": "lottery",
    "Do you ever smoke cigarettes?": "smokes",
    "Do you ever drink alcohol?": "drinks",
    "Do you ever gamble?": "gambles",
    "Have you ever been skydiving?": "skydived",
    "Do you ever drive above the speed limit?": "speeds",
    "Have you ever cheated on your significant other?": "cheated",
    "How do you like your steak prepared?": "steak",
    "Gender": "gender",
    "Age": "age",
    "Household Income": "income",
    "Education": "education",
    "Location (Census Region)": "region",
}
"""How the questions begin, and what they are called here."""
DONENESS = ("Rare", "Medium rare", "Medium", "Medium Well", "Well")


class SteakSurvey(Table):
    """A survey of steak and risk: 13 answers of some 420 people who eat steak; classes are how well done they like it.

    FiveThirtyEight's survey of 550 Americans (2014), from which Fredrikson et al. (CCS 2015) guessed who had cheated on
    a partner: the attribute `cheated`. People who did not answer that, or how they like their steak, are left out; any
    other question without an answer has `missing` for one. No checksum is known to this project, so `path` or
    $PRIVSEC_DATA must hold the table.
    """

    name: Literal["steak_survey"] = "steak_survey"

    sensitive: tuple[str, ...] = ("gender",)
    """Columns kept as group codes for slices and fairness."""
    fixed: tuple[str, ...] = ("gender", "age", "region")
    """Columns that nobody can change in a record of theirs."""
    missing: Literal["error", "drop", "indicate"] = "indicate"
    """What to do about missing answers: refuse them, drop the record, or make missingness a level of its own."""

    origin: ClassVar[str] = "FiveThirtyEight, https://github.com/fivethirtyeight/data (steak-survey), CC BY 4.0"
    names: ClassVar[tuple[str, ...]] = ("steak_risk_survey.csv", "steak-risk-survey.csv")
    layout: ClassVar[str] = "the survey as csv, one person a line, the first line naming the questions"

    def _read(self) -> Dataset:
        path = self.locate()
        header = formats.read_csv(path)[0]
        questions = [next((name for name in header if name.startswith(start)), start) for start in COLUMNS]
        names = tuple(COLUMNS.values())
        steak, cheated = names.index("steak"), names.index("cheated")
        people = [row for row in self._picked(path, questions) if row[steak] in DONENESS and row[cheated]]
        for row in people:
            row[steak] = str(DONENESS.index(row[steak]))
        data = self._encode(names, people, "steak", str(path), formats.sha256(path))
        return replace(data, class_names=DONENESS)

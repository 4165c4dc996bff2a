"""COMPAS: who is arrested again within two years."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from privsec.core.data import Dataset
from privsec.data import formats
from privsec.data.tables import Table

COLUMNS: Sequence[str] = (
    "sex,age,age_cat,race,juv_fel_count,juv_misd_count,juv_other_count,priors_count,c_charge_degree,two_year_recid"
).split(",")
"""What was known when a person was screened, and whether a new arrest followed."""


class COMPAS(Table):
    """7,214 people screened in Broward County in 2013 and 2014, and whether they were arrested again within two years.

    Nine attributes are used. Left out are names, identifiers and dates; the scores of the COMPAS tool (`decile_score`,
    `score_text` and the like), another model's answer to the same question; and what was known only afterwards
    (`is_recid`, `r_*`, `vr_*`, `violent_recid`, `start`, `end`, `event`), from which the label follows. All records
    stay; ProPublica's analysis leaves 1,042 of them out.

    The label is an arrest, which depends on policing as well as on conduct: a measure of how a model treats groups, and
    no ground for deciding about anybody.
    """

    name: Literal["compas"] = "compas"

    sensitive: tuple[str, ...] = ("race", "sex", "age_cat")
    """Columns kept as group codes for slices and fairness."""
    fixed: tuple[str, ...] = ("sex", "age", "age_cat", "race")
    """Columns that nobody can change in a record of theirs."""

    origin: ClassVar[str] = "https://github.com/propublica/compas-analysis, public records of Broward County, Florida"
    names: ClassVar[tuple[str, ...]] = ("compas_two_years.csv", "compas-scores-two-years.csv")
    layout: ClassVar[str] = "ProPublica's table as csv, its first line naming sex, age, ..., two_year_recid"

    def _read(self) -> Dataset:
        path = self.locate()
        rows = self._picked(path, COLUMNS)
        return self._encode(COLUMNS, rows, "two_year_recid", str(path), formats.sha256(path))

"""IWPC: the dose of warfarin that patients turned out to need."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from privsec.core.data import Dataset
from privsec.data import formats
from privsec.data.tables import Table

COLUMNS = {
    "Age": "age",
    "Height (cm)": "height",
    "Weight (kg)": "weight",
    "Race": "race",
    "Amiodarone (Cordarone)": "amiodarone",
    "Carbamazepine (Tegretol)": "carbamazepine",
    "Phenytoin (Dilantin)": "phenytoin",
    "Rifampin or Rifampicin": "rifampin",
    "CYP2C9 consensus": "cyp2c9",
    "VKORC1 -1639 consensus": "vkorc1",
    "Therapeutic Dose of Warfarin": "dose",
    "Subject Reached Stable Dose of Warfarin": "stable",
}
"""The variables of the consortium's dosing algorithm, as the file calls them and as they are called here."""
FEATURES = ("age", "height", "weight", "race", "amiodarone", "inducer", "cyp2c9", "vkorc1")
INDUCERS = ("carbamazepine", "phenytoin", "rifampin")
"""Drugs that make the body break warfarin down faster."""
COMMON = ("*1/*1", "*1/*2", "*1/*3", "*2/*2", "*2/*3", "*3/*3")
LOW, HIGH = 21.0, 49.0
"""Milligrams a week: at most `LOW` is a low dose, at least `HIGH` a high one."""
TAKEN = {"1": "yes", "0": "no", "": "unknown"}
UNKNOWN = ("", "NA")


class IWPCWarfarin(Table):
    """Patients on warfarin: age, size, race, medication, two genotypes, and their dose a week: low, middle, high.

    The records of the International Warfarin Pharmacogenetics Consortium (NEJM 360, 2009), from which Fredrikson et al.
    (USENIX Security 2014) guessed genotypes. Features are those of the consortium's algorithm; age is the decade, and
    the classes are its clinical groups: at most 21 mg, between, at least 49 mg. Kept are patients with a stable dose
    and both genotypes known; the rarer CYP2C9 genotypes are one level. No checksum is known to this project, so `path`
    or $PRIVSEC_DATA must hold the table.
    """

    name: Literal["iwpc_warfarin"] = "iwpc_warfarin"

    sensitive: tuple[str, ...] = ("race",)
    """Columns kept as group codes for slices and fairness."""
    fixed: tuple[str, ...] = ("age", "height", "race", "cyp2c9", "vkorc1")
    """Columns that nobody can change in a record of theirs."""
    missing: Literal["error", "drop", "indicate"] = "drop"
    """What to do about a missing age, height or weight: refuse it, drop the record, or make missingness a feature.
    Medication that is not known is a level of its own."""

    origin: ClassVar[str] = "IWPC data set, via PharmGKB, https://www.pharmgkb.org/downloads, CC BY-SA 4.0"
    names: ClassVar[tuple[str, ...]] = ("iwpc_warfarin.csv",)
    layout: ClassVar[str] = "the consortium's table as csv, its first line naming Age, Height (cm), ..."

    def _read(self) -> Dataset:
        path = self.locate()
        patients = [dict(zip(COLUMNS.values(), row, strict=True)) for row in self._picked(path, tuple(COLUMNS))]
        known = [
            patient
            for patient in patients
            if patient["stable"] in ("1", "1.0")
            and not any(patient[name] in UNKNOWN for name in ("dose", "cyp2c9", "vkorc1"))
        ]
        rows = [[_cell(patient, name) for name in FEATURES] + [_dose(float(patient["dose"]))] for patient in known]
        data = self._encode((*FEATURES, "dose"), rows, "dose", str(path), formats.sha256(path))
        return replace(data, class_names=("low", "intermediate", "high"))


def _cell(patient: dict[str, str], name: str) -> str:
    if name == "age":
        return patient["age"][:2].rstrip("+-").removesuffix("0") if patient["age"] else ""
    if name == "cyp2c9":
        return patient[name] if patient[name] in COMMON else "other"
    if name == "amiodarone":
        return TAKEN[patient[name].removesuffix(".0")]
    if name == "inducer":
        taken = {TAKEN[patient[drug].removesuffix(".0")] for drug in INDUCERS}
        return next(answer for answer in ("yes", "unknown", "no") if answer in taken)
    return patient[name]


def _dose(weekly: float) -> str:
    return "0" if weekly <= LOW else "2" if weekly >= HIGH else "1"

"""What every measure is called, how its numbers are written and how to read them."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from privsec.core.estimate import Estimate
from privsec.measures import (
    attributes,
    evasion,
    extraction,
    fairness,
    gradient_inversion,
    held_back_classes,
    inversion,
    membership,
    poisoning,
    reprogramming,
    slices,
    utility,
)
from privsec.measures.blind import MEASURE as BLIND

Style = Literal["share", "two", "three"]


class Wording(NamedTuple):
    """A measure as the report shows it: its name, how its numbers are written, how to read them."""

    title: str
    style: Style
    reading: str = ""


_MEASURED = {
    "membership": membership.MEASURES,
    "class inversion": inversion.MEASURES,
    "inversion of whole classes": held_back_classes.MEASURES,
    "attribute inversion": attributes.MEASURES,
    "gradient inversion": gradient_inversion.MEASURES,
    "evasion": evasion.MEASURES,
    "poisoning": poisoning.MEASURES,
    "reprogramming": reprogramming.MEASURES,
    "extraction": extraction.MEASURES,
    "utility": utility.MEASURES,
    "fairness": fairness.MEASURES,
    "slices": slices.MEASURES,
}
_STYLES: dict[str, Style] = {"share": "share", "probability": "share", "dB": "two"}
"""How numbers of a unit are written; others with three digits."""
_WORDINGS = {
    "advantage": Wording(
        "advantage",
        "two",
        "the one figure that different kinds of attacks share: (s - s0) / (1 - s0), where s is the attacker's success "
        "and s0 the success of the best attacker who never met the model. 0 is no better than that one, 1 is complete "
        "success, and it is not cut off at 0, so noise shows. For membership, s is the TPR at 1% FPR",
    ),
    "tpr_at_1pct_fpr": Wording("TPR at 1% FPR", "share"),
    "tpr_at_0.1pct_fpr": Wording("TPR at 0.1% FPR", "share"),
    "auc": Wording("AUC", "three"),
    "balanced_accuracy": Wording("balanced accuracy", "share"),
    "null_auc": Wording("AUC without the model", "three", BLIND.meaning),
    "tpr_at_global_threshold": Wording("named at everybody's threshold", "share"),
    "fpr_at_global_threshold": Wording("accused at everybody's threshold", "share"),
    "auc_against_rest": Wording("AUC against the rest", "three"),
    "success": Wording("success", "share"),
    "accepted": Wording("accepted", "share"),
    "nearer_to_members": Wording("nearer to members", "share"),
    "nearer_to_class": Wording("nearer to the class", "share"),
    "null_nearer_to_members": Wording("the twin's nearer to members", "share"),
    "null_success": Wording("success of the control", "share"),
    "null_class_mean": Wording("success of the class mean", "share"),
    "target_confidence": Wording("confidence of the target", "share"),
    "nn_gap": Wording("nearer by", "three"),
    "nn_gap_spread": Wording("nearer by, spread over classes", "three"),
    "classes": Wording("classes judged", "two"),
    "ssim": Wording("SSIM", "three"),
    "null_ssim": Wording("SSIM of the control", "three"),
    "psnr": Wording("PSNR", "two"),
    "clean_accuracy": Wording("accuracy on clean records", "share"),
    "unpoisoned_accuracy": Wording("accuracy without the poison", "share"),
    "poisoned": Wording("poisoned", "share"),
    "certified": Wording("answers proven", "share"),
    "certified_changes": Wording("changes that half of the answers withstand", "two"),
    "changes": Wording("changed records", "two"),
    "detected": Wording("poison found at 5% false alarms", "share"),
    "train_accuracy": Wording("train accuracy", "share"),
    "test_accuracy": Wording("test accuracy", "share"),
    "gap": Wording("gap", "share"),
    "calibration_error": Wording("calibration error", "share"),
    "group_accuracy": Wording("accuracy", "share"),
    "worst_group_accuracy": Wording("accuracy of the worst group", "share"),
    "accuracy_gap": Wording("accuracy, best less worst group", "share"),
    "demographic_parity": Wording("demographic parity difference", "share"),
    "equalized_odds": Wording("equalized odds difference", "share"),
    "epsilon_claimed": Wording(
        "claimed epsilon",
        "two",
        "the differential-privacy guarantee that the accountant proves for the training procedure; smaller is "
        "stronger. Not a measurement",
    ),
}


def wording(name: str) -> Wording:
    """How the measure `name` is shown; one that has no words of its own is shown under its name.

    Where several kinds of attacks have a measure of this name, the reading says what it is for each. A measure of
    groups carries their attribute in brackets.
    """
    if "[" in name:
        kind, _, of = name.removesuffix("]").partition("[")
        return wording(kind)._replace(title=f"{wording(kind).title}, {of}")
    found = {kind: measures[name] for kind, measures in _MEASURED.items() if name in measures}
    style = _STYLES.get(next((measure.unit for measure in found.values()), ""), "three")
    known = _WORDINGS.get(name, Wording(name.replace("_", " "), style))
    meanings = [f"{kind}: {measure.meaning}" if len(found) > 1 else measure.meaning for kind, measure in found.items()]
    return known._replace(reading=known.reading or "; ".join(meanings))


def number(value: float, style: Style = "two", sign: bool = False) -> str:
    """`value` as text with a true minus sign.

    >>> number(-0.014), number(0.2916, "share"), number(0.03, "two", sign=True)
    ('−0.01', '29.2%', '+0.03')
    >>> number(-0.0001), number(float("nan"))
    ('0.00', 'n/a')
    """
    if math.isnan(value):
        return "n/a"
    digits = {"share": 1, "two": 2, "three": 3}[style]
    rounded = round(value * (100 if style == "share" else 1), digits) + 0.0
    return f"{rounded:{'+' if sign and rounded else ''}.{digits}f}{'%' * (style == 'share')}".replace(
        "-", "\N{MINUS SIGN}"
    )


def interval(estimate: Estimate, style: Style = "two", sign: bool = False) -> str:
    r"""The 95% interval as text that no line break tears apart.

    >>> interval(Estimate(0.6, 0.55, 0.651, 64), "share")
    '[55.0,\xa065.1]'
    """
    low, high = (number(end, style, sign).removesuffix("%") for end in (estimate.low, estimate.high))
    return f"[{low},\N{NO-BREAK SPACE}{high}]"


def count(estimate: Estimate) -> str:
    """N as text that no line break tears apart."""
    return (f"n = {estimate.n:,}" if estimate.n else "not sampled").replace(" ", "\N{NO-BREAK SPACE}")


def full(estimate: Estimate, name: str) -> str:
    r"""Value, interval and n in one line of prose.

    >>> full(Estimate(0.6, 0.55, 0.65, 64), "advantage")
    '0.60 [0.55,\xa00.65], n\xa0=\xa064'
    """
    style = wording(name).style
    return f"{number(estimate.value, style)} {interval(estimate, style)}, {count(estimate)}"

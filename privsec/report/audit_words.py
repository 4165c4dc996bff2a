"""An audit in everyday words: people instead of rates, what the numbers show, and what they cannot."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from privsec.auditor.record import AuditRecord, Bound, Figure, Subject


class Thousand(NamedTuple):
    """What an attacker makes of a thousand people who were in the training, while he wrongly accuses some who were not.

    Attributes:
        accused: how many of a thousand outsiders he accuses wrongly.
        found: how many of the thousand he finds; None where the audit cannot resolve it.
        low, high: the ends of its interval.
        reason: why there is no number.
        attack: the attack that does it.
    """

    accused: int
    found: int | None
    low: int
    high: int
    reason: str
    attack: str


RATES = {"tpr_at_1pct_fpr": 10, "tpr_at_0.1pct_fpr": 1}
"""measure -> how many of a thousand outsiders it lets the attacker accuse wrongly."""
_INSIDE = {
    "records": "people whose records were in the training",
    "groups": "people in the training, each taken with all of their records",
    "canaries": "planted canary records that were trained on",
}
_OUTSIDE = {
    "records": "people whose records were not",
    "groups": "people who were not in it",
    "canaries": "canaries that were left out",
}


def inside(subject: Subject) -> str:
    """What the members are, in the plural."""
    return _INSIDE.get(subject.units, f"{subject.units} in the training")


def outside(subject: Subject) -> str:
    """What the non-members are, in the plural."""
    return _OUTSIDE.get(subject.units, f"{subject.units} that were not")


def thousands(record: AuditRecord) -> list[Thousand]:
    """The worst attack's success at each false positive rate, in people of a thousand."""
    found = []
    for name, accused in RATES.items():
        if (figure := record.worst.get(name)) is not None:
            value, (low, high) = figure.value, ends(figure, 0.0, 1.0)
            count = None if value is None else round(1000 * value)
            reason = "" if count is not None else figure.note or "not resolved"
            attack = record.worst_attack.get(name, "")
            found.append(Thousand(accused, count, round(1000 * low), round(1000 * high), reason, attack))
    return found


def ends(figure: Figure, least: float, most: float) -> tuple[float, float]:
    """The interval's ends, the bounds of the measure where there is none."""
    return (least if figure.low is None else figure.low, most if figure.high is None else figure.high)


def believable(of: Thousand) -> tuple[int, int] | None:
    """Of 100 accusations how many are right, where half and where one in a hundred of the people took part.

    None where the attacker may as well be guessing: a share of few accusations is mostly noise.
    """
    if of.found is None or of.low <= of.accused:
        return None
    shares = (share * of.found / (share * of.found + (1 - share) * of.accused) for share in (0.5, 0.01))
    first, second = (round(100 * share) for share in shares)
    return first, second


def epsilon(value: float | None) -> str:
    """An epsilon as text.

    >>> epsilon(1.4567), epsilon(31.26), epsilon(None)
    ('1.46', '31.3', 'no finite value')
    """
    if value is None or not math.isfinite(value):
        return "no finite value"
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}"


def small(value: float) -> str:
    """A small probability as text.

    >>> small(1e-05), small(0.0), small(0.05)
    ('1e−5', '0', '0.05')
    """
    return re.sub(r"e-0?", "e\N{MINUS SIGN}", f"{value:g}")


def percent(confidence: float) -> str:
    """A confidence as text.

    >>> percent(0.95), percent(0.999)
    ('95%', '99.9%')
    """
    return f"{100 * confidence:.4g}%"


def odds(value: float) -> str:
    """The factor by which one record can shift an observer's odds at this epsilon.

    >>> odds(0.0), odds(1.5), odds(8.0), odds(40)
    ('1.0-fold', '4.5-fold', '2,981-fold', 'more than a million-fold')
    """
    factor = math.exp(min(value, 50))
    return "more than a million-fold" if factor > 1e6 else f"{factor:,.{1 if factor < 10 else 0}f}-fold"


def says(record: AuditRecord) -> Iterator[str]:
    """What the numbers show, a sentence each, apart from the people of a thousand."""
    if (auc := record.worst.get("auc")) is not None and auc.value is not None:
        low, high = (round(1000 * end) for end in ends(auc, 0.0, 1.0))
        yield (
            "Shown one member and one non-member, the attack that ranks best "
            f"({record.worst_attack.get('auc') or 'of all'}) picks the member {round(1000 * auc.value):,} "
            f"times in 1,000 (between {low:,} and {high:,}); a coin would 500 times."
        )
    if (bound := record.epsilon_lower) is not None:
        yield _shown(bound)
    if (claim := record.claim) is not None:
        if claim.epsilon is None:
            yield "The claim names no finite epsilon, so it promises nothing that an audit could contradict."
        else:
            found = round(1000 * claim.tpr_at_1pct_fpr)
            limit = f"could then find at most {found:,} of 1,000" if found < 1000 else "may find everybody all the same"
            yield (
                f"The claim (epsilon {epsilon(claim.epsilon)}, {claim.source}) promises that one record moves any "
                f"observer's odds by no more than its factor ({odds(claim.epsilon)}), but for a chance of "
                f"{small(claim.delta)}. An attacker who wrongly accuses 10 of 1,000 {limit}."
            )
    if any(figure.value is not None for figure in record.worst.values()):
        yield (
            "The figures in the summary allow for the choice of the worst among all attacks: if such audits were "
            f"repeated, at least {percent(record.confidence).removesuffix('%')} in 100 would give intervals that hold "
            "the true figures of the attacks that ran."
        )
    else:
        yield (
            "No figure of the attacks could be resolved, mostly for want of records. That is no good news and no bad "
            "news: nothing is known about how much this model gives away."
        )


def _shown(bound: Bound) -> str:
    sure = (
        f"the chance that it overstates is at most {small(round(1 - bound.confidence, 12))}"
        if bound.grade == "proof"
        else "it rests on assumptions that this audit's design does not meet"
    )
    if bound.epsilon <= 0:
        most = (
            ""
            if bound.ceiling is None
            else f" With every record told apart, this audit would have shown {epsilon(bound.ceiling)}."
        )
        return f"No epsilon above 0 was shown ({bound.grade}).{most}"
    return (
        f"The epsilon of this training is at least {epsilon(bound.epsilon)} ({bound.grade}: {sure}). If so, a "
        f"single record can move an observer's odds {odds(bound.epsilon)} or more."
    )


def silent(record: AuditRecord) -> Iterator[tuple[str, str]]:
    """What the numbers do not show: (in short, in full)."""
    bounded = any(figure.high is not None for figure in record.worst.values())
    missed = " The upper ends of the intervals say how much even these attacks may have missed." if bounded else ""
    yield (
        "No leak shown is not no leak.",
        "The audit speaks for the attacks that ran, with the access and knowledge they were given. A stronger attack, "
        f"or one not yet published, may find more.{missed}",
    )
    yield (
        "It is about membership alone.",
        "Whether records can be reconstructed, attributes inferred, or the model copied, poisoned or evaded was not "
        "tested here.",
    )
    if (bound := record.epsilon_lower) is not None:
        yield (
            "A shown epsilon is a floor, not an estimate.",
            "The true one may be far higher, and a low floor is no guarantee."
            + (
                f" With this many {record.subject.units}, this method shows {epsilon(bound.ceiling)} at most, its "
                "ceiling, however good the attack."
                if bound.ceiling is not None
                else ""
            ),
        )
    if any(bound.grade == "heuristic" for bound in bounds(record)):
        yield (
            "A heuristic is not a proof.",
            "Bounds with this label are computed as if their assumptions held. They tell where to look; they refute no "
            "claim.",
        )
    yield (
        "Averages hide people.",
        "Single persons or small groups may be recognized far more easily than the average; the slices and the records "
        "most at risk give a first idea.",
    )
    yield (
        "It is about this model.",
        "Another training, other data, or another way to ask the model calls for another audit.",
    )
    yield (
        "It is no legal opinion.",
        "The figures are evidence for a judgment on risk or anonymity. They do not replace it.",
    )


def bounds(record: AuditRecord) -> list[Bound]:
    """Every bound on epsilon in the record."""
    strongest = [record.epsilon_lower] if record.epsilon_lower else []
    return [*strongest, *(bound for attack in record.attacks for bound in attack.bounds)]

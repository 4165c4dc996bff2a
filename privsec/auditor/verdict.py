"""The answer of an audit in words. The only place where figures become a statement."""

from __future__ import annotations

from collections.abc import Sequence

from privsec.auditor.judged import Judged
from privsec.auditor.record import Bound, Caution, Claim, Figure, Verdict

NULL_TPR = 0.01
"""What guessing finds at 1% false positives."""


def leaks(judged: Sequence[Judged], alpha: float) -> list[Judged]:
    """The attacks that tell members from non-members, at most `alpha` being the chance that any does by luck.

    Two one-sided questions an attack, each at alpha / 2 over the number of attacks: is the AUC above a half (DeLong's
    interval, and the rank test besides, which is right for few records too), and is the TPR at 1% FPR above 1%?
    """
    each = alpha / max(len(judged), 1)

    def by_rank(one: Judged) -> bool:
        return one.shared["auc"].low > 0.5 and one.p_value <= each

    def by_tail(one: Judged) -> bool:
        at = one.shared["tpr_at_1pct_fpr"]
        return at.resolved and at.low > NULL_TPR

    return [one for one in judged if by_rank(one) or by_tail(one)]


def verdict_of(
    judged: Sequence[Judged],
    worst: dict[str, Figure],
    bound: Bound | None,
    claim: Claim | None,
    cautions: Sequence[Caution],
    *,
    alpha: float,
    units: str,
) -> Verdict:
    """The verdict; a caution that makes the figures unusable goes before everything."""
    invalid = [caution.text for caution in cautions if caution.severity == "invalid"]
    if invalid:
        return Verdict(level="unusable", headline="This audit cannot be used as it stands", sentences=tuple(invalid))
    sure = f"{1 - alpha:.0%} confidence"
    if claim is not None and claim.contradicted and bound is not None:
        return _contradicted(claim, bound, sure)
    found = leaks(judged, alpha)
    if units == "canaries" and claim is not None and bound is not None:
        return _within(claim, bound, sure)
    if found:
        titles = ", ".join(one.outcome.title for one in found)
        sentences = [_auc(worst["auc"], units), *_tail(worst), f"Attacks that showed it: {titles}."]
        sentences += _shown(bound)
        headline = f"The model gives away who was in its training data (shown with {sure})"
        if any(caution.code == "distribution-shift" for caution in cautions):
            headline = "Members are told from non-members, in part because they differ in kind"
        return Verdict(
            level="leak_shown",
            headline=headline,
            sentences=tuple(sentences),
        )
    sentences = [
        f"{'The attack did not tell' if len(judged) == 1 else f'None of the {len(judged)} attacks told'} members from "
        "non-members better than guessing could by luck.",
        _auc(worst["auc"], units),
        *_tail(worst),
        "This does not prove that there is no leak: a stronger attack, more records or another model of the same "
        "training may show one.",
    ]
    if bound is not None and bound.ceiling is not None:
        sentences.append(
            f"With {bound.n} {units} the most that could have been shown is epsilon {bound.ceiling:.2f}; shown was "
            f"{bound.epsilon:.2f}."
        )
    return Verdict(level="no_leak_shown", headline="No leak was shown", sentences=tuple(sentences))


def _contradicted(claim: Claim, bound: Bound, sure: str) -> Verdict:
    claimed = f"epsilon {claim.epsilon:g} at delta {claim.delta:g}"
    shown = f"epsilon at least {bound.epsilon:.2f} ({bound.attack}; {bound.title}; {sure})"
    if bound.grade == "proof":
        headline = f"The claim of {claimed} is false"
        end = (
            "The bound is a proof under the design that was stated; the training, its accounting, or that statement is "
            "wrong. Do not rely on the guarantee."
        )
    else:
        headline = f"The figures contradict the claim of {claimed}"
        end = (
            "The bound is a heuristic here, because members and non-members were not drawn by independent coins or "
            "runs: correlated records, or members that differ from non-members, can raise it. Check the training's "
            "implementation; canaries put in by fair coins would settle it."
        )
    return Verdict(level="claim_contradicted", headline=headline, sentences=(f"Shown: {shown}.", end))


def _within(claim: Claim, bound: Bound, sure: str) -> Verdict:
    """Of a training that claims a guarantee, canaries ask for no more than whether it is kept."""
    if claim.epsilon is None:
        headline = f"The canaries show epsilon {bound.epsilon:.2f} or more; no finite epsilon is claimed"
    else:
        headline = f"The claim of epsilon {claim.epsilon:.2f} is not contradicted; canaries show {bound.epsilon:.2f}"
    sentences = [
        f"Shown: epsilon at least {bound.epsilon:.2f} at delta {bound.delta:g} ({bound.attack}; {sure}).",
        "This does not prove the claim: other canaries, more of them or a stronger observer may show more.",
    ]
    if bound.ceiling is not None:
        sentences.append(f"The most that {bound.n} canaries could have shown is epsilon {bound.ceiling:.2f}.")
    return Verdict(level="claim_not_contradicted", headline=headline, sentences=tuple(sentences))


def _auc(figure: Figure, units: str) -> str:
    if figure.value is None or figure.low is None or figure.high is None:
        return f"The AUC is not resolved: {figure.note}."
    return (
        f"The best attack ranks a random member above a random non-member in {figure.value:.1%} of cases (interval "
        f"{figure.low:.1%} to {figure.high:.1%} over all attacks at once; guessing is 50%; {figure.n} {units})."
    )


def _tail(worst: dict[str, Figure]) -> list[str]:
    figure = worst["tpr_at_1pct_fpr"]
    if figure.value is None or figure.low is None or figure.high is None:
        return [f"How many members are found at 1% false positives is {figure.note or 'not resolved'}."]
    return [
        f"At 1% false positives it finds {figure.value:.1%} of the members (interval {figure.low:.1%} to "
        f"{figure.high:.1%}; guessing finds 1%)."
    ]


def _shown(bound: Bound | None) -> list[str]:
    if bound is None or bound.epsilon <= 0:
        return []
    kind = "a proof under the stated design" if bound.grade == "proof" else "a heuristic, see the cautions"
    return [f"That takes epsilon {bound.epsilon:.2f} or more at delta {bound.delta:g} ({kind})."]

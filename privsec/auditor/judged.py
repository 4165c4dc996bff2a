"""From the scores of each attack, and the truth that no attack saw, to figures: each by itself, and all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from privsec.auditor.attacking import Outcome
from privsec.auditor.pool import Pool
from privsec.auditor.record import AttackResult, Bound, Figure, RecordAtRisk, figures
from privsec.core.errors import DataError
from privsec.core.estimate import Estimate, unresolved
from privsec.core.evidence import MembershipScores
from privsec.core.recipe import DPEvent
from privsec.measures.groups import of_groups
from privsec.measures.membership import MEASURES, single
from privsec.measures.roc import roc
from privsec.privacy.lower_bounds import Design, LowerBound, all_bounds, strongest

POINTS = 200
"""Points of a stored ROC, half of them spaced for a logarithmic axis."""


class Statistics(NamedTuple):
    """How numbers are judged.

    Attributes:
        alpha: the chance of a false statement over all attacks together.
        delta: of the epsilon that is shown.
        design: how members and non-members came about.
        event: the training as the accountant sees it, where it is known.
    """

    alpha: float
    delta: float
    design: Design
    event: DPEvent | None = None


class Judged(NamedTuple):
    """One attack that ran, in units (records, or whole groups of them).

    Attributes:
        outcome: its scores of the records.
        scores: its scores of the units, [U].
        result: what the record says of it, at the full alpha.
        shared: measure -> Estimate at alpha over the number of attacks.
        bound: the strongest bound on epsilon, likewise.
        p_value: two-sided, of "members and non-members have the same scores"; exact for few units.
    """

    outcome: Outcome
    scores: np.ndarray
    result: AttackResult
    shared: dict[str, Estimate]
    bound: LowerBound | None
    p_value: float


class Units(NamedTuple):
    """What counts as one observation: a record, or all records of a group.

    Attributes:
        of: int [N], the unit of each record.
        member: bool [U].
        first: int [U], the first record of each unit.
        name: `"records"` or `"groups"`.
    """

    of: np.ndarray
    member: np.ndarray
    first: np.ndarray
    name: str

    @classmethod
    def records(cls, pool: Pool, name: str = "records") -> Units:
        """Every record by itself."""
        everyone = np.arange(pool.size)
        return cls(everyone, pool.member, everyone, name)

    @classmethod
    def groups(cls, pool: Pool) -> Units:
        """All records of a group together.

        Raises:
            DataError: a group has records on both sides.
        """
        names = np.asarray(pool.side.groups).astype(str)
        _, first, of = np.unique(names, return_index=True, return_inverse=True)
        found = of_groups(MembershipScores(np.zeros((1, pool.size))), pool.member[None], names)
        return cls(of, found.member[0], first, "groups")

    def scores(self, of_records: np.ndarray) -> np.ndarray:
        """The mean score of each unit's records; NaN where none was attacked."""
        if self.name != "groups":
            return of_records
        evidence = MembershipScores(of_records[None])
        return np.asarray(of_groups(evidence, self.member[self.of][None], self.of).evidence.scores)[0]


def judge(outcomes: Sequence[Outcome], units: Units, by: Statistics) -> tuple[tuple[AttackResult, ...], list[Judged]]:
    """Every attack's result, and those that have numbers. An attack that scored one side only has none."""
    runs = max(sum(outcome.status == "ok" for outcome in outcomes), 1)
    results, judged = [], []
    for outcome in outcomes:
        if outcome.status == "ok":
            try:
                one = _judged(outcome, units, by, runs)
            except DataError as error:
                outcome = outcome._replace(status="failed", reason=str(error))
            else:
                judged.append(one)
                results.append(one.result)
                continue
        results.append(_result(outcome))
    return tuple(results), judged


def _judged(outcome: Outcome, units: Units, by: Statistics, runs: int) -> Judged:
    assert outcome.scores is not None
    scores, member = units.scores(outcome.scores), units.member
    evidence = MembershipScores(scores[None])
    given = {"delta": by.delta, "design": by.design, "event": by.event}
    bounds = all_bounds(scores, member, alpha=by.alpha, **given)
    fpr, tpr, _ = roc(scores, member)
    result = _result(
        outcome,
        measures=figures(single(evidence, member[None], by.alpha)),
        bounds=tuple(Bound.of(bound, outcome.title) for bound in bounds),
        roc=thinned(fpr, tpr),
    )
    shared = single(evidence, member[None], by.alpha / runs)
    bound = strongest(scores, member, alpha=by.alpha / runs, **given)
    return Judged(outcome, scores, result, shared, bound, rank_test(scores, member))


def _result(outcome: Outcome, **found) -> AttackResult:
    return AttackResult(
        **{name: getattr(outcome, name) for name in ("title", "name", "paper", "status", "reason", "queries")},
        access=outcome.needs.title,
        seconds=round(outcome.seconds, 3),
        **found,
    )


def thinned(fpr: np.ndarray, tpr: np.ndarray) -> tuple[tuple[float, float], ...]:
    """At most `POINTS` or so of the curve's points, ends included: dense at low FPR, where curves are read."""
    grid = np.concatenate([np.geomspace(max(fpr[fpr > 0].min(), 1e-7), 1, POINTS // 2), np.linspace(0, 1, POINTS // 2)])
    kept = np.unique(np.concatenate([[0, len(fpr) - 1], np.searchsorted(fpr, grid, side="right") - 1]))
    return tuple((float(f"{x:.6g}"), float(f"{y:.6g}")) for x, y in zip(fpr[kept], tpr[kept], strict=True))


def rank_test(scores: np.ndarray, member: np.ndarray) -> float:
    """Two-sided p-value of the rank-sum test (Mann-Whitney): exact for few scores without ties, with no other model."""
    from scipy.stats import mannwhitneyu

    inside, outside = (scores[~np.isnan(scores) & side] for side in (member, ~member))
    if np.ptp(np.concatenate([inside, outside])) == 0:
        return 1.0
    return float(mannwhitneyu(inside, outside, alternative="two-sided").pvalue)


def worst(judged: Sequence[Judged]) -> tuple[dict[str, Figure], dict[str, str]]:
    """The largest of each measure over attacks, with an interval that holds for all of them at once, and whose it is.

    Each attack's interval misses with probability alpha over their number. So with probability 1 - alpha no attack's
    true figure is above the largest upper end, and the largest true figure is not below the largest lower end.
    """
    found, whose = {}, {}
    for name, (unit, direction, _, _) in MEASURES.items():
        resolved = [one for one in judged if one.shared[name].resolved]
        if not resolved:
            note = judged[0].shared[name].note if judged else "no attack has numbers"
            found[name] = Figure.of(unresolved(0, unit, direction, note))
            continue
        highest = max(resolved, key=lambda one: one.shared[name].value)
        low, high = (max(getattr(one.shared[name], end) for one in resolved) for end in ("low", "high"))
        at = highest.shared[name]
        found[name] = Figure.of(Estimate(at.value, low, high, at.n, unit, direction))
        whose[name] = highest.outcome.title
    return found, whose


def strongest_bound(judged: Sequence[Judged], by: Statistics) -> Bound | None:
    """The largest bound on epsilon over attacks; it holds at `by.alpha`, as each attack's holds at its share of it."""
    known = [(one.bound, one.outcome.title) for one in judged if one.bound is not None]
    if not known:
        return None
    bound, title = max(known, key=lambda pair: pair[0].estimate.value)
    return Bound.of(bound._replace(alpha=by.alpha), title)


def leading(judged: Sequence[Judged]) -> Judged:
    """The attack that is surely strongest at low false positive rates; where none is sure, that of the best AUC."""

    def surely(one: Judged) -> tuple[float, float]:
        advantage, auc = one.shared["advantage"], one.shared["auc"]
        return (max(advantage.low, 0.0) if advantage.resolved else 0.0), auc.value

    return max(judged, key=surely)


def at_risk(one: Judged, units: Units, pool: Pool, count: int = 20) -> tuple[RecordAtRisk, ...]:
    """The members that this attack is surest of."""
    scored = np.flatnonzero(~np.isnan(one.scores))
    order = scored[np.argsort(-one.scores[scored], kind="stable")]
    rank = 1 + np.arange(len(order))
    outside = np.sort(one.scores[scored][~units.member[scored]])
    answer = []
    for unit, place in zip(order, rank, strict=True):
        if len(answer) == count:
            break
        if not units.member[unit]:
            continue
        n = int(units.first[unit])
        names = pool.side.groups if units.name == "groups" else pool.side.identifiers
        at_least = len(outside) - int(np.searchsorted(outside, one.scores[unit], side="left"))
        answer.append(
            RecordAtRisk(
                row=int(pool.row[n]),
                identifier="" if names is None else str(names[n]),
                label=pool.label_of(n),
                score=float(np.clip(one.scores[unit], -1e300, 1e300)),
                rank=int(place),
                false_positive_rate=at_least / len(outside),
            )
        )
    return tuple(answer)

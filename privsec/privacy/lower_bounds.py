"""Lower bounds on epsilon from an attack's successes: all that apply, and the strongest.

A bound is worth what its assumptions are worth. Each says which design it needs, is a proof only under that one, and
stands beside its ceiling: what it would show at this n for an attack that is always right.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from privsec.core.recipe import DPEvent
from privsec.privacy.bound import Design, LowerBound
from privsec.privacy.error_rates import clopper_pearson, clopper_pearson_scores, gdp, gdp_scores
from privsec.privacy.families import Family
from privsec.privacy.gaussian import gdp_epsilon
from privsec.privacy.one_run import f_dp_one_run, f_dp_one_run_scores, one_run, one_run_scores
from privsec.privacy.rank_test import rank_test_scores

__all__ = [
    "Design",
    "LowerBound",
    "all_bounds",
    "clopper_pearson",
    "clopper_pearson_scores",
    "f_dp_one_run",
    "f_dp_one_run_scores",
    "gdp",
    "gdp_epsilon",
    "gdp_scores",
    "one_run",
    "one_run_scores",
    "rank_test_scores",
    "strongest",
]


def all_bounds(
    scores: ArrayLike,
    member: ArrayLike,
    *,
    delta: float,
    alpha: float = 0.05,
    design: Design,
    event: DPEvent | None = None,
    seed: int = 0,
) -> tuple[LowerBound, ...]:
    """Every bound that these scores allow, each at `alpha` by itself: the largest of them is not a bound at `alpha`.

    Args:
        scores: one a trial or canary, higher = more likely a member; NaN = not attacked, left out.
        member: who was trained on.
        delta: of the epsilon that is shown. At 0 only the bounds that assume no Gaussian are left.
        alpha: accepted P(bound > truth) of each.
        design: how members and non-members came about.
        event: the training as the accountant sees it, for the bound that uses the accountant's own curve.
        seed: breaks ties.

    Returns:
        Clopper-Pearson; the exact rank test; GDP (delta > 0); one-run; f-DP in one run for any mechanism, for the
        Gaussian (delta > 0), and for the event's family (delta > 0, where one is given).

    Raises:
        ConfigError: an argument out of range.
        DataError: scores or membership that cannot be judged; under fair coins, shares that no fair coin gives.
    """
    given = {"delta": delta, "alpha": alpha, "design": design, "seed": seed}
    families: list[Family] = ["approximate_dp"]
    if delta > 0:
        families.append("gaussian")
    if delta > 0 and event is not None:
        families.append(event)
    return (
        clopper_pearson_scores(scores, member, **given),
        rank_test_scores(scores, member, **given),
        *([gdp_scores(scores, member, **given)] if delta > 0 else []),
        one_run_scores(scores, member, **given),
        *(f_dp_one_run_scores(scores, member, family=family, **given) for family in families),
    )


def strongest(
    scores: ArrayLike,
    member: ArrayLike,
    *,
    delta: float,
    alpha: float = 0.05,
    design: Design,
    event: DPEvent | None = None,
    seed: int = 0,
) -> LowerBound:
    """The largest of the bounds that hold for any mechanism and, where `event` is given, of its family; at `alpha`.

    Those considered share alpha, so the largest is a bound at `alpha`. Only proofs are considered where the design
    allows one; the Gaussian family is not, as nothing says that a training is one. Arguments as `all_bounds`.
    """
    candidates = []
    if design != "fair_coins":
        candidates.append((rank_test_scores, {}))
    if design != "independent_runs":
        candidates.append((f_dp_one_run_scores, {"family": "approximate_dp"}))
        if event is not None and delta > 0:
            candidates.append((f_dp_one_run_scores, {"family": event}))
    given = {"delta": delta, "design": design, "seed": seed, "alpha": alpha / len(candidates)}
    best = max(
        (bound(scores, member, **given, **extra) for bound, extra in candidates), key=lambda bound: bound.estimate.value
    )
    return best._replace(alpha=alpha)

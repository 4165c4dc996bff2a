"""Mechanisms whose epsilon is known, and the bounds under test."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from privsec.measures.intervals import clopper_pearson
from privsec.privacy import lower_bounds as ours

DELTA, ALPHA = 1e-5, 0.05
SMALL = (100, 500)
Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Number of an audit -> its scores and its members."""


class Mechanism(NamedTuple):
    """Members' and non-members' scores for given coins; its exact epsilon at DELTA; whether it is a Gaussian."""

    scores: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    epsilon: float
    gaussian: bool = False


def gaussian(epsilon: float) -> Mechanism:
    mu = brentq(lambda mu: ours.gdp_epsilon(mu, DELTA) - epsilon, 1e-3, 20)
    return Mechanism(lambda member, rng: rng.normal(mu * member), epsilon, True)


def laplace(shift: float) -> Mechanism:
    return Mechanism(lambda member, rng: rng.laplace(shift * member), shift + 2 * math.log(1 - DELTA))


def randomized_response(epsilon: float) -> Mechanism:
    lie = 1 / (1 + math.exp(epsilon))
    truth = math.log((1 - lie - DELTA) / lie)
    return Mechanism(lambda member, rng: (member ^ (rng.random(len(member)) < lie)).astype(float), truth)


MECHANISMS = {
    "noise": Mechanism(lambda member, rng: rng.normal(size=len(member)), 0.0, True),
    **{f"gaussian-{epsilon}": gaussian(epsilon) for epsilon in (1, 2, 4, 8)},
    "laplace-1": laplace(1.0),
    "randomized-response-1": randomized_response(1.0),
}


class Bound(NamedTuple):
    """(scores, member, alpha, seed) -> epsilon; does it assume a Gaussian; at which sizes and how often is it run."""

    value: Callable[[np.ndarray, np.ndarray, float, int], float]
    assumes_gaussian: bool = False
    sides: tuple[int, ...] = (100, 500, 5000)
    share: float = 1.0


def bounds() -> dict[str, Bound]:
    """Ours, and those of jax_privacy where it is installed."""

    def own(function: Callable[..., ours.LowerBound], design: ours.Design, **more: Any) -> Callable[..., float]:
        def value(scores: np.ndarray, member: np.ndarray, alpha: float, seed: int) -> float:
            given = {"delta": DELTA, "alpha": alpha, "design": design, "seed": seed, **more}
            return function(scores, member, **given).estimate.value

        return value

    runs, coins = "independent_runs", "fair_coins"
    found = {
        "rank_test": Bound(own(ours.rank_test_scores, runs)),
        "clopper_pearson ranks": Bound(own(ours.clopper_pearson_scores, runs)),
        "clopper_pearson split": Bound(own(ours.clopper_pearson_scores, runs, threshold="split")),
        "clopper_pearson bonferroni": Bound(
            own(ours.clopper_pearson_scores, runs, threshold="bonferroni"), sides=SMALL
        ),
        "gdp ranks": Bound(own(ours.gdp_scores, runs), True),
        "one_run": Bound(own(ours.one_run_scores, coins)),
        "f_dp_one_run any": Bound(own(ours.f_dp_one_run_scores, coins, family="approximate_dp")),
        "f_dp_one_run gaussian": Bound(own(ours.f_dp_one_run_scores, coins, family="gaussian"), True),
    }
    try:
        from jax_privacy import auditing
    except ImportError:
        return found

    def theirs(method: str, strategy: Callable[[int], Any] | None = None, **more: Any) -> Callable[..., float]:
        def value(scores: np.ndarray, member: np.ndarray, alpha: float, seed: int) -> float:
            auditor = auditing.CanaryScoreAuditor(scores[member], scores[~member])
            extra = {"threshold_strategy": strategy(seed)} if strategy else {}
            confidence = {} if method == "epsilon_raw_counts" else {"significance": alpha}
            return float(getattr(auditor, method)(**confidence, delta=DELTA, **extra, **more))

        return value

    def every(seed: int) -> Any:
        return auditing.Bonferroni()

    def half(seed: int) -> Any:
        return auditing.Split(0.5, seed)

    return found | {
        "jp clopper_pearson bonferroni": Bound(theirs("epsilon_clopper_pearson", every, one_sided=False)),
        "jp clopper_pearson split": Bound(theirs("epsilon_clopper_pearson", half, one_sided=False)),
        "jp one_run bonferroni": Bound(theirs("epsilon_one_run", every), sides=SMALL),
        "jp one_run split": Bound(theirs("epsilon_one_run", half), sides=SMALL),
        "jp one_run_fdp bonferroni": Bound(theirs("epsilon_one_run_fdp", every), True, (500,), 0.2),
        "jp one_run_fdp split": Bound(theirs("epsilon_one_run_fdp", half), True, (500,), 0.2),
        "jp from_gdp": Bound(theirs("epsilon_from_gdp"), True, SMALL),
        "jp raw_counts": Bound(theirs("epsilon_raw_counts"), sides=SMALL),
    }


def judged(name: str, bound: Bound, mechanism: str, side: int, truth: float, audits: int, draw: Draw) -> dict[str, Any]:
    """One row: how often the bound was above the truth, with an exact interval, and how large it was."""
    found = np.array([bound.value(*draw(audit), ALPHA, audit) for audit in range(audits)])
    wrong = int((found > truth + 1e-9).sum())
    low, high = clopper_pearson(wrong, audits)
    row = {"mechanism": mechanism, "n_per_side": side, "truth": round(truth, 4), "bound": name, "audits": audits}
    row |= {"above_truth": wrong, "rate": wrong / audits, "low": round(low, 4), "high": round(high, 4)}
    return row | {"median": round(float(np.median(found)), 4), "mean": round(float(found.mean()), 4)}


def as_markdown(table: pd.DataFrame, value: str) -> str:
    """A row a bound, a column a mechanism; in parentheses where the mechanism breaks what the bound assumes."""
    shown = table[value].map("{:.3f}".format)
    shown = shown.where(table.assumption_holds, "(" + shown + ")")
    column = table.mechanism.str.replace("randomized-response", "rr").str.replace(",.*", "", regex=True)
    wide = table.assign(cell=shown, column=column).pivot(index="bound", columns="column", values="cell").fillna("")
    wide = wide.loc[table.bound.unique(), column.unique()]
    rows = [["bound", *wide.columns], ["---", *["---:"] * len(wide.columns)]]
    rows += [[name, *cells] for name, cells in zip(wide.index, wide.to_numpy(), strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)

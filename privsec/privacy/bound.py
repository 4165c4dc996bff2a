"""A lower bound on epsilon: the number, how sure it is, what it rests on, and the most it could have been."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from privsec.core.errors import ConfigError, DataError, did_you_mean
from privsec.core.estimate import Estimate

Design = Literal["independent_runs", "fair_coins", "records"]
"""How members and non-members came about; a bound is a proof under one design and a heuristic under the others."""

DESIGNS: dict[Design, str] = {
    "independent_runs": "each trial is a training of its own",
    "fair_coins": "the trials are canaries of one training, each put in by an independent fair coin",
    "records": "the trials are given records of one model, and nobody drew at random which were trained on",
}
UNFAIR = 1e-9
"""Membership that fair coins give with a smaller probability than this was not drawn by fair coins."""


class LowerBound(NamedTuple):
    """The training is not (epsilon, delta)-DP for any epsilon below `estimate.value`, unless one in 1 / alpha happened.

    Attributes:
        name: the method's identifier, e.g. `"clopper_pearson"`.
        title: the method for people, with the choice that it leaves open.
        estimate: the bound as `value` and `low`, at least 0; `high` is infinite, as nothing is said upward. `note` says
            why a heuristic is one.
        delta: of the (epsilon, delta) that is refuted.
        alpha: P(bound > truth) <= alpha where the assumptions hold.
        ceiling: what the same method shows at this n when members and non-members are separated perfectly.
        grade: `"proof"` where the design is the one that the method assumes, else `"heuristic"`.
        assumptions: what the bound rests on, a sentence each.
    """

    name: str
    title: str
    estimate: Estimate
    delta: float
    alpha: float
    ceiling: float
    grade: Literal["proof", "heuristic"]
    assumptions: tuple[str, ...]


def lower_bound(
    epsilon: float,
    ceiling: float,
    n: int,
    *,
    name: str,
    title: str,
    delta: float,
    alpha: float,
    design: Design,
    needs: Design,
    assumptions: tuple[str, ...],
) -> LowerBound:
    """The LowerBound of a method that is a proof under the design `needs`, applied under `design`."""
    proven = design == needs
    note = "" if proven else f"heuristic: the method assumes that {DESIGNS[needs]}, but here {DESIGNS[design]}"
    shown = max(float(epsilon), 0.0)
    estimate = Estimate(shown, shown, math.inf, n, "epsilon", "higher_is_worse", note)
    grade = "proof" if proven else "heuristic"
    needed = f"{DESIGNS[needs][0].upper()}{DESIGNS[needs][1:]}."
    return LowerBound(name, title, estimate, delta, alpha, max(float(ceiling), shown), grade, (needed, *assumptions))


def check(delta: float, alpha: float, design: Design, *, gaussian: bool = False) -> None:
    """Refuses a delta, an alpha or a design that mean nothing.

    Raises:
        ConfigError: which of them, and what to write.
    """
    if not 0 <= delta < 1:
        raise ConfigError(f"delta is a probability in [0, 1), got {delta}; write for example 1e-5")
    if gaussian and delta == 0:
        raise ConfigError(
            "delta is 0, and a Gaussian mechanism has no finite epsilon there: any leak would show an infinite one. "
            "Write for example delta=1e-5, or use a bound without the Gaussian (clopper_pearson, one_run)."
        )
    if not 0 < alpha < 0.5:
        raise ConfigError(f"alpha is the accepted chance of a false alarm, in (0, 0.5), got {alpha}; write 0.05")
    if design not in get_args(Design):
        raise ConfigError(
            f"no design is called {design!r}.{did_you_mean(design, get_args(Design))} Write one of: "
            + "; ".join(f"{name!r} ({meaning})" for name, meaning in DESIGNS.items())
        )


def check_counts(**pairs: tuple[int, int]) -> None:
    """Refuses counts `name=(part, whole)` that are not whole numbers with 0 <= part <= whole and whole >= 1.

    Raises:
        DataError: which of them.
    """
    for name, (part, whole) in pairs.items():
        if part != int(part) or whole != int(whole) or not 0 <= part <= whole or whole < 1:
            raise DataError(
                f"{name.replace('_', ' ')} must be whole numbers, at least 0 of at least 1: got {part} of {whole}. "
                "Pass counts, not rates, each beside the number of trials that it was counted in."
            )


def stream(seed: int) -> np.random.Generator:
    """Randomness of a bound's own: nobody who drew the coins with `default_rng(seed)` meets the same numbers again.

    Ties that were broken by the coins themselves would show a perfect attack.
    """
    return np.random.default_rng([seed, int.from_bytes(b"lower bounds", "big")])


def ranked(
    scores: ArrayLike, member: ArrayLike, rng: np.random.Generator, *, coins: Design | None = None
) -> np.ndarray:
    """Membership by descending score, bool [S]: all that a bound reads of S scored records.

    Equal scores are put in a random order, so that no rule that cuts the ranking can profit from who is a member.

    Args:
        scores: higher = more likely a member; NaN = not attacked, left out. Infinities are scores like any other.
        member: who was trained on, bool or 0/1.
        rng: breaks ties.
        coins: the design, for methods in which every record is a coin. Under `"fair_coins"` shares that no fair coin
            gives are refused; under another design records of the larger side are dropped at random, as guessing it
            would always be right more often than not.

    Raises:
        DataError: shapes that differ, scores that are no numbers, membership other than true and false, one class only,
            coins that are not fair.
    """
    try:
        values, given = np.asarray(scores, np.float64), np.asarray(member)
    except (TypeError, ValueError):
        raise DataError("scores must be numbers, one a record; got something else. Convert them to float.") from None
    if values.ndim != 1 or values.shape != given.shape:
        raise DataError(f"scores and membership must be one value a record: got shapes {values.shape}, {given.shape}")
    if not np.isin(given, (0, 1)).all():
        raise DataError(f"membership must be True or False (or 1 and 0) for each record, got {given.dtype} values")
    attacked = ~np.isnan(values)
    values, given = values[attacked], given[attacked].astype(bool)
    inside, outside = int(given.sum()), int((~given).sum())
    if not inside or not outside:
        raise DataError(
            f"a bound compares members with non-members: got {inside} scored members and {outside} scored non-members"
            f" ({int((~attacked).sum())} scores are NaN). Score records of both kinds."
        )
    if coins == "fair_coins" and abs(inside - outside) > -ndtri(UNFAIR / 2) * math.sqrt(inside + outside):
        raise DataError(
            f"{inside} of {inside + outside} canaries are members: independent fair coins do not give that. Pass all "
            "canaries, in or out, as drawn; if no coin decided, the design is 'records'."
        )
    if coins not in (None, "fair_coins"):
        larger = np.flatnonzero(given == (inside > outside))
        kept = np.ones(len(given), bool)
        kept[rng.permutation(larger)[min(inside, outside) :]] = False
        values, given = values[kept], given[kept]
    return given[np.lexsort((rng.random(len(values)), -values))]

"""Bounds on epsilon from one training: canaries that fair coins put in or left out, and guesses about the coins.

m canaries, r guesses, v of them right; the others are left open. Randomness is in the coins, so one model is enough,
and correlation among its canaries does no harm. Coins, not halves: a fixed number of members is another design.

How often a mechanism lets v of r guesses be right is bounded in two ways: for (epsilon, delta)-DP by a binomial with a
correction for delta (`one_run`), and for any trade-off curve by a recursion over the number of right guesses
(`f_dp_one_run`), with the curves of `families.py`.

References: Steinke, Nasr, Jagielski 2023, arXiv 2305.08846 (theorem 5.2); Mahloujifar, Melis, Chaudhuri 2024, arXiv
2410.22235.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, betaincinv, expit, logit

from privsec.core.errors import ConfigError, DataError
from privsec.privacy import families
from privsec.privacy.bound import Design, LowerBound, check, check_counts, lower_bound, ranked, stream
from privsec.privacy.families import Family

Outcomes = tuple[tuple[int, int], ...]
"""(right guesses, guesses) of one or more rules, each of which is tried at its share of alpha."""
FEWEST = 50
"""Rules beyond the second make at least this many guesses: fewer cannot show much."""


def one_run(
    correct: int, guesses: int, canaries: int, *, delta: float = 0.0, alpha: float = 0.05, design: Design
) -> LowerBound:
    """The epsilon that `correct` of `guesses` right refutes: the first at which its p-value reaches alpha.

    p = F(v) + 2 m delta max_i (F(v - i) - F(v)) / i, with F(j) = P[Bin(r, e^epsilon / (1 + e^epsilon)) >= j].

    Args:
        correct: right guesses v.
        guesses: r, fixed before looking at who is a member; the rest of the canaries is left open.
        canaries: m, all of them, guessed or not.
        delta: of the claim that is refuted, in [0, 1). With many canaries 2 m delta weighs heavily: see the family
            `"approximate_dp"` of `f_dp_one_run`.
        alpha: accepted P(bound > truth).
        design: how the canaries came about; `"fair_coins"` makes a proof.

    Raises:
        ConfigError: a delta, alpha or design out of range.
        DataError: counts that cannot be.

    >>> bound = one_run(75, 100, 1000, delta=1e-5, design="fair_coins")
    >>> round(bound.estimate.value, 3), round(bound.ceiling, 3), bound.grade
    (0.699, 3.465, 'proof')

    References: Steinke et al. 2023, arXiv 2305.08846, theorem 5.2.
    """
    check(delta, alpha, design)
    check_counts(correct_guesses=(correct, guesses), guesses=(guesses, canaries))
    return _steinke(((correct, guesses),), canaries, "number of guesses fixed beforehand", delta, alpha, design)


def one_run_scores(
    scores: ArrayLike,
    member: ArrayLike,
    *,
    delta: float = 0.0,
    alpha: float = 0.05,
    design: Design,
    guesses: int | tuple[int, ...] | None = None,
    seed: int = 0,
) -> LowerBound:
    """`one_run` of scores: the r / 2 highest are guessed "in", the r / 2 lowest "out", the middle is left open.

    Args:
        scores: one a canary, higher = more likely a member; NaN = not attacked, left out.
        member: who was in.
        delta: as in `one_run`.
        alpha: as in `one_run`.
        design: as in `one_run`. Under another than fair coins the larger side is thinned to the size of the smaller.
        guesses: r, or several r, at alpha over their number each. Must be chosen without looking at `member`. None:
            all m, m / 4, m / 16 ..., as a sharp attack is right about all and a weak one only about the outermost.
        seed: breaks ties.

    Raises:
        ConfigError: an argument out of range.
        DataError: scores or membership that cannot be judged; under fair coins, shares that no fair coin gives.
    """
    check(delta, alpha, design)
    outcomes, canaries = _guessed(scores, member, design, guesses, seed)
    return _steinke(outcomes, canaries, _preset(outcomes), delta, alpha, design)


def f_dp_one_run(
    correct: int,
    guesses: int,
    canaries: int,
    *,
    delta: float,
    alpha: float = 0.05,
    family: Family = "gaussian",
    design: Design,
) -> LowerBound:
    """The epsilon of the least leaky member of `family` under which the guesses would not be surprising.

    If P(at least v right) were alpha, the trade-off curve would force fewer right guesses to have so much probability
    that the total exceeds 1; then the member is refuted. Stronger than `one_run`, for what the family assumes.

    Args:
        correct: right guesses.
        guesses: fixed before looking at who is a member.
        canaries: all of them.
        delta: the epsilon of the refuted member is told at this delta; > 0 but for `"approximate_dp"`.
        alpha: accepted P(bound > truth).
        family: `"gaussian"` (mu-GDP), `"approximate_dp"` (any (epsilon, delta)-DP mechanism: nothing is assumed), or a
            `DPEvent`: the accountant's curve at its sampling rate and steps, the noise multiplier being what is asked
            for (the event's own is not read).
        design: how the canaries came about; `"fair_coins"` makes a proof.

    Raises:
        ConfigError: an argument out of range, or a family that does not exist.
        DataError: counts that cannot be.

    >>> bound = f_dp_one_run(75, 100, 1000, delta=1e-5, design="fair_coins")
    >>> round(bound.estimate.value, 3), round(bound.ceiling, 3)
    (1.006, 5.549)

    References: Mahloujifar et al. 2024, arXiv 2410.22235.
    """
    families.check(family, delta, alpha, design)
    check_counts(correct_guesses=(correct, guesses), guesses=(guesses, canaries))
    return _f_dp(((correct, guesses),), canaries, "number of guesses fixed beforehand", delta, alpha, family, design)


def f_dp_one_run_scores(
    scores: ArrayLike,
    member: ArrayLike,
    *,
    delta: float,
    alpha: float = 0.05,
    family: Family = "gaussian",
    design: Design,
    guesses: int | tuple[int, ...] | None = None,
    seed: int = 0,
) -> LowerBound:
    """`f_dp_one_run` of scores; the other arguments are those of `one_run_scores`."""
    families.check(family, delta, alpha, design)
    outcomes, canaries = _guessed(scores, member, design, guesses, seed)
    return _f_dp(outcomes, canaries, _preset(outcomes), delta, alpha, family, design)


def _steinke(outcomes: Outcomes, canaries: int, title: str, delta: float, alpha: float, design: Design) -> LowerBound:
    each = alpha / len(outcomes)
    return lower_bound(
        max(_least_plausible(v, r, canaries, delta, each) for v, r in outcomes),
        max(_least_plausible(r, r, canaries, delta, each) for _, r in outcomes),
        canaries,
        name="one_run",
        title=f"One training run, {title}",
        delta=delta,
        alpha=alpha,
        design=design,
        needs="fair_coins",
        assumptions=(),
    )


@functools.lru_cache(maxsize=4096)
def _least_plausible(correct: int, guesses: int, canaries: int, delta: float, alpha: float) -> float:
    def refuted(epsilon: float) -> bool:
        return p_value(correct, guesses, canaries, epsilon, delta) < alpha

    if correct == 0 or not refuted(0.0):
        return 0.0
    # At delta 0 the binomial's own lower end is the answer; a delta only takes from it.
    alone = float(logit(betaincinv(correct, guesses - correct + 1, alpha)))
    return alone if delta == 0 else families.last(refuted, 0.0, alone)


def p_value(correct: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """The largest probability with which an (epsilon, delta)-DP training lets so many guesses be right.

    References: Steinke et al. 2023, arXiv 2305.08846, theorem 5.2.
    """
    right = float(expit(epsilon))

    def at_least(j: np.ndarray) -> np.ndarray:
        inner = np.maximum(j, 1)
        return np.where(j <= 0, 1.0, betainc(inner, guesses - inner + 1, right))

    tail = float(at_least(np.asarray(correct)))
    if delta == 0 or correct == 0:
        return tail
    # Beyond nine deviations below the mean F is 1 to rounding: all that follows is covered by its first term.
    deviations = 9 * math.sqrt(guesses * right * (1 - right)) + 2
    longest = min(correct, max(1, math.ceil(correct - guesses * right + deviations)))
    i = np.arange(1, longest + 1)
    gain = max(float(np.max((at_least(correct - i) - tail) / i)), (1 - tail) / longest if longest < correct else 0.0)
    return min(tail + 2 * canaries * delta * gain, 1.0)


def _f_dp(
    outcomes: Outcomes, canaries: int, title: str, delta: float, alpha: float, family: Family, design: Design
) -> LowerBound:
    perfect = tuple((r, r) for _, r in outcomes)
    return lower_bound(
        _most_refuted(outcomes, canaries, delta, alpha, family),
        _most_refuted(perfect, canaries, delta, alpha, family, roughly=True),
        canaries,
        name=families.identifier(family),
        title=f"f-DP in one training run, {families.title(family)}, {title}",
        delta=delta,
        alpha=alpha,
        design=design,
        needs="fair_coins",
        assumptions=families.assumptions(family),
    )


@functools.lru_cache(maxsize=4096)
def _most_refuted(
    outcomes: Outcomes, canaries: int, delta: float, alpha: float, family: Family, roughly: bool = False
) -> float:
    def refuted(inverse: Callable[[float], float]) -> bool:
        return any(is_refuted(v, r, canaries, alpha / len(outcomes), inverse) for v, r in outcomes)

    return families.epsilon_of_refuted(family, refuted, delta, roughly=roughly)


def is_refuted(correct: int, guesses: int, canaries: int, alpha: float, inverse: Callable[[float], float]) -> bool:
    """Whether a mechanism with this trade-off curve gives so many right guesses with probability below alpha.

    With p_i = P(i right): averaged over the canaries, being right about one and i in all has a probability that the
    curve bounds by that of being wrong about it and i - 1 in all (the coin turned over, the output the same):

        sum_{i >= j} i p_i / m  <=  B(sum_{i >= j - 1} (r - i) p_i / m)    for every j.

    Going down from v with P(at least v) = alpha, placing no more probability than that forces, must leave a total <= 1.

    Args:
        correct: v.
        guesses: r.
        canaries: m.
        alpha: the probability asked about.
        inverse: the inverse of the largest TPR B at a false positive rate; B concave, and the same when the two
            hypotheses are swapped.

    References: Mahloujifar et al. 2024, arXiv 2410.22235, algorithm 3.
    """
    right = alpha * correct / canaries
    wrong = alpha * (guesses - correct) / canaries
    limit = guesses / canaries
    for i in range(correct - 1, -1, -1):
        forced = inverse(right)
        if forced <= wrong:  # nothing is forced from here on either
            return False
        right = min(right + i / (guesses - i) * (forced - wrong), 1.0)
        wrong = forced
        if right + wrong > limit:
            return True
    return False


def _guessed(
    scores: ArrayLike, member: ArrayLike, design: Design, guesses: int | tuple[int, ...] | None, seed: int
) -> tuple[Outcomes, int]:
    order = ranked(scores, member, stream(seed), coins=design)
    m = len(order)
    numbers = guesses if isinstance(guesses, tuple) else _grid(m) if guesses is None else (guesses,)
    if not numbers or not all(isinstance(r, (int, np.integer)) and r >= 1 for r in numbers):
        raise ConfigError(f"guesses are numbers of canaries, whole and at least 1; got {guesses!r}")
    if max(numbers) > m:
        raise DataError(f"{max(numbers)} guesses were asked for, and there are {m} canaries; write at most {m}")
    above, below = np.cumsum(order), np.cumsum(~order[::-1])
    outcomes = []
    for r in map(int, numbers):
        highest, lowest = r - r // 2, r // 2
        outcomes.append((int(above[highest - 1]) + (int(below[lowest - 1]) if lowest else 0), r))
    return tuple(outcomes), m


def _grid(m: int) -> tuple[int, ...]:
    """m, m / 4, and on while there are `FEWEST` guesses left."""
    sizes = [m // 4**j for j in range(16)]
    return tuple(r for j, r in enumerate(sizes) if r >= (1 if j < 2 else FEWEST))


def _preset(outcomes: Outcomes) -> str:
    return f"{len(outcomes)} preset numbers of guesses" if len(outcomes) > 1 else "a preset number of guesses"

"""Families of mechanisms, ordered by how much they leak, that a one-run audit refutes members of.

Each member has a curve B: the largest TPR that any attack reaches at a false positive rate. Where B is the lower
envelope of lines, its inverse is the upper envelope of theirs, and dropping a line errs on the safe side.

References: Dong et al. 2019, arXiv 1905.02383; Mahloujifar et al. 2024, arXiv 2410.22235.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from scipy.special import ndtr, ndtri

from privsec.core.errors import ConfigError, did_you_mean
from privsec.core.recipe import DPEvent
from privsec.privacy import accounting, bound
from privsec.privacy.gaussian import gdp_epsilon

Named = Literal["gaussian", "approximate_dp"]
Family = Named | DPEvent
"""Which mechanisms: mu-GDP; all that are (epsilon, delta)-DP; or the Poisson-subsampled Gaussian of an event."""
Inverse = Callable[[float], float]
Refuted = Callable[[Inverse], bool]

STEP = 1.01
"""Noise multipliers are tried in powers of this."""
MOST = 2000
"""Powers tried: at a billion times the expected noise nothing is refuted any more."""
LARGEST = 700.0
"""Epsilons beyond this are left out of a curve: their exponentials are no numbers."""


def check(family: Family, delta: float, alpha: float, design: bound.Design) -> None:
    """Refuses a family that does not exist, and what `bound.check` refuses."""
    if isinstance(family, DPEvent):
        accounting.epsilon(family._replace(steps=0), 0.5)  # its checks
        if family.sampling_rate * family.steps <= 0:
            raise ConfigError(f"a family of trainings takes a sampling rate and steps above 0; got {family}")
    elif family not in get_args(Named):
        raise ConfigError(
            f"no family is called {family!r}.{did_you_mean(family, get_args(Named))} Write 'gaussian', "
            "'approximate_dp', or a DPEvent for the accountant's own curve."
        )
    bound.check(delta, alpha, design, gaussian=family != "approximate_dp")


def identifier(family: Family) -> str:
    """The name of the f-DP bound with this family."""
    named = {"gaussian": "f_dp_one_run", "approximate_dp": "f_dp_one_run_any"}
    return "f_dp_one_run_accountant" if isinstance(family, DPEvent) else named[family]


def title(family: Family) -> str:
    """The family for people."""
    if isinstance(family, DPEvent):
        return f"Poisson-subsampled Gaussian (rate {family.sampling_rate:g}, {family.steps} steps)"
    return {"gaussian": "Gaussian mechanism", "approximate_dp": "any mechanism"}[family]


def assumptions(family: Family) -> tuple[str, ...]:
    """What the family assumes, a sentence each."""
    if family == "approximate_dp":
        return ()
    if family == "gaussian":
        return ("Seen from one canary, the training is a Gaussian mechanism.",)
    return (
        f"Seen from one canary, the training is a {title(family)}, clipped and sampled as the accountant assumes; only "
        "its noise is in question.",
    )


def epsilon_of_refuted(family: Family, refuted: Refuted, delta: float, *, roughly: bool = False) -> float:
    """Epsilon at `delta` of the leakiest member that is refuted; 0 where none is.

    Args:
        family: the members.
        refuted: whether the mechanism with this inverse curve is; no more so the more it leaks.
        delta: of the epsilon.
        roughly: whether the accountant may overstate that epsilon by up to a percent, which takes a tenth of the time.
    """
    if family == "approximate_dp":
        return last(lambda epsilon: refuted(_two_lines(epsilon, delta)))
    mu = last(lambda mu: refuted(lambda tpr: float(ndtr(ndtri(tpr) - mu))))
    return gdp_epsilon(mu, delta) if isinstance(family, str) else _of_event(family, refuted, delta, mu, roughly)


def last(holds: Callable[[float], bool], low: float = 0.0, high: float | None = None) -> float:
    """The largest x >= low at which `holds` does, from below, to 1e-9 of it or of 1; `low` where it does nowhere.

    Args:
        holds: true up to some x and false beyond.
        low: where the search starts.
        high: where `holds` is known not to; searched for where None.
    """
    if not holds(low):
        return low
    if high is None:
        high = low + 1.0
        while holds(high):
            low, high = high, 2 * high
    while high - low > 1e-9 * max(high, 1.0):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _two_lines(epsilon: float, delta: float) -> Inverse:
    """The inverse of min(e^epsilon x + delta, 1 - e^-epsilon (1 - delta - x))."""
    grow = math.exp(min(epsilon, LARGEST))
    return lambda tpr: max((tpr - delta) / grow, 1 - delta - grow * (1 - tpr), 0.0)


def _lines(epsilons: np.ndarray, deltas: np.ndarray) -> Inverse:
    """The inverse of the least of many such curves."""
    kept = epsilons <= LARGEST
    deltas, shrink, grow = deltas[kept], np.exp(-epsilons[kept]), np.exp(epsilons[kept])

    def inverse(tpr: float) -> float:
        lower = np.max(shrink * (tpr - deltas), initial=0.0)
        return float(np.max(1 - deltas - grow * (1 - tpr), initial=lower))

    return inverse


def _of_event(event: DPEvent, refuted: Refuted, delta: float, mu: float, roughly: bool) -> float:
    """The least noise that is refuted, in powers of `STEP` from where the central limit theorem sees `mu`."""
    if mu == 0:
        return 0.0  # not even the curve of a training that leaks nothing is refuted
    share = mu / (event.sampling_rate * math.sqrt(event.steps))
    start = 1 / math.sqrt(math.log1p(share**2))

    def noisy(power: int) -> DPEvent:
        return event._replace(noise_multiplier=start * STEP**power)

    def coarse(power: int) -> float:
        return max(2e-3, 1e-3 * accounting.epsilon(noisy(power), delta, accountant="rdp"))

    def is_refuted(power: int) -> bool:  # a coarser grid makes the curve looser: it is refuted less often
        return refuted(_lines(*accounting.privacy_curve(noisy(power), coarse(power))))

    high, jump = 0, 4
    while not is_refuted(high):
        high, jump = high + jump, 2 * jump
        if high > MOST:
            return 0.0
    low, jump = (high - jump // 2, 0) if high else (-4, 8)  # the noise before was not refuted
    while jump and is_refuted(low):
        low, high, jump = low - jump, low, 2 * jump
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_refuted(middle) else (middle, high)
    return accounting.epsilon(noisy(high), delta, grid=coarse(high) if roughly else accounting.GRID)

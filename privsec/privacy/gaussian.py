"""Epsilon of the Gaussian mechanism."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.special import erfcx, ndtr, ndtri

from privsec.core.errors import ConfigError

ROOT_TAU = math.sqrt(2 * math.pi)


def gdp_epsilon(mu: float, delta: float) -> float:
    """The least epsilon at which a mu-GDP mechanism (N(0, 1) against N(mu, 1)) is (epsilon, delta)-DP.

    delta = Phi(-u) - e^epsilon Phi(-u - mu) with u = epsilon / mu - mu / 2. As e^epsilon phi(u + mu) = phi(u), this is
    phi(u) (R(u) - R(u + mu)) with Mills' ratio R: no e^epsilon is ever formed, and u, not epsilon, is solved for.

    Args:
        mu: distance of the means in standard deviations, >= 0.
        delta: in [0, 1).

    Returns:
        Epsilon >= 0; 0 where mu is, infinite for delta = 0 < mu. Exact to rounding from mu = 1e-6 to 1e6.

    Raises:
        ConfigError: an argument out of range.

    >>> round(gdp_epsilon(1.0, 1e-5), 4), gdp_epsilon(0.0, 1e-5)
    (4.3772, 0.0)

    References: Dong et al. 2019, arXiv 1905.02383, corollary 2.13; Balle & Wang 2018, arXiv 1805.06530.
    """
    if not (0 <= mu < math.inf and 0 <= delta < 1):
        raise ConfigError(f"mu is a finite distance >= 0 and delta a probability in [0, 1); got {mu} and {delta}")
    if mu == 0 or _log_delta(-mu / 2, mu) <= (math.log(delta) if delta else -math.inf):
        return 0.0
    if delta == 0:
        return math.inf
    u = brentq(lambda u: _log_delta(u, mu) - math.log(delta), -mu / 2, -ndtri(delta), xtol=1e-13)
    return max(mu * (u + mu / 2), 0.0)  # type: ignore[operator]


def _log_delta(u: float, mu: float) -> float:
    beyond = _mills(u + mu)
    if u < -5:  # where Mills' ratio grows without bound, and Phi(-u) is nearly 1
        return math.log(ndtr(-u) - math.exp(-u * u / 2) / ROOT_TAU * beyond)
    # Two nearly equal ratios would lose their digits: R' = x R - 1 instead.
    fall = _mills(u) - beyond if mu > 1e-5 else mu * (1 - (u + mu / 2) * _mills(u + mu / 2))
    return -u * u / 2 - math.log(ROOT_TAU) + math.log(fall)


def _mills(x: float) -> float:
    """Phi(-x) / phi(x)."""
    return math.sqrt(math.pi / 2) * float(erfcx(x / math.sqrt(2)))

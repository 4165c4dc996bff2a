"""How often a record can be reconstructed from what was released, whatever the attack.

An attacker who knows every other record, and of the one in question only that it was drawn from some prior, names a
record; the attack succeeds where the two are close. Without looking at the release the best guess succeeds with
probability `kappa` (1 / m for an exact match among m equally likely candidates). Each function here bounds the
probability of success *with* the release by what is known of the mechanism, adding or removing one record.

Why: "the guess is close" is an event; without the record it has probability kappa on average over the prior, and a
trade-off curve f lets it have at most 1 - f(kappa) with it, as 1 - f is concave (Jensen). The bounds at `kappa` are
therefore those on the true positive rate of a membership attack at that false positive rate.

References:
    Balle, Cherubin, Hayes 2022, "Reconstructing training data with informed adversaries", arXiv 2201.04845.
    Hayes, Mahloujifar, Balle 2023, "Bounding training data reconstruction in DP-SGD", arXiv 2302.07225.
    Kaissis et al. 2023, "Bounding data reconstruction attacks with the hypothesis testing interpretation of
    differential privacy", arXiv 2307.03928.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.privacy.accounting import GRID, tpr_bound, trade_off_bound


def bound_from_dp(epsilon: ArrayLike, delta: ArrayLike, kappa: ArrayLike) -> np.ndarray:
    """The largest success probability against an (epsilon, delta)-DP release.

    min(1, e^epsilon kappa + delta, 1 - e^-epsilon (1 - delta - kappa)); the published bound is the first line.

    Args:
        epsilon: >= 0, `inf` allowed; broadcasts against the others.
        delta: in [0, 1].
        kappa: success probability without the release, in [0, 1].

    Returns:
        Probabilities in [kappa, 1], float64, of the broadcast shape; they do not fall as an argument grows.

    Raises:
        ConfigError: an argument out of range.

    >>> bound_from_dp(1.0, 0.0, [0.001, 0.01, 0.1]).round(4).tolist()
    [0.0027, 0.0272, 0.2718]
    """
    return tpr_bound(_non_negative("epsilon", epsilon), _share("delta", delta), _share("kappa", kappa))


def bound_from_rdp(orders: ArrayLike, divergences: ArrayLike, kappa: ArrayLike) -> np.ndarray:
    """The largest success probability against a release with Rényi divergences `divergences` at `orders`.

    min over the orders a of (kappa e^divergence)^((a - 1) / a).

    Args:
        orders: [A], each > 1.
        divergences: [A], in nats, >= 0, `inf` allowed; as `accounting.renyi_divergences` gives them.
        kappa: success probability without the release, in [0, 1], any shape.

    Returns:
        Probabilities in [kappa, 1], float64, shaped like `kappa`.

    Raises:
        ConfigError: an argument out of range, or not one divergence an order.

    >>> bound_from_rdp([2.0, 4.0], [1.0, 2.0], [0.001, 0.01]).round(4).tolist()
    [0.0252, 0.1417]
    """
    kappa = _share("kappa", kappa)
    orders, divergences = np.asarray(orders, np.float64), _non_negative("a divergence", divergences)
    if orders.ndim != 1 or orders.shape != divergences.shape or not (orders > 1).all():
        given = f"{orders.tolist()} and {divergences.tolist()}"
        raise ConfigError(f"Rényi bounds take one divergence for each order, and orders above 1; got {given}")
    finite = np.isfinite(divergences)  # the others bound nothing, not even where kappa is 0
    orders, divergences = orders[finite], divergences[finite]
    exponents = (1 - 1 / orders) * (_log(kappa)[..., None] + divergences)
    return _within(kappa, np.exp(exponents.min(axis=-1, initial=0.0)))


def bound_from_zcdp(rho: ArrayLike, kappa: ArrayLike) -> np.ndarray:
    """The largest success probability against a rho-zCDP release.

    exp(-(sqrt(ln 1/kappa) - sqrt(rho))^2) where ln 1/kappa > rho, else 1: the Rényi bound at the best order.

    Args:
        rho: >= 0, `inf` allowed; broadcasts against `kappa`.
        kappa: success probability without the release, in [0, 1].

    Returns:
        Probabilities in [kappa, 1], float64, of the broadcast shape.

    Raises:
        ConfigError: an argument out of range.

    >>> bound_from_zcdp(0.5, [0.001, 0.01, 0.1]).round(4).tolist()
    [0.025, 0.1261, 0.5186]
    """
    rho, kappa = _non_negative("rho", rho), _share("kappa", kappa)
    needed = -_log(kappa)
    with np.errstate(invalid="ignore"):  # inf - inf, in the branch that is not taken
        below = np.exp(-np.square(np.sqrt(needed) - np.sqrt(rho)))
    return _within(kappa, np.where((needed > rho) & np.isfinite(rho), below, 1.0))


def bound_from_gdp(mu: ArrayLike, kappa: ArrayLike) -> np.ndarray:
    """The largest success probability against a mu-GDP release.

    Phi(mu + Phi^-1(kappa)); reached by the Gaussian mechanism and a prior on two opposite records.

    Args:
        mu: >= 0, `inf` allowed; sensitivity over noise for one Gaussian mechanism; broadcasts against `kappa`.
        kappa: success probability without the release, in [0, 1].

    Returns:
        Probabilities in [kappa, 1], float64, of the broadcast shape.

    Raises:
        ConfigError: an argument out of range.

    >>> bound_from_gdp(1.0, [0.001, 0.01, 0.1]).round(4).tolist()
    [0.0183, 0.0924, 0.3891]
    """
    from scipy.special import ndtr, ndtri

    mu, kappa = _non_negative("mu", mu), _share("kappa", kappa)
    with np.errstate(invalid="ignore"):  # inf - inf, replaced
        return _within(kappa, np.where(np.isinf(mu), 1.0, ndtr(mu + ndtri(kappa))))


def bound_from_event(event: DPEvent, kappa: ArrayLike, *, grid: float = GRID) -> np.ndarray:
    """The largest success probability against the model that the training `event` releases.

    From the trade-off curve of all its steps together: the tightest of these bounds where it can be had.

    Args:
        event: the training.
        kappa: success probability without the release, in [0, 1], any shape.
        grid: spacing of the discretized privacy loss in nats, as in `accounting.epsilon`.

    Returns:
        Probabilities in [kappa, 1], float64, shaped like `kappa`; 1 where there is no noise.

    Raises:
        ConfigError: an argument out of range.
    """
    return trade_off_bound(event, _share("kappa", kappa), grid=grid)


def _within(kappa: np.ndarray, bound: np.ndarray) -> np.ndarray:
    return np.clip(bound, kappa, 1.0)


def _log(kappa: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(kappa)


def _share(name: str, given: ArrayLike) -> np.ndarray:
    given = np.asarray(given, np.float64)
    if not ((given >= 0) & (given <= 1)).all():
        raise ConfigError(f"{name} is a probability in [0, 1], got {given.tolist()}")
    return given


def _non_negative(name: str, given: ArrayLike) -> np.ndarray:
    given = np.asarray(given, np.float64)
    if not (given >= 0).all():
        raise ConfigError(f"{name} cannot be negative or NaN, got {given.tolist()}")
    return given

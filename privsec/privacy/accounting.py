"""What a training costs in privacy: epsilon of Poisson-subsampled Gaussian steps, and what it allows an attacker."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent

GRID = 1e-4
"""Spacing, in nats of privacy loss, at which epsilon is reported."""
RELATIVE_GRID = 5e-6
"""The spacing is never finer than this share of the RDP epsilon: a loss of thousands of nats would fill the memory."""
HOPELESS = 1e4
"""An RDP epsilon beyond this is not made tighter: it is no guarantee either way."""

HIGHEST = 600.0
"""The privacy curve is not read beyond this epsilon, whose exponential would overflow: a bound from less is looser."""


def epsilon(event: DPEvent, delta: float, *, accountant: Literal["pld", "rdp"] = "pld", grid: float = GRID) -> float:
    """An upper bound on the epsilon that the training `event` spends at `delta`, adding or removing one record.

    The least epsilon with sup_S P(S) - e^epsilon Q(S) <= delta, for the outputs of all steps together under neighboring
    data sets (P, Q) and (Q, P).

    Args:
        event: `steps` Gaussian mechanisms, each on a Poisson sample.
        delta: in [0, 1); a Gaussian mechanism has no finite epsilon at delta 0.
        accountant: `"pld"` composes the privacy loss distribution numerically, rounded so that epsilon errs upwards
            only; `"rdp"` is quicker and looser. The first never returns more than the second, as both are bounds.
        grid: spacing of the discretized privacy loss in nats; a coarser one is quicker and looser.

    Returns:
        Epsilon: 0 where nothing is spent (no steps, rate 0), `inf` where there is no guarantee (no noise).

    Raises:
        ConfigError: a rate outside [0, 1], negative noise or steps, or a delta outside [0, 1).

    >>> round(epsilon(DPEvent(sampling_rate=0.01, noise_multiplier=1.0, steps=1000), 1e-5, accountant="rdp"), 3)
    2.101

    References: Koskela et al. 2020, arXiv 1906.03049; Doroshenko et al. 2022, arXiv 2207.04380 (PLD); Mironov et al.
    2019, arXiv 1908.10530 (RDP of the sampled Gaussian).
    """
    _check(event)
    if not 0 <= delta < 1:
        raise ConfigError(f"delta is a probability in [0, 1), got {delta}; write for example 1e-5")
    if event.sampling_rate * event.steps == 0:
        return 0.0
    if event.noise_multiplier == 0:
        return math.inf
    renyi = float(_renyi(event).get_epsilon(delta))
    if accountant == "rdp" or renyi > HOPELESS:
        return renyi
    return min(renyi, float(_privacy_loss(event, grid).get_epsilon(delta)))


def tpr_bound(epsilon: ArrayLike, delta: ArrayLike, fpr: ArrayLike) -> np.ndarray:
    """The largest TPR that any membership attack can reach at `fpr` against an (epsilon, delta)-DP training.

    min(1, e^epsilon fpr + delta, 1 - e^-epsilon (1 - delta - fpr)): what is left of the ROC plane. The attack's
    advantage is then at most (TPR - fpr) / (1 - fpr).

    Args:
        epsilon: >= 0, `inf` allowed; broadcasts against the others.
        delta: in [0, 1].
        fpr: false positive rates in [0, 1].

    Returns:
        True positive rates in [fpr, 1], float64, of the broadcast shape.

    >>> float(tpr_bound(0.0, 0.0, 0.01)), round(float(tpr_bound(1.0, 1e-5, 0.01)), 4)
    (0.01, 0.0272)

    References: Kairouz et al. 2015, arXiv 1311.0776.
    """
    epsilon, delta, fpr = (np.asarray(given, np.float64) for given in (epsilon, delta, fpr))
    growth = np.exp(np.minimum(epsilon, 700.0))
    ceiling = np.minimum(growth * fpr + delta, 1 - (1 - delta - fpr) / growth)
    return np.where(np.isinf(epsilon), 1.0, np.clip(ceiling, fpr, 1.0))


def advantage_bound(epsilon: ArrayLike, delta: ArrayLike) -> np.ndarray:
    """The largest TPR - FPR that any membership attack can reach, at any threshold, against (epsilon, delta)-DP.

    (e^epsilon - 1 + 2 delta) / (e^epsilon + 1), where the two lines of `tpr_bound` meet.

    Args:
        epsilon: >= 0, `inf` allowed; broadcasts against `delta`.
        delta: in [0, 1].

    Returns:
        Advantages in [0, 1], float64, of the broadcast shape.

    >>> float(advantage_bound(0.0, 0.0)), round(float(advantage_bound(1.0, 1e-5)), 4)
    (0.0, 0.4621)

    References: Kairouz et al. 2015, arXiv 1311.0776; Humphries et al. 2020, arXiv 2010.12112.
    """
    epsilon, delta = np.asarray(epsilon, np.float64), np.asarray(delta, np.float64)
    strength = np.tanh(epsilon / 2)
    return strength + delta * (1 - strength)


def trade_off_bound(event: DPEvent, fpr: ArrayLike, *, grid: float = GRID) -> np.ndarray:
    """The largest TPR that any membership attack can reach at `fpr` against the training `event` itself.

    The intersection of the (epsilon, delta(epsilon)) regions of `tpr_bound` over the mechanism's whole privacy
    curve; much tighter than any single (epsilon, delta) statement about it.

    Args:
        event: the training.
        fpr: false positive rates in [0, 1], any shape.
        grid: as in `epsilon`.

    Returns:
        True positive rates in [fpr, 1], float64, shaped like `fpr`; `fpr` itself where nothing is spent, 1 where there
        is no noise.

    References: Dong et al. 2019, arXiv 1905.02383.
    """
    fpr = np.asarray(fpr, np.float64)
    epsilons, deltas = privacy_curve(event, grid)
    return tpr_bound(epsilons, deltas, fpr[..., None]).min(axis=-1)


def trade_off_advantage(event: DPEvent, *, grid: float = GRID) -> float:
    """The largest TPR - FPR that any membership attack can reach, at any threshold, against the training `event`.

    It is delta(0), the total variation between the outputs with and without the record; never more than what
    `advantage_bound` makes of a single (epsilon, delta) of the same training.

    Args:
        event: the training.
        grid: as in `epsilon`.

    References: Dong et al. 2019, arXiv 1905.02383.
    """
    return float(privacy_curve(event, grid)[1][0])


def renyi_divergences(event: DPEvent) -> tuple[np.ndarray, np.ndarray]:
    """The Rényi orders (> 1) that are looked at, and the divergence in nats that the training `event` keeps at each.

    Infinite where there is no noise, or where the accountant's series does not converge.

    Raises:
        ConfigError: as `epsilon`.

    References: Mironov et al. 2019, arXiv 1908.10530.
    """
    from dp_accounting import rdp

    _check(event)
    if event.sampling_rate * event.steps > 0 and event.noise_multiplier > 0:
        composed = _renyi(event)
        return np.asarray(composed.orders, np.float64), np.asarray(composed.rdp, np.float64)
    orders = np.asarray(rdp.RdpAccountant().orders, np.float64)
    return orders, np.full_like(orders, math.inf if event.sampling_rate * event.steps > 0 else 0.0)


@functools.lru_cache(maxsize=16)
def privacy_curve(event: DPEvent, grid: float) -> tuple[np.ndarray, np.ndarray]:
    """The privacy curve of `event`: epsilons from 0 upward and the delta of each.

    One pair only where there is no curve: (0, 0) where nothing is spent, (0, 1) where no guarantee is left.
    """
    largest = epsilon(event, 1e-9, grid=grid)
    if largest > HOPELESS or event.sampling_rate * event.steps == 0:
        return np.zeros(1), np.array([float(largest > 0)])
    epsilons = np.linspace(0.0, min(largest, HIGHEST), 1024)
    return epsilons, np.minimum(_privacy_loss(event, grid).get_delta(epsilons), 1.0)


def _check(event: DPEvent) -> None:
    if not 0 <= event.sampling_rate <= 1:
        raise ConfigError(f"a sampling rate is batch_size / records, in [0, 1]; got {event.sampling_rate}")
    if not (event.noise_multiplier >= 0 and event.steps >= 0):
        raise ConfigError(f"the noise multiplier and the number of steps cannot be negative; got {event}")


def _composed(accountant: Any, event: DPEvent) -> Any:
    import dp_accounting

    step = dp_accounting.PoissonSampledDpEvent(
        event.sampling_rate, dp_accounting.GaussianDpEvent(event.noise_multiplier)
    )
    return accountant.compose(dp_accounting.SelfComposedDpEvent(step, int(event.steps)))


@functools.lru_cache(maxsize=64)
def _renyi(event: DPEvent) -> Any:
    from dp_accounting import rdp

    with _quiet():
        return _composed(rdp.RdpAccountant(), event)


@functools.lru_cache(maxsize=4)
def _privacy_loss(event: DPEvent, grid: float) -> Any:
    from dp_accounting import pld

    # At delta 1e-5, whatever the question: the grid, and so the curve, belongs to the event alone.
    spacing = max(grid, RELATIVE_GRID * float(_renyi(event).get_epsilon(1e-5)))
    return _composed(pld.PLDAccountant(value_discretization_interval=spacing), event)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the note about Rényi orders whose series does not converge: they are left out, the bound holds."""
    logger = logging.getLogger("absl")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled

"""What can be released from a data set under differential privacy, and what several releases cost together.

Everything is for adding or removing one record. A noise multiplier is in units of the sensitivity: the most by which
one record, added or removed, moves what the noise is added to.
"""

from __future__ import annotations

import abc
import functools
import math
from collections import Counter
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.core.spec import Spec
from privsec.privacy import accounting

ROUNDING = 1e-12
"""A delta that was spent to the last digit is not overspent by rounding."""
Accountant = Literal["basic", "pld", "rdp"]
ACCOUNTANTS: dict[Accountant, str] = {
    "basic": "the sum of epsilons",
    "pld": "privacy loss distributions",
    "rdp": "Rényi divergences",
}
"""What the accountants are called in text."""


class Spent(NamedTuple):
    """What releases cost together: an upper bound on epsilon at `delta`, and the accountant that found it."""

    epsilon: float
    delta: float
    accountant: Accountant


class Release(Spec):
    """Base of all releases.

    With probability `failure` a release may reveal everything. Otherwise it keeps a pure epsilon, Rényi divergences and
    a privacy loss distribution, as far as it has them.
    """

    @property
    def failure(self) -> float:
        """The probability of no guarantee at all: the delta of an (epsilon, delta) release."""
        return 0.0

    @property
    def pure(self) -> float:
        """The epsilon it keeps but for `failure`; infinite where delta must be paid for any."""
        return math.inf

    @abc.abstractmethod
    def renyi(self, orders: np.ndarray) -> np.ndarray:
        """Rényi divergences in nats at `orders`, but for `failure`; infinite where there is no guarantee."""

    def loss(self, spacing: float) -> Any:
        """The privacy loss distribution but for `failure`, rounded up to multiples of `spacing`; None without one."""
        del spacing
        return None


class SampledGaussian(Release):
    """A training with DP-SGD: Gaussian noise on sums over Poisson samples, step after step."""

    name: Literal["sampled_gaussian"] = "sampled_gaussian"
    sampling_rate: float = Field(gt=0, le=1)
    """Probability with which a step sees a record."""
    noise_multiplier: float = Field(ge=0, allow_inf_nan=False)
    """Noise standard deviation over clip norm; 0 is a training without a guarantee."""
    steps: int = Field(ge=1)
    """Number of steps."""

    @classmethod
    def of(cls, event: DPEvent) -> SampledGaussian:
        """The release of a model trained as `event` says, e.g. of a Recipe's `dp_event`."""
        return cls(**event._asdict())

    def renyi(self, orders: np.ndarray) -> np.ndarray:
        del orders  # those of the accountant, as `spent` has them
        event = DPEvent(self.sampling_rate, self.noise_multiplier, self.steps)
        return accounting.renyi_divergences(event)[1]

    def loss(self, spacing: float) -> Any:
        return (
            _distributions()
            .from_gaussian_mechanism(
                self.noise_multiplier, sampling_prob=self.sampling_rate, value_discretization_interval=spacing
            )
            .self_compose(self.steps)
        )


class GaussianMechanism(Release):
    """Statistics released with Gaussian noise, calibrated to their L2 sensitivity."""

    name: Literal["gaussian"] = "gaussian"
    noise_multiplier: float = Field(gt=0, allow_inf_nan=False)
    """Noise standard deviation over L2 sensitivity."""
    count: int = Field(default=1, ge=1)
    """How many such releases."""

    def renyi(self, orders: np.ndarray) -> np.ndarray:
        return self.count * orders / (2 * self.noise_multiplier**2)

    def loss(self, spacing: float) -> Any:
        return _distributions().from_gaussian_mechanism(
            self.noise_multiplier / math.sqrt(self.count), value_discretization_interval=spacing
        )


class LaplaceMechanism(Release):
    """Statistics released with Laplace noise, calibrated to their L1 sensitivity."""

    name: Literal["laplace"] = "laplace"
    noise_multiplier: float = Field(gt=0, allow_inf_nan=False)
    """Scale of the Laplace noise over L1 sensitivity: one over epsilon."""
    count: int = Field(default=1, ge=1)
    """How many such releases."""

    @property
    def pure(self) -> float:
        return self.count / self.noise_multiplier

    def renyi(self, orders: np.ndarray) -> np.ndarray:
        import dp_accounting
        from dp_accounting import rdp

        each = dp_accounting.LaplaceDpEvent(self.noise_multiplier)
        return np.asarray(rdp.RdpAccountant(orders.tolist()).compose(each, self.count).rdp)

    def loss(self, spacing: float) -> Any:
        return (
            _distributions()
            .from_laplace_mechanism(self.noise_multiplier, value_discretization_interval=spacing)
            .self_compose(self.count)
        )


class ApproximateDP(Release):
    """A release of which only its (epsilon, delta) is known."""

    name: Literal["approximate_dp"] = "approximate_dp"
    epsilon: float = Field(ge=0)
    """Infinite for a release without a guarantee, such as a model trained without noise."""
    delta: float = Field(default=0.0, ge=0, lt=1)
    """The probability with which even that epsilon is not kept."""

    @property
    def failure(self) -> float:
        return self.delta

    @property
    def pure(self) -> float:
        return self.epsilon

    # Nothing that is (epsilon, 0)-DP tells more than randomized response does (Kairouz et al. 2015, arXiv 1311.0776).

    def renyi(self, orders: np.ndarray) -> np.ndarray:
        if math.isinf(self.epsilon):
            return np.full_like(orders, math.inf)
        truth = -np.logaddexp(0.0, -self.epsilon)
        lie = truth - self.epsilon
        likely = np.logaddexp(orders * truth + (1 - orders) * lie, orders * lie + (1 - orders) * truth)
        return np.maximum(likely, 0.0) / (orders - 1)

    def loss(self, spacing: float) -> Any:
        truth = 1 / (1 + math.exp(-self.epsilon))
        masses: Counter = Counter()
        masses[math.ceil(self.epsilon / spacing)] += truth  # type: ignore[assignment]
        masses[math.ceil(-self.epsilon / spacing)] += 1 - truth  # type: ignore[assignment]
        return _distributions().PrivacyLossDistribution.create_from_rounded_probability(masses, 0.0, spacing)


class ZeroConcentratedDP(Release):
    """A release of which only its rho-zCDP is known. A Gaussian mechanism is better recorded as one."""

    name: Literal["zcdp"] = "zcdp"
    rho: float = Field(ge=0)
    """The Rényi divergence at every order a is at most rho a."""

    def renyi(self, orders: np.ndarray) -> np.ndarray:
        return self.rho * orders


AnyRelease = Annotated[
    SampledGaussian | GaussianMechanism | LaplaceMechanism | ApproximateDP | ZeroConcentratedDP,
    Field(discriminator="name"),
]
"""Any of the releases, as a field of another Spec."""


@functools.lru_cache(maxsize=256)
def spent(releases: tuple[Release, ...], delta: float) -> Spent:
    """An upper bound on the epsilon that all `releases` of one data set cost together at `delta`.

    The least of three: the sum of pure epsilons; the sum of Rényi divergences; the composed privacy loss distribution,
    where every release has one (all but zCDP). The failure probabilities of (epsilon, delta) releases are taken off
    delta first: 1 - prod(1 - delta_i), the other accountants share what is left.

    Each release may depend on the answers of those before it, but how much noise it has must not.

    Args:
        releases: in any order; none costs nothing.
        delta: in [0, 1); 0 only suits releases with a pure epsilon.

    Returns:
        Epsilon, infinite where there is no guarantee at this delta.

    Raises:
        ConfigError: a delta outside [0, 1).

    >>> spent((LaplaceMechanism(noise_multiplier=2.0), ApproximateDP(epsilon=0.5)), 0.0)
    Spent(epsilon=1.0, delta=0.0, accountant='basic')

    References: Kairouz et al. 2015, arXiv 1311.0776; Bun & Steinke 2016, arXiv 1605.02065 (zCDP); those of
    `privacy/accounting.py`; Rogers et al. 2016, arXiv 1605.08294 (noise chosen by looking at answers).
    """
    if not 0 <= delta < 1:
        raise ConfigError(f"delta is a probability in [0, 1), got {delta}; write for example 1e-5")
    failure = -math.expm1(sum(math.log1p(-release.failure) for release in releases))
    if failure > delta * (1 + ROUNDING):
        return Spent(math.inf, delta, "basic")
    left = max(delta - failure, 0.0) / (1 - failure)
    found = Spent(sum((release.pure for release in releases), 0.0), delta, "basic")
    if left == 0 or found.epsilon == 0:
        return found
    renyi = _renyi_epsilon(releases, left)
    found = min(found, Spent(renyi, delta, "rdp"))
    if renyi <= accounting.HOPELESS:
        found = min(found, Spent(_loss_epsilon(releases, left), delta, "pld"))
    return found


def _renyi_epsilon(releases: tuple[Release, ...], delta: float) -> float:
    from dp_accounting import rdp

    orders = np.asarray(rdp.RdpAccountant().orders, np.float64)
    divergences = np.sum([release.renyi(orders) for release in releases], axis=0)
    return float(rdp.compute_epsilon(orders.tolist(), divergences.tolist(), delta)[0])


def _loss_epsilon(releases: tuple[Release, ...], delta: float) -> float:
    # At delta 1e-5, whatever the question, as for a single training: the grid belongs to the releases alone.
    spacing = max(accounting.GRID, accounting.RELATIVE_GRID * _renyi_epsilon(releases, 1e-5))
    composed = _distributions().identity(value_discretization_interval=spacing)
    for release, times in Counter(releases).items():
        one = release.loss(spacing)
        if one is None:
            return math.inf
        composed = composed.compose(one.self_compose(times))
    return float(composed.get_epsilon_for_delta(delta))


def _distributions() -> Any:
    from dp_accounting.pld import privacy_loss_distribution

    return privacy_loss_distribution

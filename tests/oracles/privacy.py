"""Hockey-stick divergences by their definition."""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm


def gaussian_delta(epsilon, sigma):
    """delta(epsilon) of one Gaussian mechanism of sensitivity 1."""
    mu = 1 / sigma
    return norm.cdf(mu / 2 - epsilon / mu) - np.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)


def subsampled_delta(epsilon, sigma, rate):
    """delta(epsilon) of one Gaussian mechanism on a Poisson sample: the worse of adding and removing a record."""

    def without(t):
        return norm.pdf(t, 0, sigma)

    def with_record(t):
        return (1 - rate) * norm.pdf(t, 0, sigma) + rate * norm.pdf(t, 1, sigma)

    t = np.linspace(-12 * sigma, 1 + 12 * sigma, 200_001)

    def divergence(p, q):
        return np.trapezoid(np.maximum(p(t) - np.exp(epsilon) * q(t), 0), t)

    return max(divergence(with_record, without), divergence(without, with_record))


def epsilon_at(delta, curve, largest=200.0):
    """The epsilon at which the decreasing `curve` meets delta."""
    return brentq(lambda epsilon: curve(epsilon) - delta, 0.0, largest, xtol=1e-10)


def sampled_renyi(order, sigma, rate):
    """Rényi divergence of a Gaussian mechanism on a Poisson sample from the one without the record: the larger one."""
    t = np.linspace(-20 * sigma, 20 * sigma + order, 400_001)
    ratio = np.log1p(rate * np.expm1((t - 0.5) / sigma**2))
    return np.log(np.trapezoid(np.exp(norm.logpdf(t, 0, sigma) + order * ratio), t)) / (order - 1)

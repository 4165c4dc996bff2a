"""How often the best attacks on toy mechanisms name the right one of m candidate records."""

import numpy as np
from scipy.integrate import quad
from scipy.stats import norm


def hits_on_a_gaussian(candidates, sigma, trials, rng):
    """Times that maximum likelihood finds which of the `candidates` [m, d], equally likely, was released in noise."""
    chosen = rng.integers(len(candidates), size=trials)
    released = candidates[chosen] + rng.normal(0, sigma, (trials, candidates.shape[1]))
    likelihood = released @ candidates.T - (candidates**2).sum(1) / 2
    return int((likelihood.argmax(1) == chosen).sum())


def hits_on_sampled_steps(count, rate, sigma, steps, trials, rng):
    """The same for one of `count` orthogonal unit records in `steps` noisy sums over Poisson samples."""
    chosen = rng.integers(count, size=trials)
    seen = rng.random((trials, steps)) < rate
    released = rng.normal(0, sigma, (trials, steps, count))
    released[np.arange(trials)[:, None], np.arange(steps), chosen[:, None]] += seen
    # log of (1 - q) + q N(y; e_k, s^2) / N(y; 0, s^2), summed over steps
    likelihood = np.log1p(rate * np.expm1((released - 0.5) / sigma**2)).sum(1)
    return int((likelihood.argmax(1) == chosen).sum())


def success_on_opposites(rate, sigma):
    """Bayes success for one of two opposite unit records in one noisy sum over a Poisson sample, by integration."""

    def density(y, record):
        return (1 - rate) * norm.pdf(y, 0, sigma) + rate * norm.pdf(y, record, sigma)

    return 0.5 * quad(lambda y: max(density(y, 1), density(y, -1)), -1 - 12 * sigma, 1 + 12 * sigma, points=[0])[0]

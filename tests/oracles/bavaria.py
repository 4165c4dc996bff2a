"""Slow, obvious BaVarIA: one target and one record at a time, densities from SciPy; no code shared with privsec."""

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import polygamma

from tests.oracles.membership import references_of


def decreasing(values):
    """The nearest sequence that never rises, by its minimax formula."""
    size = len(values)
    return [min(max(np.mean(values[a : b + 1]) for b in range(i, size)) for a in range(i + 1)) for i in range(size)]


def by_level(level, values, at=None, of=np.mean, never_rising=False):
    """Averages of groups of equal size, 20 records at least and 10 groups at most, joined by straight lines."""
    order = np.argsort(level, kind="stable")
    groups = np.array_split(order, max(1, min(10, len(level) // 20)))
    centers, heights = [np.mean(level[g]) for g in groups], [of(values[g]) for g in groups]
    if never_rising:
        heights = [max(height, 0.0) for height in decreasing(heights)]
    answer = []
    for x in level if at is None else at:
        if x <= centers[0] or len(centers) == 1:
            answer.append(heights[0])
        elif x >= centers[-1]:
            answer.append(heights[-1])
        else:
            k = next(k for k in range(1, len(centers)) if x <= centers[k])
            share = (x - centers[k - 1]) / (centers[k] - centers[k - 1])
            answer.append((1 - share) * heights[k - 1] + share * heights[k])
    return np.array(answer)


def floored(variance):
    return np.maximum(variance, max(0.01 * variance.mean(), 1e-12))


def noise_by_level(level, squares, freedom):
    common = squares.sum() / freedom.sum()
    return floored((by_level(level, squares) + 1e-3 * common) / (by_level(level, freedom) + 1e-3))


def weight(squares, freedom):
    """a with trigamma(a) = what the log variances vary beyond chance, by root finding, between 1.5 and 50."""
    logs = np.log(squares / freedom)
    excess = logs.var() - polygamma(1, freedom / 2).mean()
    if excess <= polygamma(1, 50.0):
        return 50.0
    if excess >= polygamma(1, 1.5):
        return 1.5
    return brentq(lambda a: polygamma(1, a) - excess, 1.5, 50.0)


def answers(t, references, included, usable):
    found = [references_of(t, n, references, included, usable) for n in range(references.shape[1])]
    statistics = []
    for which in (0, 1):
        values = [pair[which] for pair in found]
        statistics += [
            np.array([len(v) for v in values], float),
            np.array([v.mean() for v in values]),
            np.array([((v - v.mean()) ** 2).sum() for v in values]),
        ]
    return statistics


def twin_covariance(t, references, included, usable, m_in, m_out):
    """Number of complementary pairs, and for each record the covariance of a pair's IN and OUT answers."""
    mine = np.flatnonzero(usable[t])
    pairs = [(a, b) for a in mine for b in mine if a < b and (included[a] != included[b]).all()]
    total = np.zeros(references.shape[1])
    for a, b in pairs:
        for n in range(len(total)):
            inside, outside = (a, b) if included[a, n] else (b, a)
            total[n] += (references[inside, n] - m_in[n]) * (references[outside, n] - m_out[n])
    return len(pairs), total


def posterior(t, references, included, usable):
    """(mean, squared scale) IN and OUT and the degrees of freedom of each record's predictive distribution.

    The Gaussian conditioning is done by matrices: (level, difference) of the two means, observed with correlated noise.
    """
    n_in, m_in, s_in, n_out, m_out, s_out = answers(t, references, included, usable)
    pairs, product = twin_covariance(t, references, included, usable, m_in, m_out)
    level, difference = (m_in + m_out) / 2, m_in - m_out
    shift = by_level(level, difference, never_rising=True)
    g_in, g_out = noise_by_level(level, s_in, n_in - 1), noise_by_level(level, s_out, n_out - 1)
    twin = by_level(level, product) / (pairs - 1)
    twin = np.clip(twin, -np.sqrt(g_in * g_out), 0) * pairs / (n_in * n_out)
    of_difference = g_in / n_in + g_out / n_out - 2 * twin
    beyond = by_level(level, (difference - shift) ** 2, of=np.median) / stats.chi2.median(1) - of_difference
    k2 = max((beyond * shift**2).sum() / (shift**4).sum(), 0.0)
    squares, freedom = s_in / g_in + s_out / g_out, n_in + n_out - 2
    a = weight(squares, freedom)
    found = []
    for i in range(len(level)):
        # Unknown (u, d), prior: u flat, d ~ N(shift, k2 shift^2); seen: (m_in, m_out) = (u + d/2, u - d/2) + errors.
        design = np.array([[1.0, 0.5], [1.0, -0.5]])
        errors = np.array([[g_in[i] / n_in[i], twin[i]], [twin[i], g_out[i] / n_out[i]]])
        precision = design.T @ np.linalg.inv(errors) @ design + np.diag([0.0, 1 / max(k2 * shift[i] ** 2, 1e-12)])
        left = np.linalg.inv(precision)
        start = np.array([level[i], shift[i]])
        mean = start + left @ design.T @ np.linalg.inv(errors) @ (np.array([m_in[i], m_out[i]]) - design @ start)
        scale = (a + squares[i] / 2) / (a + freedom[i] / 2)
        u, d = mean[0], max(mean[1], 0.0)
        var_in, var_out = (row @ left @ row for row in design)
        found.append(
            (u + d / 2, scale * (g_in[i] + var_in), u - d / 2, scale * (g_out[i] + var_out), 2 * a + freedom[i])
        )
    return found


def rising_ratio(phi, mean_in, scale_in, mean_out, scale_out, freedom, likelihood):
    """The log-ratio, held where it turns: the running extreme on the way from mean_in to phi."""

    def ratio(x):
        if likelihood == "student_t":
            inside, outside = (stats.t(freedom, m, np.sqrt(s)) for m, s in ((mean_in, scale_in), (mean_out, scale_out)))
        else:
            wide = freedom / (freedom - 2)
            inside, outside = (
                stats.norm(m, np.sqrt(s * wide)) for m, s in ((mean_in, scale_in), (mean_out, scale_out))
            )
        return inside.logpdf(x) - outside.logpdf(x)

    way = ratio(np.linspace(mean_in, phi, 4001))
    return way.max() if phi >= mean_in else way.min()


def bavaria(phi, references, included, usable, likelihood="student_t"):
    scores = np.zeros(phi.shape)
    for t in range(len(phi)):
        for n, predictive in enumerate(posterior(t, references, included, usable)):
            scores[t, n] = rising_ratio(phi[t, n], *predictive, likelihood)
    return scores

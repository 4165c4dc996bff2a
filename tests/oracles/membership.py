"""Slow, obvious membership attacks: one target, one record, one reference at a time; no code shared with privsec."""

import math

import numpy as np


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def true_class(logits, y):
    """log p_y and log p_y - log(1 - p_y), [..., N]."""
    log_p = log_softmax(np.asarray(logits, np.float64))
    of_y = np.take_along_axis(log_p, np.broadcast_to(y[:, None], (*log_p.shape[:-1], 1)), -1)[..., 0]
    rest = np.exp(log_p).sum(-1) - np.exp(of_y)
    return of_y, of_y - np.log(rest)


def entropy(logits):
    p = np.exp(log_softmax(np.asarray(logits, np.float64)))
    return -(p * np.log(p)).sum(-1)


def modified_entropy(logits, y):
    p = np.exp(log_softmax(np.asarray(logits, np.float64)))
    total = np.zeros(p.shape[:-1])
    for index in np.ndindex(total.shape):
        for c, q in enumerate(p[index]):
            total[index] -= (1 - q) * math.log(q) if c == y[index[-1]] else q * math.log(1 - q)
    return total


def references_of(t, n, references, included, usable):
    """The values of record n on the references target t may use: (IN, OUT)."""
    inside = [references[m, n] for m in range(len(references)) if usable[t, m] and included[m, n]]
    outside = [references[m, n] for m in range(len(references)) if usable[t, m] and not included[m, n]]
    return np.array(inside, np.float64), np.array(outside, np.float64)


def pooled(t, which, references, included, usable):
    squares = freedom = 0.0
    for n in range(references.shape[1]):
        values = references_of(t, n, references, included, usable)[which]
        if len(values):
            squares += ((values - values.mean()) ** 2).sum()
            freedom += len(values) - 1
    return squares / freedom


def lira(phi, references, included, usable, online, variance, prior_weight=8.0, floor=0.1):
    scores = np.zeros(phi.shape)
    for t in range(len(phi)):
        common = [pooled(t, which, references, included, usable) for which in (0, 1)]
        for record in range(phi.shape[1]):
            found = []
            for values, s2 in zip(references_of(t, record, references, included, usable), common, strict=True):
                n, own = len(values), values.var(ddof=1)
                if variance == "pooled":
                    own = s2
                elif variance == "shrunk":
                    own = (prior_weight * s2 + (n - 1) * own) / (prior_weight + n - 1)
                found.append((values.mean(), max(math.sqrt(own), floor * math.sqrt(s2))))
            (mu_in, s_in), (mu_out, s_out) = found
            if online:
                scores[t, record] = log_normal(phi[t, record], mu_in, s_in) - log_normal(phi[t, record], mu_out, s_out)
            else:
                scores[t, record] = (phi[t, record] - mu_out) / s_out
    return scores


def log_normal(x, mean, deviation):
    return -0.5 * ((x - mean) / deviation) ** 2 - math.log(deviation) - 0.5 * math.log(2 * math.pi)


def rmia_ratio(p, references, included, usable, a=None):
    """r(x), plain probabilities throughout; `a` one a target, None for online."""
    ratio = np.zeros(p.shape)
    for t in range(len(p)):
        for n in range(p.shape[1]):
            inside, outside = references_of(t, n, references, included, usable)
            mean_in = inside.mean() if a is None else a[t] * outside.mean() + 1 - a[t]
            ratio[t, n] = p[t, n] / ((mean_in + outside.mean()) / 2)
    return ratio


def rmia_population_ratio(p, references, usable):
    return np.array([p[t] / references[usable[t]].mean(0) for t in range(len(p))])


def rmia_share(ratio, population, gamma):
    """The N x Z comparison itself."""
    return np.array([(x[:, None] >= gamma * z[None, :]).mean(1) for x, z in zip(ratio, population, strict=True)])


def outdone(phi, references, included, usable):
    """Attack R's count of OUT references with a lower phi, and how many OUT references there are."""
    count, total = np.zeros(phi.shape), np.zeros(phi.shape)
    for t, n in np.ndindex(phi.shape):
        _, outside = references_of(t, n, references, included, usable)
        count[t, n], total[t, n] = (outside < phi[t, n]).sum(), len(outside)
    return count, total


def auc(scores, member):
    """The share of (member, non-member) pairs in the right order, an equal pair counting half."""
    inside, outside = scores[member], scores[~member]
    return ((inside[:, None] > outside).mean() + (inside[:, None] >= outside).mean()) / 2

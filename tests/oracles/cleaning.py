"""What data defenses compute, slowly: by loops, by trying everything, by power iteration."""

from __future__ import annotations

import itertools
import math

import numpy as np


def spectral(representations, y):
    """((R - mean) v)^2 within each class, v by power iteration."""
    scores = np.zeros(len(y))
    for label in set(y.tolist()):
        rows = [i for i in range(len(y)) if y[i] == label]
        r = np.array([representations[i] for i in rows], float)
        r = r - sum(r) / len(r)
        v = np.ones(r.shape[1])
        for _ in range(5000):
            v = r.T @ (r @ v)
            v /= np.sqrt(v @ v)
        for i, row in zip(rows, r, strict=True):
            scores[i] = (row @ v) ** 2
    return scores


def best_halves(x):
    """The 2-partition of least within-cluster squares, of all there are; True for the smaller part."""
    best, found = math.inf, None
    for side in itertools.product([False, True], repeat=len(x)):
        side = np.array(side)
        if side[0] or not side.any():
            continue
        cost = sum(np.sum((part - part.mean(axis=0)) ** 2) for part in (x[side], x[~side]))
        if cost < best:
            best, found = cost, side
    return found if found.mean() <= 0.5 else ~found


def silhouette(x, side):
    values = []
    for i in range(len(x)):
        own = [np.linalg.norm(x[i] - x[j]) for j in range(len(x)) if j != i and side[j] == side[i]]
        other = [np.linalg.norm(x[i] - x[j]) for j in range(len(x)) if side[j] != side[i]]
        if not own:
            values.append(0.0)
            continue
        a, b = np.mean(own), np.mean(other)
        values.append((b - a) / max(a, b))
    return float(np.mean(values))


def confident_joint(p, y):
    """Northcutt's C, record by record."""
    classes = p.shape[1]
    t = [np.mean([p[n, j] for n in range(len(y)) if y[n] == j]) for j in range(classes)]
    joint = np.zeros((classes, classes), int)
    for n in range(len(y)):
        above = [j for j in range(classes) if p[n, j] >= t[j]]
        if above:
            joint[y[n], max(above, key=lambda j: p[n, j])] += 1
    return joint


def neighbor_shares(x, y, k, classes):
    shares = np.zeros((len(x), classes))
    for i in range(len(x)):
        order = sorted((float(np.sum((x[i] - x[j]) ** 2)), j) for j in range(len(x)) if j != i)
        for _, j in order[:k]:
            shares[i, y[j]] += 1 / k
    return shares


def groups(x, radius):
    """The first earlier record that stands for itself and is within `radius`, or oneself."""
    found = []
    for i in range(len(x)):
        near = [j for j in range(i) if found[j] == j and np.linalg.norm(x[i] - x[j]) <= radius]
        found.append(near[0] if near else i)
    return found


def strip_entropy(logits, x, clean):
    """The mean over blends of the entropy over classes, in bits."""
    found = []
    for record in x:
        total = 0.0
        for other in clean:
            blend = np.minimum(record + other, 1) if record.ndim == 3 else (record + other) / 2
            z = logits(blend[None])[0].astype(float)
            p = np.exp(z - z.max())
            p /= p.sum()
            total += -sum(q * math.log2(q) for q in p if q > 0)
        found.append(total / len(clean))
    return np.array(found)


def quantum_entropy(x, alpha):
    """x' Q x, Q by the exponential's power series of a matrix that is never taken apart."""
    n, k = x.shape
    mean = sum(x) / n
    s = sum(np.outer(row - mean, row - mean) for row in x) / n
    norm = max(np.linalg.svd(s)[1])
    exponent = alpha * (s - np.eye(k)) / (norm - 1)
    q, term = np.eye(k), np.eye(k)
    for order in range(1, 400):
        term = term @ exponent / order
        q = q + term
    return np.array([row @ (q / np.trace(q)) @ row for row in x])

"""Slow, obvious forms of what AutoAttack is made of, one record at a time in float64; no code shared with privsec."""

import itertools

import numpy as np
from scipy import optimize


def apgd(loss, clean, start, radius, steps, norm, low=-np.inf, high=np.inf):
    """Every iterate of Auto-PGD as the authors' program walks, and how often it went back to its best one.

    Args:
        loss: x -> (value, gradient).
    """

    def project(x):
        delta = x - clean
        if norm == "linf":
            delta = np.clip(delta, -radius, radius)
        elif np.linalg.norm(delta) > radius:
            delta = delta * radius / np.linalg.norm(delta)
        return np.clip(clean + delta, low, high)

    def direction(gradient):
        return np.sign(gradient) if norm == "linf" else gradient / np.linalg.norm(gradient)

    x = before = best = start
    value, gradient = loss(x)
    top, best_gradient, values = value, gradient, [value]
    eta, since, gap, top_then, halved, returns = 2 * radius, 0, max(int(0.22 * steps), 1), value, True, 0
    visited = [x]
    for step in range(steps):
        z = project(x + eta * direction(gradient))
        share = 0.75 if step else 1.0
        new = project(x + share * (z - x) + (1 - share) * (x - before))
        before, x = x, new
        value, gradient = loss(x)
        visited.append(x)
        values.append(value)
        if value > top:
            top, best, best_gradient = value, x, gradient
        since += 1
        if since == gap:
            recent = values[-gap - 1 :]
            rises = sum(b > a for a, b in itertools.pairwise(recent))
            stuck = rises <= 0.75 * gap or (not halved and top_then >= top)
            if stuck:
                eta, x, gradient, returns = eta / 2, best, best_gradient, returns + 1
            halved, top_then, since = stuck, top, 0
            gap = max(gap - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
    return np.array(visited), returns


def to_plane(x, normal, gap, low, high, norm):
    """The smallest d with <normal, d> = gap and low <= x + d <= high, by linear and quadratic programming; or None."""
    size = len(x)
    if norm == "linf":
        ones = np.ones((size, 1))
        both = np.block([[np.eye(size), -ones], [-np.eye(size), -ones]])
        found = optimize.linprog(
            np.r_[np.zeros(size), 1.0],
            A_ub=both,
            b_ub=np.zeros(2 * size),
            A_eq=np.r_[normal, 0.0][None],
            b_eq=[gap],
            bounds=[*zip(low - x, high - x, strict=True), (0, None)],
        )
        return found.x[:size] if found.status == 0 else None
    found = optimize.minimize(
        lambda d: d @ d,
        np.zeros(size),
        jac=lambda d: 2 * d,
        bounds=list(zip(low - x, high - x, strict=True)),
        constraints={"type": "eq", "fun": lambda d: normal @ d - gap, "jac": lambda d: normal},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    return found.x if found.success else None


def nearest_boundary(weights, x, norm):
    """The distance of x to the decision boundary of a linear classifier without bias, by the formula for planes."""
    z = x @ weights
    own = int(np.argmax(z))
    order = 1 if norm == "linf" else 2
    return min(
        (z[own] - z[other]) / np.linalg.norm(weights[:, own] - weights[:, other], order)
        for other in range(len(z))
        if other != own
    )

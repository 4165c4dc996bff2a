"""Slow, obvious forms of noise robustness, gradient norms and trajectory ratios; no code shared with privsec."""

import math

import jax
import numpy as np


def linear_gradient_norm(kernel, bias, x, y):
    """(|d loss / d kernel and bias|, that of the bias alone) of softmax regression for one record, in float64."""
    z = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64) + np.asarray(bias, np.float64)
    p = np.exp(z - z.max())
    p /= p.sum()
    p[y] -= 1.0
    return math.sqrt((np.outer(x, p) ** 2).sum() + (p**2).sum()), math.sqrt((p**2).sum())


def layer_norms(model, loss, params, x, y):
    """Norm of the gradient of each layer (kernel and bias), one jax.grad a record, [N, L]."""
    one = jax.jit(jax.grad(lambda params, x, y: loss(model.apply(params, x[None]), y[None])[0]))
    rows = []
    for record, label in zip(x, y, strict=True):
        layers = {}
        for path, leaf in jax.tree.leaves_with_path(one(params, record, label)):
            layers.setdefault(str(path[:-1]), []).append(np.asarray(leaf, np.float64).ravel())
        rows.append([np.linalg.norm(np.concatenate(leaves)) for leaves in layers.values()])
    return np.array(rows)


def trajectory_ratio(phi, references, included, usable, shrinkage):
    """The ratio of two multivariate normal densities, record by record, with scipy's density."""
    from scipy.stats import multivariate_normal

    scores = np.zeros(phi.shape[:2])
    for t in range(len(phi)):
        for chosen, sign in ((included, 1.0), (~included, -1.0)):
            means, residuals, freedom = [], [], 0
            for n in range(phi.shape[1]):
                rows = np.array([references[m, n] for m in range(len(references)) if usable[t, m] and chosen[m, n]])
                means.append(rows.mean(axis=0))
                residuals += list(rows - rows.mean(axis=0))
                freedom += len(rows) - 1
            covariance = np.array(residuals).T @ np.array(residuals) / freedom
            mixed = (1 - shrinkage) * covariance + shrinkage * np.diag(np.diag(covariance))
            for n in range(phi.shape[1]):
                scores[t, n] += sign * multivariate_normal.logpdf(phi[t, n], means[n], mixed)
    return scores

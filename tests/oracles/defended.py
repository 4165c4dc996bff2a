"""What defenses of the model compute, slowly: one block, one record, one class after the other."""

from __future__ import annotations

import numpy as np
import scipy.fft


def jpeg(image, table):
    """One image [H, W, C] in [0, 1] through blockwise cosine quantization by `table` [8, 8]."""
    rows, columns, channels = image.shape
    image = np.pad(image, ((0, -rows % 8), (0, -columns % 8), (0, 0)), mode="edge").astype(np.float64)
    out = np.zeros_like(image)
    for i in range(0, image.shape[0], 8):
        for j in range(0, image.shape[1], 8):
            for c in range(channels):
                block = 255 * image[i : i + 8, j : j + 8, c] - 128
                coefficients = scipy.fft.dctn(block, norm="ortho")
                block = scipy.fft.idctn(np.round(coefficients / table) * table, norm="ortho")
                out[i : i + 8, j : j + 8, c] = np.clip((block + 128) / 255, 0, 1)
    return out[:rows, :columns]


def mahalanobis(features, y, queries, shrinkage):
    """Each query's smallest squared distance to a class mean, by an explicit inverse of the shrunk covariance."""
    features = features.astype(np.float64)
    means = {label: features[y == label].mean(axis=0) for label in set(y.tolist())}
    covariance = np.zeros((features.shape[1],) * 2)
    for row, label in zip(features, y.tolist(), strict=True):
        covariance += np.outer(row - means[label], row - means[label]) / len(features)
    identity = np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
    inverse = np.linalg.inv((1 - shrinkage) * covariance + shrinkage * identity)
    return np.array([min((q - m) @ inverse @ (q - m) for m in means.values()) for q in queries.astype(np.float64)])


def neighbor(known, queries, k):
    """Each query's k-th smallest squared distance to the known, all at length one."""
    known, queries = (a / np.linalg.norm(a.astype(np.float64), axis=1, keepdims=True) for a in (known, queries))
    return np.array([sorted(((q - row) ** 2).sum() for row in known)[k - 1] for q in queries])


def pruned(weights, share):
    """The smallest weights at zero, found one by one."""
    weights = np.array(weights)
    for _ in range(round(share * weights.size)):
        left = [i for i in np.ndindex(weights.shape) if weights[i] != 0]
        weights[min(left, key=lambda i: abs(weights[i]))] = 0
    return weights


def explained(x, kernel, called, baseline):
    """The attribution of a linear model's logit, at length one, and its length; the sum over channels of an image."""
    ways = (x - baseline) * kernel[:, called].T.reshape(len(x), *x.shape[1:])
    ways = ways.sum(axis=-1) if ways.ndim == 4 else ways
    flat = ways.reshape(len(x), -1).astype(np.float64)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.concatenate([flat / length, np.log(length)], axis=1)


def own_mahalanobis(evidence, labels, queries, called, shrinkage):
    """Each query's squared distance to the mean of the class it is called, by the covariance of all classes."""
    means = {label: evidence[labels == label].mean(axis=0) for label in set(labels.tolist())}
    away = np.stack([row - means[label] for row, label in zip(evidence, labels.tolist(), strict=True)])
    covariance = away.T @ away / len(away)
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
    apart = np.stack([row - means[label] for row, label in zip(queries, called.tolist(), strict=True)])
    return np.einsum("bi,ij,bj->b", apart, np.linalg.inv(shrunk), apart)

"""Records refused for features that are far from every class."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from pydantic import Field

from privsec.core.data import Array
from privsec.defenses.model.detector import Detector


class Mahalanobis(Detector):
    """Refuses records whose features are far from every class's mean, in units of the features' spread in a class.

    Suspicion is min_c (f - m_c)' S^-1 (f - m_c), with the features f that the last layer reads, the means m_c of the
    public records' classes and one covariance S for all classes, shrunk towards a multiple of the identity.

    The paper also disturbs the input and weighs several layers by a classifier trained on attacked records; here
    nothing has seen an attack. A random model is judged by one fixed version of it.

    References: Lee et al. 2018, arXiv 1807.03888; Carlini & Wagner 2017, arXiv 1705.07263 (the attack on both at once).
    """

    name: Literal["mahalanobis"] = "mahalanobis"
    paper = "Lee et al. 2018, arXiv 1807.03888"
    shrinkage: float = Field(default=0.1, gt=0, le=1)
    """How far the covariance is drawn to its mean variance times the identity; 1 measures plain distance."""

    def fit(self, evidence: np.ndarray, y: np.ndarray, classes: int) -> dict[str, jax.Array]:
        return gaussian(evidence, y, classes, self.shrinkage)

    def unfitted(self, width: int, classes: int) -> dict[str, jax.Array]:
        return {
            "center": jnp.zeros(width),
            "means": jnp.zeros((classes, width)),
            "whitening": jnp.zeros((width, width)),
        }

    def suspicion(self, fitted: dict[str, jax.Array], evidence: jax.Array) -> jax.Array:
        return distance(fitted, evidence)


def gaussian(features: Float[np.ndarray, "N F"], y: np.ndarray, classes: int, shrinkage: float) -> dict[str, jax.Array]:
    """The whitened class means [C, F], the whitening W [F, F] with W W' = S^-1, and the center [F] that both are from.

    A class without a record takes the place of one that has some, which changes no distance to the nearest.
    """
    features = features.astype(np.float64)
    present = np.unique(y)
    means = np.stack([features[y == label].mean(axis=0) for label in present])
    row = np.searchsorted(present, y)
    spread = features - means[row]
    covariance = spread.T @ spread / len(features)
    variance = max(np.trace(covariance) / len(covariance), 1e-12)
    values, axes = np.linalg.eigh((1 - shrinkage) * covariance + shrinkage * variance * np.eye(len(covariance)))
    whitening = axes / np.sqrt(values)
    center = features.mean(axis=0)
    of_class = np.zeros(classes, int)
    of_class[present] = np.arange(len(present))
    return {
        "center": jnp.asarray(center, jnp.float32),
        "means": jnp.asarray(((means - center) @ whitening)[of_class], jnp.float32),
        "whitening": jnp.asarray(whitening, jnp.float32),
    }


def distance(fitted: dict[str, jax.Array], features: Float[Array, "B F"]) -> Float[jax.Array, " B"]:
    """The squared Mahalanobis distance of each record to the nearest class mean."""
    white = (features - fitted["center"]) @ fitted["whitening"]
    means = fitted["means"]
    squares = jnp.sum(white**2, -1)[:, None] + jnp.sum(means**2, -1) - 2 * white @ means.T
    return jnp.maximum(jnp.min(squares, axis=-1), 0.0)

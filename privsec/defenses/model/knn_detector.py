"""Records refused for having no near neighbors among known ones."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from pydantic import Field

from privsec.core.data import Array
from privsec.core.errors import DataError
from privsec.defenses.model.detector import Detector


class KNNDetector(Detector):
    """Refuses records whose k-th nearest public record, by the features that the last layer reads, is far.

    Distances are between features of length one. A random model is judged by one fixed version of it.

    References: Sun et al. 2022, arXiv 2204.06507; Carlini & Wagner 2017, arXiv 1705.07263 (the attack on both at once).
    """

    name: Literal["knn_detector"] = "knn_detector"
    paper = "Sun et al. 2022, arXiv 2204.06507"
    k: int = Field(default=5, ge=1)
    """Which neighbor's distance counts."""

    def fit(self, evidence: np.ndarray, y: np.ndarray, classes: int) -> dict[str, jax.Array]:
        del y, classes
        if len(evidence) < self.k:
            raise DataError(
                f"the {self.k}-th nearest of {len(evidence)} public records does not exist: the defender needs at "
                f"least {2 * self.k} of them, half of which set the threshold. Give more, or lower k."
            )
        return {"known": of_unit_length(jnp.asarray(evidence))}

    def unfitted(self, width: int, classes: int) -> dict[str, jax.Array]:
        del classes
        return {"known": jnp.zeros((self.k, width))}

    def suspicion(self, fitted: dict[str, jax.Array], evidence: jax.Array) -> jax.Array:
        return neighbor_distance(evidence, fitted["known"], self.k)


def of_unit_length(features: Float[Array, "N F"]) -> Float[jax.Array, "N F"]:
    """Each row over its length; a row of zeros stays."""
    squared = jnp.sum(jnp.square(features), axis=-1, keepdims=True)
    return jnp.asarray(features) * jax.lax.rsqrt(jnp.maximum(squared, 1e-12))


def neighbor_distance(features: Float[Array, "B F"], known: Float[Array, "K F"], k: int) -> Float[jax.Array, " B"]:
    """The squared distance, 0 to 4, of each record to the k-th nearest of the known, which have length one."""
    squares = 2 - 2 * of_unit_length(features) @ known.T
    return jnp.maximum(-jax.lax.top_k(-squares, k)[0][:, -1], 0.0)

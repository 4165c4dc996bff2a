"""Records refused for an answer that is explained unlike other records of the same class."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from pydantic import Field

from privsec.core.errors import NotApplicable
from privsec.core.recipe import Model, Params
from privsec.defenses.model.detector import TINY, Detector, Look
from privsec.defenses.model.mahalanobis import gaussian
from privsec.ops.attribution import integrated_gradients, saliency

CELLS = 8
"""An image's explanation is averaged over so many cells along each side, at most."""


class AttributionDetector(Detector):
    """Refuses records whose answer rests on other features than the answers of public records of that class.

    Of each record, the attribution of the logit of the class c that it is called, summed over channels, scaled to
    length one, its length as a logarithm beside it: e. Suspicion is (e - m_c)' S^-1 (e - m_c), with the mean m_c of the
    public records called c and one covariance S, shrunk towards a multiple of the identity.

    The paper has a network for each class and several explanations; here one, and nothing has seen an attack. Saliency
    is constant between the kinks of a ReLU network, so who knows of it follows integrated gradients instead.
    A random model is judged by one fixed version of it.

    References: Vardhan et al. 2021, arXiv 2103.11526 (ExAD); Sundararajan et al. 2017, arXiv 1703.01365 (integrated
    gradients); Carlini & Wagner 2017, arXiv 1705.07263 (the attack on both at once).
    """

    name: Literal["attribution_detector"] = "attribution_detector"
    paper = "Vardhan et al. 2021, arXiv 2103.11526"
    method: Literal["integrated_gradients", "saliency"] = "integrated_gradients"
    """How the answer is explained."""
    baseline: float = Field(default=0.0, allow_inf_nan=False)
    """What "nothing there" looks like to integrated gradients, in units of the features."""
    steps: int = Field(default=8, ge=1)
    """Gradients on the way from there."""
    shrinkage: float = Field(default=0.1, gt=0, le=1)
    """How far the covariance is drawn to its mean variance times the identity; 1 measures plain distance."""

    def look(self, model: Model, followed: bool) -> Look:
        if model.meter is not None:
            raise NotApplicable("attribution_detector differentiates the model, and this one answers outside of JAX")

        classes = model.num_classes - model.rejects

        def seen(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits = model.apply(params, x)
            called = jnp.argmax(logits[:, :classes], axis=-1)

            def score(records: jax.Array) -> jax.Array:
                return jnp.take_along_axis(model.apply(params, records), called[:, None], axis=1)[:, 0]

            def ways() -> jax.Array:
                return explanation(integrated_gradients(score, x, self.baseline, self.steps))

            explained = ways() if self.method == "integrated_gradients" else explanation(saliency(score, x))
            if self.method == "saliency" and followed:
                soft = ways()
                explained = soft + jax.lax.stop_gradient(explained - soft)
            return logits, jnp.concatenate([explained, called[:, None].astype(explained.dtype)], axis=-1)

        return seen

    def fit(self, evidence: np.ndarray, y: np.ndarray, classes: int) -> dict[str, jax.Array]:
        del y
        return gaussian(evidence[:, :-1], evidence[:, -1].astype(int), classes, self.shrinkage)

    def unfitted(self, width: int, classes: int) -> dict[str, jax.Array]:
        count = width - 1
        return {
            "center": jnp.zeros(count),
            "means": jnp.zeros((classes, count)),
            "whitening": jnp.zeros((count, count)),
        }

    def suspicion(self, fitted: dict[str, jax.Array], evidence: jax.Array) -> jax.Array:
        explained, called = evidence[:, :-1], evidence[:, -1].astype(jnp.int32)
        white = (explained - fitted["center"]) @ fitted["whitening"]
        return jnp.sum((white - fitted["means"][called]) ** 2, axis=-1)


def explanation(attributions: Float[jax.Array, " B *features"]) -> Float[jax.Array, "B _"]:
    """Where the attributions of each record lie, as a vector of length one, and the logarithm of how long they are.

    Images [B, H, W, C] are summed over channels and averaged over at most `CELLS` x `CELLS` cells.

    >>> [round(float(value), 3) for value in explanation(jnp.array([[3.0, -4.0]]))[0]]
    [0.6, -0.8, 1.609]
    """
    if attributions.ndim == 4:
        attributions = jnp.sum(attributions, axis=-1)
        count, *sides = attributions.shape
        cells = (count, *(min(side, CELLS) for side in sides))
        attributions = jax.image.resize(attributions, cells, "linear")
    flat = attributions.reshape(len(attributions), -1)
    length = jnp.sqrt(jnp.sum(flat**2, axis=-1, keepdims=True) + TINY)
    return jnp.concatenate([flat / length, jnp.log(length)], axis=-1)

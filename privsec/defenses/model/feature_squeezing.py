"""Records refused for being classified otherwise once they are squeezed."""

from __future__ import annotations

import functools
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.core.recipe import Model, Params
from privsec.defenses.model.detector import Detector, Look
from privsec.defenses.model.in_front import Change
from privsec.ops.image_filters import median, on_grid, straight_through


class FeatureSqueezing(Detector):
    """Refuses records whose scores change when the input is squeezed: fewer bits a feature, or a median of neighbors.

    Suspicion is the largest L1 distance, 0 to 2, between the scores of the record and of its squeezed versions. The
    median is for images and left out for other records. A random model is judged by one fixed version of it.

    The attacker who knows of it takes the squeezers for the identity on the way back (BPDA) and attacks classifier and
    detector at once.

    References: Xu, Evans & Qi 2018, arXiv 1704.01155; He et al. 2017, arXiv 1706.04701 (how it falls).
    """

    name: Literal["feature_squeezing"] = "feature_squeezing"
    paper = "Xu, Evans & Qi 2018, arXiv 1704.01155"
    learns: ClassVar[bool] = False
    bits: int | None = Field(default=4, ge=1, le=8)
    """Bits a feature (0 to 1) keeps; null for no such squeezer."""
    median: int | None = Field(default=2, ge=2, le=5)
    """Height and width of the median's window in pixels; null for no such squeezer."""

    def look(self, model: Model, followed: bool) -> Look:
        squeezers = tuple(map(straight_through, self.squeezers(model))) if followed else self.squeezers(model)

        def seen(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits = model.apply(params, x)
            scores = jax.nn.softmax(logits)
            changes = [jnp.zeros(len(x))]
            for squeeze in squeezers:
                changes.append(jnp.sum(jnp.abs(scores - jax.nn.softmax(model.apply(params, squeeze(x)))), axis=-1))
            return logits, jnp.stack(changes, axis=-1)

        return seen

    def squeezers(self, model: Model) -> tuple[Change, ...]:
        """The changes that this model's records go through."""
        coarse = () if self.bits is None else (functools.partial(on_grid, levels=2**self.bits),)
        smooth = (functools.partial(median, size=self.median),) if self.median and len(model.shape) == 3 else ()
        return (*coarse, *smooth)

    def suspicion(self, fitted: dict[str, jax.Array], evidence: jax.Array) -> jax.Array:
        del fitted
        return jnp.max(evidence, axis=-1)

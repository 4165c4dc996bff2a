"""DP-SGD broken on purpose: each claims the DPEvent of the Recipe that it is made of, and does something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.recipe import Batch, Loss, Model, Params, Rates, Recipe, Schedule
from privsec.training.gradients import PrivateGradient, mean_gradient
from privsec.training.sampling import Poisson, Shuffled

HUGE = 1e4


@dataclass(frozen=True)
class Noise:
    """The noise multiplier is `scale`, or the claimed one divided by `divided_by`."""

    expected_batch: float
    scale: float | None = None
    divided_by: float = 1.0

    def __call__(self, model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
        sigma = rates["noise_multiplier"] / self.divided_by if self.scale is None else self.scale
        rates = {**rates, "noise_multiplier": sigma}
        return PrivateGradient(self.expected_batch)(model, loss, params, batch, rates, key)


@dataclass(frozen=True)
class Unclipped:
    """The noise is right, and no gradient is ever clipped."""

    expected_batch: float

    def __call__(self, model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
        c, sigma = rates["clip_norm"], rates["noise_multiplier"]
        rates = {**rates, "clip_norm": c * HUGE, "noise_multiplier": sigma / HUGE}
        return PrivateGradient(self.expected_batch)(model, loss, params, batch, rates, key)


@dataclass(frozen=True)
class BatchClipped:
    """The batch's mean gradient is clipped instead of each record's; noise as if each had been."""

    expected_batch: float

    def __call__(self, model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
        mean = mean_gradient(model, loss, params, batch, rates, key)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(mean)))
        nobody = batch._replace(weight=jnp.zeros_like(batch.weight))
        noise = PrivateGradient(self.expected_batch)(model, loss, params, nobody, rates, key)
        factor = jnp.minimum(1.0, rates["clip_norm"] / norm)
        return jax.tree.map(lambda leaf, noise: factor * leaf + noise, mean, noise)


@dataclass(frozen=True)
class SameNoise:
    """Every step draws its noise from the same key."""

    expected_batch: float

    def __call__(self, model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
        return PrivateGradient(self.expected_batch)(model, loss, params, batch, rates, jax.random.key(0))


@dataclass(frozen=True)
class SameBatch(Poisson):
    """The first step's batch, again and again."""

    def draw(self, rng: np.random.Generator, include_row: np.ndarray) -> Schedule:
        drawn = super().draw(rng, include_row)
        return Schedule(*(np.repeat(part[:1], self.steps, axis=0) for part in drawn))


BUGS: dict[str, Callable[[Recipe], Recipe]] = {
    "right": lambda r: r,
    "noise multiplier forgotten": lambda r: replace(r, gradient=Noise(float(r.batch_size), scale=1.0)),
    "noise halved": lambda r: replace(r, gradient=Noise(float(r.batch_size), divided_by=2.0)),
    "noise divided by the batch": lambda r: replace(
        r, gradient=Noise(float(r.batch_size), divided_by=float(r.batch_size))
    ),
    "clipping forgotten": lambda r: replace(r, gradient=Unclipped(float(r.batch_size))),
    "batch clipped, not records": lambda r: replace(r, gradient=BatchClipped(float(r.batch_size))),
    "same noise every step": lambda r: replace(r, gradient=SameNoise(float(r.batch_size))),
    "same batch every step": lambda r: replace(r, sampling=SameBatch(r.steps, r.batch_size / r.records, r.records)),
    "shuffled, accounted as Poisson": lambda r: replace(
        r, sampling=Shuffled(r.steps * r.batch_size // r.records, r.batch_size)
    ),
}
"""Each makes a broken Recipe of a right one; `"right"` leaves it right."""

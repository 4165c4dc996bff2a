"""Training on blends of two records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch, Rates, Recipe


class Mixup(TrainingDefense):
    """Trains on w a + (1 - w) b, records and targets alike, for random pairs (a, b) of a batch.

    One w ~ Beta(alpha, alpha) a batch. A record then shows only in blends. It does not go with DP-SGD: one record moves
    several blends, so clipping each blend's gradient no longer bounds what a record does.

    References: Zhang et al. 2018, arXiv 1710.09412.
    """

    name: Literal["mixup"] = "mixup"
    paper = "Zhang et al. 2018, arXiv 1710.09412"
    alpha: float = Field(default=0.2, ge=0)
    """How far pairs are blended: small leaves one record nearly whole, 1 draws w evenly; 0 for no mixing."""

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.alpha == 0:
            return recipe
        if recipe.dp_event is not None:
            raise ConfigError(
                "mixup after dp_sgd: one record would move several clipped gradients and the guarantee would break. "
                "Leave one of the two out."
            )
        if "mixup" in recipe.rates:
            raise ConfigError("records are mixed already: write one mixup.")
        return replace(recipe, transforms=(*recipe.transforms, Mixed())).with_rates(mixup=self.alpha)


@dataclass(frozen=True)
class Mixed:
    """The batch blended with a shuffle of itself; padding stays as it is. Rates: `mixup`, the alpha."""

    mixes_records: ClassVar[bool] = True
    """Read by dp_sgd: a row of the result depends on more than one record."""

    def __call__(self, batch: Batch, rates: Rates, key: jax.Array) -> Batch:
        """The blend w * batch + (1 - w) * batch[partner]."""
        weight_key, pair_key = jax.random.split(key)
        w = jax.random.beta(weight_key, rates["mixup"], rates["mixup"])
        partner = partners(batch.weight > 0, pair_key)

        def blend(a: jax.Array) -> jax.Array:
            return w * a + (1 - w) * a[partner]

        return Batch(blend(batch.x), blend(batch.y), batch.weight)


def partners(real: jax.Array, key: jax.Array) -> jax.Array:
    """A random permutation int32 [B] of the rows where `real` (bool [B]) holds; it fixes the others."""
    shuffled = jnp.argsort(jnp.where(real, jax.random.uniform(key, real.shape), 2.0))
    in_order = jnp.argsort(~real)
    return shuffled[jnp.argsort(in_order)]

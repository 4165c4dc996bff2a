"""Gradients that only keep their largest entries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch, Gradient, Loss, Model, Params, Rates, Recipe
from privsec.training.gradients import PrivateGradient


class GradientPruning(TrainingDefense):
    """Sets the smallest entries of every gradient to zero, array by array, before it is used and before it is seen.

    What an observer of the training gets of a batch has holes then. It promises nothing: of a dense first layer the
    unit with the largest gradient, from which a single record can be read off, is the last to go.

    References: Zhu, Liu & Han 2019, arXiv 1906.08935, section 5.2; Lin et al. 2018, arXiv 1712.01887.
    """

    name: Literal["gradient_pruning"] = "gradient_pruning"
    paper = "Zhu, Liu & Han 2019, arXiv 1906.08935"
    share: float = Field(default=0.5, ge=0, lt=1)
    """Which share of each array's entries is zero; 0 for none."""

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.share == 0:
            return recipe
        if "gradient_pruning" in recipe.rates:
            raise ConfigError("gradients are pruned already: write one gradient_pruning.")
        if isinstance(recipe.gradient, PrivateGradient):
            raise ConfigError(
                "gradient_pruning after dp_sgd prunes by what is mostly noise, and adds nothing to a guarantee that "
                "holds already. Leave one of the two out."
            )
        return replace(recipe, gradient=PrunedGradient(recipe.gradient)).with_rates(gradient_pruning=self.share)


@dataclass(frozen=True)
class PrunedGradient:
    """Another gradient less its smallest entries. Rates: `gradient_pruning`, the share of them."""

    inner: Gradient

    def __call__(self, model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
        """The pruned gradient, shaped like `params`."""
        gradient = self.inner(model, loss, params, batch, rates, key)
        return jax.tree.map(lambda leaf: largest(leaf, rates["gradient_pruning"]), gradient)


def largest(values: jax.Array, share: jax.Array | float) -> jax.Array:
    """`values` with a `share` of them, those smallest in magnitude, at zero; at least one is kept.

    >>> largest(jnp.array([3.0, -1.0, 0.5, -2.0]), 0.5).tolist()
    [3.0, 0.0, 0.0, -2.0]
    """
    size = jnp.abs(values)
    gone = jnp.minimum(jnp.floor(share * values.size).astype(jnp.int32), values.size - 1)
    return jnp.where(size >= jnp.sort(size, axis=None)[gone], values, 0.0)

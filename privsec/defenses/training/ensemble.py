"""Several models that answer as one."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.core import axis
from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch, Gradient, Loss, Model, Params, Rates, Recipe
from privsec.training.gradients import PrivateGradient


class Ensemble(TrainingDefense):
    """Trains several models on the same batches from initializations of their own; the mean of their logits answers.

    Each member follows the gradient of the defenses before it in the list, so adversarially trained members are
    written `[adversarial_training, ensemble]`. An attacker who differentiates the answer attacks all members at once.

    References: Strauss et al. 2017, arXiv 1709.03423.
    """

    name: Literal["ensemble"] = "ensemble"
    paper = "Strauss et al. 2017, arXiv 1709.03423"
    members: int = Field(default=3, ge=1)
    """How many models; 1 for no ensemble."""

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.members == 1:
            return recipe
        if isinstance(recipe.gradient, PrivateGradient):
            raise ConfigError(
                "ensemble after dp_sgd: every member would spend the privacy budget of one model, and the guarantee "
                "would be for one. Leave one of the two out."
            )
        if isinstance(recipe.gradient, MembersGradient):
            raise ConfigError("the model is an ensemble already: write one ensemble.")
        if recipe.partitions > 1:
            raise ConfigError("ensemble after partition_aggregation: the model has members already. Write one of them.")
        return replace(recipe, gradient=MembersGradient(recipe.gradient))

    def on_model(self, model: Model) -> Model:
        return model if self.members == 1 else joint(model, self.members)


@functools.lru_cache(maxsize=64)
def joint(model: Model, members: int) -> Model:
    """The Model whose logits are the mean over `members` independently initialized models."""

    def init(key: jax.Array) -> Params:
        return jax.vmap(model.init)(jax.random.split(key, members))

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return jnp.mean(axis.over_members(lambda own: model.apply(own, x), params), axis=0)

    return Model(
        init=init,
        apply=apply,
        num_classes=model.num_classes,
        shape=model.shape,
        adapted=None if model.adapted is None else joint(model.adapted, members),
        member=model,
    )


@dataclass(frozen=True)
class MembersGradient:
    """The gradient of each member alone, stacked; `inner` is one member's."""

    inner: Gradient

    def __call__(self, model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
        """The gradients, shaped like `params`."""
        member = model.member
        if member is None:
            raise ConfigError(
                "the recipe is for an ensemble and the model is not one: train what `Ensemble.on_model` makes of it."
            )
        keys = jax.random.split(key, jax.tree.leaves(params)[0].shape[0])
        return axis.over_members(lambda one: self.inner(member, loss, one[0], batch, rates, one[1]), (params, keys))

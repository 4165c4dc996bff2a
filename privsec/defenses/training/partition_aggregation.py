"""Many models, each of its own part of the records, that vote: few records then change few votes.

References: Levine & Feizi 2021, "Deep Partition Aggregation: Provable Defense against General Poisoning Attacks",
arXiv 2006.14768.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.core import axis
from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Model, Params, Recipe
from privsec.defenses.training.ensemble import MembersGradient
from privsec.training.gradients import PrivateGradient
from privsec.training.sampling import Cyclic


class PartitionAggregation(TrainingDefense):
    """Puts the records into parts by their contents, trains a member on each part alone, and answers by their vote.

    A record is in one part only, so whoever inserts, removes or relabels r records changes r votes at most: an answer
    that leads by more than 2 r votes provably stays. That is measured where a model is attacked by poison. Members see
    few records, which costs accuracy; every step each of them sees its share of the batch, rounded up, so the training
    takes about as long as one model's. Other training defenses act within each member. Of equal votes the smaller
    class wins.

    References: Levine & Feizi 2021, arXiv 2006.14768.
    """

    name: Literal["partition_aggregation"] = "partition_aggregation"
    paper = "Levine & Feizi 2021, arXiv 2006.14768"
    partitions: int = Field(default=10, ge=1)
    """How many parts, and so members; 1 for no defense."""

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.partitions == 1:
            return recipe
        if isinstance(recipe.gradient, PrivateGradient):
            raise ConfigError(
                "partition_aggregation after dp_sgd: the accountant counts batches drawn from all records, and each "
                "member would draw from its own. Leave one of the two out."
            )
        if isinstance(recipe.gradient, MembersGradient):
            raise ConfigError("partition_aggregation after ensemble: the model has members already. Write one of them.")
        if recipe.partitions > 1:
            raise ConfigError("the records are in parts already: write one partition_aggregation.")
        sampling = Cyclic(recipe.steps, math.ceil(recipe.batch_size / self.partitions))
        return replace(recipe, sampling=sampling, partitions=self.partitions)

    def on_model(self, model: Model) -> Model:
        if self.partitions == 1:
            return model
        if model.member is not None:
            raise ConfigError("partition_aggregation of a model that has members already: write one such defense.")
        return voting(model, self.partitions)


@functools.lru_cache(maxsize=64)
def voting(model: Model, members: int) -> Model:
    """The Model whose scores are the shares of `members` models that vote for each class.

    Votes have no gradient: the adapted model's numbers are the same, and its slope is that of the mean probability.
    """

    def init(key: jax.Array) -> Params:
        return jax.vmap(model.init)(jax.random.split(key, members))

    def votes(params: Params, x: jax.Array) -> jax.Array:
        called = axis.over_members(lambda own: jnp.argmax(model.apply(own, x), axis=-1), params)
        return jnp.sum(jax.nn.one_hot(called, model.num_classes, dtype=jnp.int32), axis=0)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return log_shares(votes(params, x))

    followed = model.adapted or model

    def follow(params: Params, x: jax.Array) -> jax.Array:
        each = axis.over_members(lambda own: jax.nn.log_softmax(followed.apply(own, x)), params)
        mean = jax.nn.logsumexp(each, axis=0) - math.log(members)
        return apply(params, x) + (mean - jax.lax.stop_gradient(mean))  # plus nothing: ties stay ties

    served = Model(init=init, apply=apply, num_classes=model.num_classes, shape=model.shape, member=model, votes=votes)
    return replace(served, adapted=replace(served, apply=follow, votes=None))


def log_shares(votes: jax.Array) -> jax.Array:
    """The logarithm of each class's share of the votes [B, C], with half a vote more for each.

    >>> bool(jnp.allclose(jnp.exp(log_shares(jnp.array([4, 0]))), jnp.array([0.9, 0.1])))
    True
    """
    more = votes + 0.5
    return jnp.log(more / jnp.sum(more, axis=-1, keepdims=True))

"""What is learned suspiciously fast is a backdoor: it is set aside, and trained away."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field, model_validator

from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch, Loss, Model, Params, Rates, Recipe
from privsec.training.gradients import cross_entropy, mean_gradient


class AntiBackdoorLearning(TrainingDefense):
    """A first model shows which records are learned fastest; the served one learns that they are not what they say.

    The first model is trained for `isolation` epochs with local gradient ascent: a batch whose mean loss is below
    `trap` is climbed, so that ordinary records stay near it and a backdoor, an easier lesson than any of them, still
    falls. The `share` of the records with the lowest loss then is isolated, the next `doubtful` share is set aside. The
    second model is trained on all others as usual, and on the isolated ones with every class but their label, equally,
    as the target: a bounded form of the paper's gradient ascent on them, in the same epochs rather than in some of its
    own. (On isolated records alone, a small net unlearns their class with the backdoor.) Setting more aside is ours
    too: what is left of the poison would teach the backdoor again, and easy records are missed least.

    A backdoor has to be learned faster than the task, which takes a few hundred poisoned records: it does nothing
    against rare or faint triggers, and what is isolated wrongly costs a little accuracy.

    References: Li et al. 2021, "Anti-backdoor learning: training clean models on poisoned data", arXiv 2110.11571.
    """

    name: Literal["anti_backdoor_learning"] = "anti_backdoor_learning"
    paper = "Li et al. 2021, arXiv 2110.11571"

    share: float = Field(default=0.02, ge=0, lt=1)
    """Of the training records, how many are isolated (rounded up); 0 for no defense. Fewer than are poisoned."""
    doubtful: float = Field(default=0.2, ge=0, lt=1)
    """How many of the next ones are set aside (rounded down)."""
    isolation: int = Field(default=3, ge=1)
    """Epochs of the first model, or as many as the training has."""
    trap: float = Field(default=0.5, ge=0, allow_inf_nan=False)
    """Mean loss of a batch, in nats, below which it is climbed; 0 for none."""
    weight: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    """How much an isolated record counts in the second model's training, others counting 1."""

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.share == 0:
            return recipe
        if recipe.gradient is not mean_gradient:
            raise ConfigError(
                "a defense before anti_backdoor_learning computes the gradient in its own way (adversarial_training, "
                "dp_sgd, ensemble, gradient_pruning, information_bottleneck, trades), and the first model would not "
                "climb out of its trap with it. Write anti_backdoor_learning first, or leave one of the two out."
            )
        per_epoch = math.ceil(recipe.records / recipe.batch_size)
        first = replace(
            recipe,
            steps=min(self.isolation * per_epoch, recipe.steps),
            gradient=Trapped(self.trap),
            patience=None,
        )
        isolated, doubtful = math.ceil(self.share * recipe.records), math.floor(self.doubtful * recipe.records)
        return recipe.taught_by(first, AnythingElse(isolated, doubtful, self.weight))

    @model_validator(mode="after")
    def _something_left(self) -> AntiBackdoorLearning:
        if self.share + self.doubtful >= 1:
            raise ValueError(f"share {self.share:g} and doubtful {self.doubtful:g} leave no record to learn from")
        return self


@dataclass(frozen=True)
class Trapped:
    """Down the mean loss of a batch where it is above `trap`, up where it is below: local gradient ascent."""

    trap: float

    def __call__(self, model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
        """The gradient, shaped like `params`."""
        each = loss(model.apply(params, batch.x), batch.y) * batch.weight
        mean = jnp.sum(each) / jnp.maximum(jnp.sum(batch.weight), 1.0)
        sign = jnp.where(mean < self.trap, -1.0, 1.0)
        return jax.tree.map(lambda leaf: sign * leaf, mean_gradient(model, loss, params, batch, rates, key))


@dataclass(frozen=True)
class AnythingElse:
    """The lesson: of the records that the first model finds easiest, every class but the label, equally.

    Attributes:
        isolated: how many these are.
        doubtful: how many of the next easiest do not count.
        weight: how much the isolated ones count.
    """

    isolated: int
    doubtful: int
    weight: float

    def __call__(self, logits: jax.Array, y: jax.Array, mine: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Targets [N, C] and weights [N]."""
        classes = logits.shape[-1]
        labels = jax.nn.one_hot(y, classes)
        rank = jnp.argsort(jnp.argsort(jnp.where(mine, cross_entropy(logits, labels), jnp.inf)))
        isolated = rank < self.isolated
        counts = jnp.where(rank < self.isolated + self.doubtful, 0.0, 1.0)
        targets = jnp.where(isolated[:, None], (1 - labels) / (classes - 1), labels)
        return targets, jnp.where(isolated, self.weight, counts)

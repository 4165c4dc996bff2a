"""Learning from the softened answers of a model of one's own."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Loss, Model, Params, Recipe
from privsec.training.gradients import PrivateGradient


class Distillation(TrainingDefense):
    """Trains a student on what a teacher answers to the same records, both by softmax(logits / T), and serves T = 1.

    An exhibit of a masked gradient: served logits are about T times as large, the softmax saturates, and a naive
    attack finds no slope. `adapted` divides the logits by T again, and with it the attack goes through. The loss
    divides by T too, and so does its gradient: train with Adam, which does not mind.

    References: Papernot et al. 2016, arXiv 1511.04508; broken by Carlini & Wagner 2017, arXiv 1608.04644.
    """

    name: Literal["distillation"] = "distillation"
    paper = "Papernot et al. 2016, arXiv 1511.04508"
    temperature: float | None = Field(default=20.0, ge=1, le=100)
    """T of teacher and student; 1 is plain distillation, null none at all."""

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.temperature is None:
            return recipe
        if isinstance(recipe.gradient, PrivateGradient):
            raise ConfigError(
                "distillation after dp_sgd: the teacher's labels tell of all records at once, so clipping a record's "
                "gradient would no longer bound what it does. Leave one of the two out."
            )
        softened = replace(recipe, loss=Softened(recipe.loss, self.temperature))
        return softened.taught_by(softened, Answers(self.temperature))

    def on_model(self, model: Model) -> Model:
        return model if self.temperature is None else _exposed(model, self.temperature)


@dataclass(frozen=True)
class Softened:
    """`loss` of logits / T."""

    loss: Loss
    temperature: float

    def __call__(self, logits: jax.Array, y: jax.Array) -> jax.Array:
        """[B]."""
        return self.loss(logits / self.temperature, y)


@dataclass(frozen=True)
class Answers:
    """The lesson: the teacher's softmax(logits / T) are the targets."""

    temperature: float

    def __call__(self, logits: jax.Array, y: jax.Array, mine: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Targets [N, C] and weights [N], all 1."""
        del y, mine
        return jax.nn.softmax(logits / self.temperature), jnp.ones(len(logits))


@functools.lru_cache(maxsize=64)
def _exposed(model: Model, temperature: float) -> Model:
    """The model, with the same model at logits / T as what to attack."""
    attacked = model.adapted or model

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return attacked.apply(params, x) / temperature

    return replace(model, adapted=replace(attacked, apply=apply, tapped=None, layers=()))

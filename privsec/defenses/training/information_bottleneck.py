"""A noisy last hidden layer that pays for every bit it carries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch, Loss, Model, Params, Rates, Recipe
from privsec.training.gradients import gradient_of_mean, mean_gradient


class InformationBottleneck(TrainingDefense):
    """Trains the last layer on z = h(x) + N(0, I), h the last hidden features, and adds beta |h(x)|^2 / 2 to the loss.

    The penalty is KL(N(h, I) || N(0, I)), which bounds from above what z tells of x, in nats; so answers come to hang
    less on the record. It is the variational bottleneck with unit noise in place of a learned one: the network sets the
    ratio of signal to noise by the size of its features. The served model answers at the mean, z = h(x). It takes a
    network whose last layer is fully connected, behind at least one other, built from `privsec.nets.layers`.

    References: Wang et al. 2021, arXiv 2009.05241 (as a defense, MID); Alemi et al. 2017, arXiv 1612.00410.
    """

    name: Literal["information_bottleneck"] = "information_bottleneck"
    paper = "Wang et al. 2021, arXiv 2009.05241"
    beta: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    """Price of a nat; 0 for no defense."""

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.beta == 0:
            return recipe
        if recipe.gradient is not mean_gradient:
            raise ConfigError(
                "a defense before information_bottleneck computes the gradient in its own way, which it would "
                "replace: an `ensemble` comes after it, and of dp_sgd, adversarial_training and trades leave one out."
            )
        return replace(recipe, gradient=BottleneckGradient()).with_rates(information_bottleneck=self.beta)


@dataclass(frozen=True)
class BottleneckGradient:
    """The gradient of mean[loss(logits(h + noise)) + beta |h|^2 / 2]. Rates: `information_bottleneck`, the beta."""

    def __call__(self, model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
        """The gradient, shaped like `params`."""

        def total(params: Params, part: Batch, key: jax.Array) -> jax.Array:
            logits, features, kernel = _last(model, params, part.x)
            noisy = logits + jax.random.normal(key, features.shape) @ kernel  # the layer is linear
            nats = jnp.sum(jnp.square(features), axis=-1) / 2
            return jnp.sum((loss(noisy, part.y) + rates["information_bottleneck"] * nats) * part.weight)

        return gradient_of_mean(total, model, params, batch, key)


def _last(model: Model, params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The logits [B, C], the inputs [B, F] of the layer that makes them, and its kernel [F, C].

    Raises:
        ConfigError: no fully connected layer behind another makes the logits, as far as the model shows.
    """
    if model.tapped is not None and len(model.layers) > 1:
        logits, taps = model.tapped(params, x, None)
        for layer in model.layers:
            if layer.kind == "dense" and taps[layer.name].outputs is logits:
                own = params
                for step in layer.path:
                    own = own[step]
                return logits, taps[layer.name].inputs, own["kernel"]
    raise ConfigError(
        "information_bottleneck: this model does not show a last hidden layer to put the bottleneck in. Use a net with "
        "a hidden layer (mlp, cnn, wide_resnet), or build your own from privsec.nets.layers, a Dense at the end."
    )

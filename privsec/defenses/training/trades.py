"""Training for right answers and for steady ones, in a proportion to choose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float
from pydantic import Field

from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch, Loss, Model, Params, Rates, Recipe
from privsec.ops import ascend
from privsec.training.gradients import bounds, gradient_of_mean, mean_gradient

START = 1e-3
"""Standard deviation of the ascent's start: at the record itself the divergence has no slope."""


class TRADES(TrainingDefense):
    """Adds beta times max KL(p(x) || p(x')) to the loss of the unchanged record, over x' in a ball round it.

    Unlike adversarial training it needs no label to make x', and `beta` says what accuracy may be given for robustness.

    References: Zhang et al. 2019, arXiv 1901.08573.
    """

    name: Literal["trades"] = "trades"
    paper = "Zhang et al. 2019, arXiv 1901.08573"
    beta: float = Field(default=6.0, ge=0, allow_inf_nan=False)
    """Weight of the divergence; 0 for no defense."""
    radius: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    """Radius of the ball round each record, in the records' own units."""
    norm: Literal["linf", "l2"] = "linf"
    """Norm of the ball."""
    steps: int = Field(default=7, ge=1)
    """Steps of the inner ascent."""
    step_size: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Length of a step; 2.5 * radius / steps where null."""
    box: tuple[float, float] | None = None
    """Smallest and largest value of a feature. Null: 0 and 1 for images, no bounds for tables."""

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.beta == 0:
            return recipe
        if recipe.gradient is not mean_gradient:
            raise ConfigError(
                "a defense before trades computes the gradient in its own way, which it would replace: an `ensemble` "
                "comes after it, and of dp_sgd and adversarial_training leave one of the two out."
            )
        size = 2.5 * self.radius / self.steps if self.step_size is None else self.step_size
        made = replace(recipe, gradient=TradesGradient(self.steps, self.norm, self.box))
        return made.with_rates(trades=self.beta, trades_radius=self.radius, trades_step=size)


@dataclass(frozen=True)
class TradesGradient:
    """The gradient of mean[loss(x) + beta KL(p(x) || p(x'))], both distributions differentiated.

    Rates: `trades`, the beta; `trades_radius`; `trades_step`.
    """

    steps: int
    norm: ascend.Norm = "linf"
    box: tuple[float, float] | None = None

    def __call__(self, model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
        """The gradient, shaped like `params`."""

        def total(at: Params, part: Batch, key: jax.Array) -> jax.Array:
            x = self.farthest(model, params, part.x, rates, key)
            logits = model.apply(at, part.x)
            apart = divergence(logits, model.apply(at, x))
            return jnp.sum((loss(logits, part.y) + rates["trades"] * apart) * part.weight)

        return gradient_of_mean(total, model, params, batch, key)

    def farthest(self, model: Model, params: Params, x: jax.Array, rates: Rates, key: jax.Array) -> jax.Array:
        """Points in the ball and the box where the model answers most unlike at `x`; they carry no gradient.

        Where the model hides its gradient, the ascent follows the adapted model's.
        """
        followed = model.adapted or model
        answer = followed.apply(params, x)
        slope = jax.grad(lambda points: jnp.sum(divergence(answer, followed.apply(params, points))))

        def project(points: jax.Array) -> jax.Array:
            inside = ascend.project_ball(points, x, jnp.asarray(rates["trades_radius"]), self.norm)
            return ascend.project_box(inside, bounds(model, self.box))

        def step(_: jax.Array, points: jax.Array) -> jax.Array:
            return project(points + rates["trades_step"] * ascend.steepest(slope(points), self.norm))

        start = project(x + START * jax.random.normal(key, x.shape, x.dtype))
        return jax.lax.stop_gradient(jax.lax.fori_loop(0, self.steps, step, start))


def divergence(logits: Float[jax.Array, "B C"], other: Float[jax.Array, "B C"]) -> Float[jax.Array, " B"]:
    """KL(softmax(logits) || softmax(other)), in nats."""
    log_p, log_q = jax.nn.log_softmax(logits), jax.nn.log_softmax(other)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)

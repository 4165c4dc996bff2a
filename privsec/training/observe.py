"""What an observer of every privatized gradient gathers about canaries, as part of the optimizer's state.

An observation is an optax transformation that leaves the gradient as it is, so it is traced with the training, once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from privsec.core.recipe import Loss, Model, Params, Rates, Recipe
from privsec.ops import clip
from privsec.training import dirac

View = Callable[[Params, Params, Rates], tuple[jax.Array, jax.Array]]
"""(gradient, params, rates) -> (amount [m], norm [m]): what the gradient has along each canary's unit direction, and
the norm of the canary's own clipped gradient. Hashable."""


class Sight(NamedTuple):
    """What was seen of each canary, [m] each; `last` is the last step's amount.

    `projection` sums each step's inner product with the canary's own clipped gradient; `likelihood` sums each step's
    log-likelihood ratio between a training with the canary and one without; `change` sums the squared differences of
    successive amounts.
    """

    projection: jax.Array
    likelihood: jax.Array
    change: jax.Array
    last: jax.Array


class _Observation(NamedTuple):
    observed: Sight
    step: jax.Array


@dataclass(frozen=True)
class Dirac:
    """The view of gradient canaries: their own coordinates of the gradient."""

    def __call__(self, gradient: Params, params: Params, rates: Rates) -> tuple[jax.Array, jax.Array]:
        """(amount [m], norm [m])."""
        del params
        amount = dirac.coordinates(gradient)
        return amount, jnp.full_like(amount, rates.get("clip_norm", 1.0))


@dataclass(frozen=True)
class Records:
    """The view of records: inner products with each canary's own gradient at this step's parameters.

    All of them by one forward-mode pass along the gradient, their norms by one backward pass. Rates: `canary_x`
    [m, ...], `canary_y` [m].
    """

    model: Model
    loss: Loss

    def __call__(self, gradient: Params, params: Params, rates: Rates) -> tuple[jax.Array, jax.Array]:
        """(amount [m], norm [m])."""
        x = jnp.asarray(rates["canary_x"])
        y = jax.nn.one_hot(jnp.asarray(rates["canary_y"]), self.model.num_classes)

        def losses(at: Params) -> jax.Array:
            return self.loss(self.model.apply(at, x), y)

        along = jax.jvp(losses, (params,), (gradient,))[1]
        batch = clip.Batch(x, y, jnp.ones(len(y)))
        norms = clip.clipped_sum(self.model, self.loss, params, batch, jnp.inf)[1]
        return along / jnp.maximum(norms, 1e-12), jnp.minimum(norms, rates.get("clip_norm", jnp.inf))


@dataclass(frozen=True)
class Observed:
    """`optimizer` behind an observer of the gradient it gets.

    Attributes:
        optimizer: what the gradient is passed on to, unchanged.
        view: how canaries are seen in it.
        count: m, how many there are.
        batch: what the sum of a batch's gradients was divided by.
        rate: probability with which a step draws a canary that is in.
    """

    optimizer: Callable[[Rates], optax.GradientTransformation]
    view: View
    count: int
    batch: float
    rate: float

    def __call__(self, rates: Rates) -> optax.GradientTransformation:
        """The transformation at these rates."""
        return optax.chain(_observer(self, rates), self.optimizer(rates))


def observing(recipe: Recipe, view: View, count: int) -> Recipe:
    """The same training, which hands back a `Sight` of `count` canaries as `Trained.observed`.

    Args:
        recipe: the training, defenses included; its claimed noise and sampling rate give the likelihood its scale.
        view: how canaries are seen in a gradient.
        count: m.
    """
    batch = float(getattr(recipe.gradient, "expected_batch", recipe.batch_size))
    watched = Observed(recipe.optimizer, view, count, batch, recipe.batch_size / recipe.records)
    return replace(recipe, optimizer=watched)


def _observer(self: Observed, rates: Rates) -> optax.GradientTransformation:
    def init(params: Params) -> _Observation:
        del params
        nothing = jnp.zeros(self.count)
        return _Observation(Sight(nothing, nothing, nothing, nothing), jnp.asarray(0))

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        amount, norm = self.view(updates, params, rates)
        unit = rates.get("clip_norm", 1.0)
        amount, norm = amount * self.batch / unit, norm / unit
        before = state.observed
        seen = Sight(
            before.projection + norm * amount,
            before.likelihood + drawn_or_not(amount, norm, self.rate, rates.get("noise_multiplier", 0.0)),
            before.change + jnp.where(state.step > 0, jnp.square(amount - before.last), 0.0),
            amount,
        )
        return updates, _Observation(seen, state.step + 1)

    return optax.GradientTransformation(init, update)


def drawn_or_not(
    amount: Float[jax.Array, " m"],
    norm: Float[jax.Array, " m"],
    rate: float,
    noise_multiplier: Float[jax.Array, ""] | float,
) -> Float[jax.Array, " m"]:
    """log(1 - q + q N(x; s, sigma^2) / N(x; 0, sigma^2)): how much likelier x is where the canary is in.

    Zero where there is no noise: there the ratio is not finite, and the projection says it all.

    Args:
        amount: x, of one step, in units of the clip norm.
        norm: s, what the canary adds to it when it is drawn.
        rate: q.
        noise_multiplier: sigma.
    """
    sigma = jnp.where(jnp.asarray(noise_multiplier) > 0, noise_multiplier, 1.0)
    drawn = norm * (2 * amount - norm) / (2 * jnp.square(sigma))
    ratio = jnp.logaddexp(jnp.log1p(-rate), jnp.log(rate) + drawn)
    return jnp.where(jnp.asarray(noise_multiplier) > 0, ratio, 0.0)

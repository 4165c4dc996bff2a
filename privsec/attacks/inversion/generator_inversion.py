"""Model inversion with gradients, in the latents of a generator.

References:
    Zhang et al. 2020, "The secret revealer: generative model-inversion attacks against deep neural networks", arXiv
    1911.07135.
    Struppek et al. 2022, "Plug & play attacks: towards robust and flexible model inversion attacks", arXiv 2201.12179.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int
from pydantic import Field

from privsec.attacks.inversion.latent_inversion import LatentInversion, Search, in_chunks, views_of
from privsec.core.access import Access
from privsec.core.target import Target
from privsec.ops.ascend import descend

ALMOST_ONE = 1 - 1e-4
"""Where the Poincaré distance has its goal: the corner itself lies infinitely far away."""


class GeneratorInversion(LatentInversion):
    """The most natural input that the model surely calls class y: found by gradients in a generator's latents.

    `min_z misfit(f(G(z)), y) + prior * mean(z^2) / 2`, from `runs` starts, keeping the result whose shifted copies
    the model is surest of. G is a small decoder learned from the attacker's records in place of a large
    pretrained generator.

    References: Zhang et al. 2020, arXiv 1911.07135; Struppek et al. 2022, arXiv 2201.12179.
    """

    name: Literal["generator_inversion"] = "generator_inversion"
    needs: ClassVar[Access] = Access.GRADIENTS
    paper: ClassVar[str] = "Zhang et al. 2020, arXiv 1911.07135"

    objective: Literal["poincare", "loss"] = "poincare"
    """The misfit: distance of the logits from the class's corner in hyperbolic space, whose gradient does not vanish as
    the model becomes sure; or -log p_y, whose does."""
    runs: int = Field(default=4, ge=1)
    """Searches for each class, from its best starts, of which the best result is kept."""
    views: int = Field(default=9, ge=1, le=9)
    """Copies of an image, itself and shifted ones, over which confidence is averaged to choose starts and results."""
    steps: int = Field(default=100, ge=1)
    """Steps of each search."""
    learning_rate: float = Field(default=0.05, gt=0)
    """Size of a step (Adam), in standard deviations of a latent."""
    prior: float = Field(default=1.0, ge=0)
    """Weight of the latents' mean square."""

    def searched(self, target: Target, given: Search) -> tuple[Float[jax.Array, "K Z"], jax.Array]:
        decoder, starts, y, key = given
        runs = min(self.runs, len(starts))
        at_first = in_chunks(lambda z: self._sureness(target, decoder(z)), starts)[:, y]
        best = jax.lax.top_k(at_first.T, runs)[1].reshape(-1)
        goal = jnp.repeat(y, runs)

        def costs(z: Float[jax.Array, "P Z"]) -> tuple[Float[jax.Array, ""], Float[jax.Array, " P"]]:
            logits = target.adapted.logits(decoder(z))
            each = MISFITS[self.objective](logits, goal) + self.prior * jnp.mean(jnp.square(z), axis=1) / 2
            return jnp.sum(each), each

        def evaluate(z: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            del key
            (_, each), gradient = jax.value_and_grad(costs, has_aux=True)(z)
            return each, gradient

        cube = (jnp.asarray(-self.reach), jnp.asarray(self.reach))
        found = descend(evaluate, starts[best], key, optax.adam(self.learning_rate), self.steps, cube)
        at_last = self._sureness(target, decoder(found.x))[jnp.arange(len(goal)), goal]
        kept = jnp.argmax(at_last.reshape(-1, runs), axis=1) + runs * jnp.arange(len(y))
        views = len(views_of(decoder(starts[:1]), self.views))
        spent = views * (len(starts) / len(y) + runs) + jnp.sum(found.steps) / len(y)
        return found.x[kept], spent

    def _sureness(self, target: Target, x: Float[jax.Array, " B *features"]) -> Float[jax.Array, "B C"]:
        """The mean probability of each class over a record's views."""
        return jnp.mean(jnp.stack([target.scores(view) for view in views_of(x, self.views)]), axis=0)


def poincare(logits: Float[jax.Array, "P C"], y: Int[jax.Array, " P"]) -> Float[jax.Array, " P"]:
    """The distance in the Poincaré ball between logits of L1 norm 1 and the corner of class y.

    `arccosh(1 + 2 |u - v|^2 / ((1 - |u|^2)(1 - |v|^2)))` with `u = logits / |logits|_1` and v the corner, drawn in a
    little.

    >>> round(float(poincare(jnp.array([[1.0, -1.0]]), jnp.array([0]))[0]), 3)
    9.903
    """
    size = jnp.sum(jnp.abs(logits), axis=1, keepdims=True)
    u = logits / jnp.where(size > 0, size, 1.0)
    v = ALMOST_ONE * jax.nn.one_hot(y, logits.shape[1])
    room = (1 - jnp.sum(jnp.square(u), axis=1)) * (1 - ALMOST_ONE**2)
    return jnp.arccosh(1 + 2 * jnp.sum(jnp.square(u - v), axis=1) / jnp.maximum(room, 1e-9))


def loss(logits: Float[jax.Array, "P C"], y: Int[jax.Array, " P"]) -> Float[jax.Array, " P"]:
    """-log p_y."""
    return -jax.nn.log_softmax(logits)[jnp.arange(len(y)), y]


MISFITS = {"poincare": poincare, "loss": loss}
"""By the name of the objective."""

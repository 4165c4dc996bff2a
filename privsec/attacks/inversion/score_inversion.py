"""Model inversion from scores alone: the gradient is estimated from queries.

References: Wierstra et al. 2014, "Natural evolution strategies", JMLR 15; Ilyas et al. 2018, "Black-box adversarial
attacks with limited queries and information", https://arxiv.org/abs/1804.08598.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float
from pydantic import Field

from privsec.attacks.inversion.pixel_inversion import Evaluate, PixelInversion, Prior
from privsec.core.access import Access
from privsec.core.data import Examples
from privsec.core.target import Target
from privsec.ops.ascend import Box, project_box

SPAN = 256
"""How many records of the population span the directions of queries, at most; bounds the work of drawing them."""


class ScoreInversion(PixelInversion):
    """The input that the model calls class y most surely, found by asking for scores only.

    `grad log p_y(x) ~ 1 / (2 sigma P) sum_p [log p_y(x + sigma u_p) - log p_y(x - sigma u_p)] u_p`, with random
    directions u_p of mean square 1 in units of the box's width. Directions drawn from the population's own variation
    need far fewer queries than white noise and give inputs that look natural. Queries never leave the box.

    References: Wierstra et al. 2014, JMLR 15; Ilyas et al. 2018, arXiv 1804.08598.
    """

    name: Literal["score_inversion"] = "score_inversion"
    needs: ClassVar[Access] = Access.SCORES
    paper: ClassVar[str] = "Ilyas et al. 2018, https://arxiv.org/abs/1804.08598"

    steps: int = Field(default=100, ge=1)
    """The most steps a reconstruction may take."""
    learning_rate: float = Field(default=0.02, gt=0)
    """Size of a step, as a share of the width of the data's box."""
    pairs: int = Field(default=20, ge=1)
    """P, antithetic pairs of queries a step; a step costs 2 P + 1 queries."""
    sigma: float = Field(default=0.05, gt=0)
    """Length of a query's offset, as a share of the width of the data's box."""
    directions: Literal["population", "white"] = "population"
    """Offsets are random mixtures of the population's deviations from its mean (where there is one), or white noise."""

    @property
    def queries_per_step(self) -> int:
        return 2 * self.pairs + 1

    def evaluator(self, target: Target, population: Examples | None, y: jax.Array, box: Box, prior: Prior) -> Evaluate:
        each = jnp.arange(len(y))
        basis = None if population is None or self.directions == "white" else _deviations(population, box)

        def draw(key: jax.Array) -> Float[jax.Array, " P K *features"]:
            if basis is None:
                return (box[1] - box[0]) * jax.random.normal(key, (self.pairs, len(y), *box[0].shape))
            return jnp.tensordot(jax.random.normal(key, (self.pairs, len(y), len(basis))), basis, axes=1)

        def log_confidence(x: Float[jax.Array, " Q K *features"]) -> Float[jax.Array, "Q K"]:
            flat = project_box(x, box).reshape(-1, *x.shape[2:])
            return target.log_scores(flat).reshape(*x.shape[:2], -1)[:, each, y]

        def evaluate(
            x: Float[jax.Array, " K *features"], key: jax.Array
        ) -> tuple[Float[jax.Array, " K"], Float[jax.Array, " K *features"]]:
            towards = draw(key)
            answers = log_confidence(jnp.concatenate([x[None], x + self.sigma * towards, x - self.sigma * towards]))
            here, above, below = jnp.split(answers, [1, self.pairs + 1])
            ascent = jnp.einsum("pk,pk...->k...", above - below, towards) / (2 * self.sigma * self.pairs)
            cost, pull_back = jax.vjp(prior, x)
            return cost - here[0], pull_back(jnp.ones_like(cost))[0] - ascent

        return evaluate


def _deviations(population: Examples, box: Box) -> Float[jax.Array, " S *features"]:
    """Rows whose standard normal mixtures vary as the population does, mean square 1 in box widths."""
    stride = -(-len(population.y) // SPAN)
    x = jnp.asarray(population.x, jnp.float32)[::stride]
    rows = (x - jnp.mean(x, axis=0)) / jnp.sqrt(len(x))
    width = box[1] - box[0]
    widths = jnp.where(width > 0, rows / jnp.where(width > 0, width, 1.0), 0.0)
    size = jnp.sqrt(jnp.sum(jnp.square(widths)) / width.size)
    return rows / jnp.where(size > 0, size, 1.0)

"""Model inversion from scores alone, in the latents of a generator, by breeding.

Reference: An et al. 2022, "MIRROR: model inversion for deep learning network with high fidelity", NDSS,
https://doi.org/10.14722/ndss.2022.24335.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float
from pydantic import Field

from privsec.attacks.inversion.latent_inversion import LatentInversion, Search, in_chunks
from privsec.core.access import Access
from privsec.core.target import Target

LEAST = 0.1
"""What is left of the mutations' size in the last generation."""


class GeneticInversion(LatentInversion):
    """The most natural input that the model surely calls class y, found by asking for scores of a generator's records.

    The latents with the highest `log p_y(G(z)) - prior * mean(z^2) / 2` survive; two of them, drawn at random, give a
    child each latent of which is from one or the other, plus normal noise that shrinks as generations pass. The best
    ever seen is the reconstruction. G is a small decoder learned from the attacker's records.

    References: An et al. 2022, https://doi.org/10.14722/ndss.2022.24335.
    """

    name: Literal["genetic_inversion"] = "genetic_inversion"
    needs: ClassVar[Access] = Access.SCORES
    paper: ClassVar[str] = "An et al. 2022, https://doi.org/10.14722/ndss.2022.24335"

    generations: int = Field(default=60, ge=1)
    """How often children are bred."""
    children: int = Field(default=30, ge=1)
    """Latents asked about in each generation, for each class."""
    survivors: int = Field(default=15, ge=2)
    """Latents kept for the next."""
    mutation: float = Field(default=0.5, gt=0)
    """Standard deviation of the noise in the first generation; it falls to a tenth."""
    prior: float = Field(default=1.0, ge=0)
    """Weight of the latents' mean square."""

    def searched(self, target: Target, given: Search) -> tuple[Float[jax.Array, "K Z"], float]:
        decoder, starts, y, key = given
        each, kept = jnp.arange(len(y)), min(self.survivors, len(starts))
        at_first = in_chunks(lambda z: target.log_scores(decoder(z)), starts)[:, y].T
        fitness, rows = jax.lax.top_k(at_first - self._cost(starts), kept)

        def breed(number: int | jax.Array, state: tuple) -> tuple:
            parents, fitness = state
            pick, mix, noise = jax.random.split(jax.random.fold_in(key, number), 3)
            pairs = jax.random.randint(pick, (2, len(y), self.children), 0, kept)
            mother, father = parents[each[:, None], pairs[0]], parents[each[:, None], pairs[1]]
            size = self.mutation * LEAST ** (number / max(self.generations - 1, 1))
            mutated = size * jax.random.normal(noise, mother.shape)
            bred = jnp.where(jax.random.bernoulli(mix, shape=mother.shape), mother, father) + mutated
            bred = jnp.clip(bred, -self.reach, self.reach)
            answers = target.log_scores(decoder(bred.reshape(-1, bred.shape[2]))).reshape(*bred.shape[:2], -1)
            worth = jnp.concatenate([fitness, answers[each, :, y] - self._cost(bred)], axis=1)
            fitness, best = jax.lax.top_k(worth, kept)
            return jnp.concatenate([parents, bred], axis=1)[each[:, None], best], fitness

        alive, _ = jax.lax.fori_loop(0, self.generations, breed, (starts[rows], fitness))
        return alive[:, 0], len(starts) / len(y) + self.generations * self.children

    def _cost(self, z: Float[jax.Array, " *batch Z"]) -> Float[jax.Array, " *batch"]:
        return self.prior * jnp.mean(jnp.square(z), axis=-1) / 2

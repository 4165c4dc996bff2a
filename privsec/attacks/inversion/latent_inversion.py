"""Class inversion among the records that a decoder of the attacker's own records can show."""

from __future__ import annotations

import abc
import functools
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from privsec.attacks.inversion.class_inversion import ClassInversion, box_of
from privsec.attacks.inversion.generator import Decoder, Generator
from privsec.core import axis
from privsec.core.attack import Knowledge, Part
from privsec.core.data import Examples
from privsec.core.evidence import Reconstructions
from privsec.core.keys import derive
from privsec.core.target import Target, compiled
from privsec.ops.augment import SHIFTS, moved

CHUNK = 1024
"""Records of one question while starts are chosen; bounds the memory."""


class Search(NamedTuple):
    """What every search is given: a decoder, latents to begin among [S, Z], the classes [K], a key."""

    decoder: Decoder
    starts: jax.Array
    y: jax.Array
    key: jax.Array


class LatentInversion(ClassInversion):
    """Base: looks for latents z whose record `decoder(z)` the model takes for class y.

    The decoder has learned from the attacker's population what records look like, so whatever is found looks like
    one; that it looks like the *members* is what has to be shown.
    """

    requires: ClassVar[frozenset[Part]] = frozenset({"population"})

    generator: Generator = Generator()
    """The decoder, learned anew from the attacker's population."""
    starts: int = Field(default=300, ge=1)
    """Latents among which each class's search begins: 0, which is the mean record; those of the attacker's own records,
    in random order; then ones drawn from the normal distribution that these have."""
    reach: float = Field(default=3.0, gt=0)
    """The search stays where no latent is further from 0 than this, in standard deviations."""

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> Reconstructions:
        """Reconstructs the classes from each of the first `targets` models.

        Args:
            target: one model (then T' = 1) or a stack.
            knowledge: its population teaches the decoder; its box (or else that population's) bounds the records.
            key: for decoder, starts and search; each target gets one derived from it.

        Raises:
            AccessError: the target grants less than `needs`.
            NotApplicable: there is no population, or a class does not exist.
        """
        stack, y, box = self.attacked(target), self.prompts(knowledge), box_of(knowledge, target.model.shape)
        decoder = self.generator.fitted(knowledge.population, box, derive(key, "generator"))
        assert knowledge.population is not None  # the decoder was learned from it
        starts = self._first(decoder, knowledge.population, derive(key, "starts"))

        def invert(t: int) -> tuple:
            given = Search(decoder, starts, y, jax.random.fold_in(key, t))
            return jax.device_get(_inverted(stack[t], self, given))

        found = dict(axis.over_models(invert, range(stack.size or 0)))
        x, confidence, queries = (np.stack(part) for part in zip(*(found[t] for t in sorted(found)), strict=True))
        return Reconstructions(x, np.asarray(y), confidence, float(queries.mean()))

    @abc.abstractmethod
    def searched(self, target: Target, given: Search) -> tuple[Float[jax.Array, "K Z"], jax.Array | float]:
        """The latents of the reconstructions, and the queries spent on each, a mean."""

    def confidence(
        self, target: Target, x: Float[jax.Array, " K *features"], y: Int[jax.Array, " K"]
    ) -> Float[jax.Array, " K"]:
        """What the target says of y at x."""
        return jnp.exp(target.log_scores(x)[jnp.arange(len(y)), y])

    def _first(self, decoder: Decoder, population: Examples, key: jax.Array) -> Float[jax.Array, "S Z"]:
        order, draw = jax.random.split(key)
        rows = jax.random.permutation(order, population.size)[: self.starts - 1]
        own = decoder.latents(jnp.asarray(population.x, jnp.float32)[rows])
        drawn = jax.random.normal(draw, (self.starts - 1 - len(rows), own.shape[1]))
        mean = jnp.zeros((1, own.shape[1]))
        return jnp.clip(jnp.concatenate([mean, own, drawn]), -self.reach, self.reach)


@functools.partial(compiled, static=("attack",))
def _inverted(target: Target, attack: LatentInversion, given: Search) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(x [K, ...], confidence [K], queries) of one target."""
    z, spent = attack.searched(target, given)
    x = given.decoder(z)
    return x, attack.confidence(target, x, given.y), jnp.asarray(spent + 1.0)


def in_chunks(ask, z: Float[jax.Array, "S Z"]) -> jax.Array:
    """`ask` of so many latents that their records would fill the memory, [S, ...]."""
    return jnp.concatenate([ask(z[start : start + CHUNK]) for start in range(0, len(z), CHUNK)])


def views_of(x: Float[jax.Array, " B *features"], count: int) -> list[Float[jax.Array, " B *features"]]:
    """The records themselves and, of images, up to `count - 1` copies of each, shifted by a pixel or two."""
    return [moved(x, *shift) if any(shift) else x for shift in (SHIFTS[:count] if x.ndim == 4 else SHIFTS[:1])]

"""A decoder of the attacker's own records: the prior of attacks that search where natural records are.

References:
    Turk & Pentland 1991, "Eigenfaces for recognition", Journal of Cognitive Neuroscience 3.
    Zhang et al. 2020, "The secret revealer: generative model-inversion attacks against deep neural networks", arXiv
    1911.07135.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float
from pydantic import Field

from privsec.core.data import Array, Examples
from privsec.core.errors import NotApplicable
from privsec.core.keys import derive, generator
from privsec.core.spec import Spec
from privsec.ops.ascend import Box, project_box

MOST = 2000
"""Records a decoder learns from, at most."""
BATCH = 128
"""Of those, how many one step of the network sees."""
HELD_OUT = 5
"""Every so-manieth record tells how many steps of the network help with records it has not seen."""
EVERY = 25
"""Steps of the network between two looks at those."""


class Network(NamedTuple):
    """What is added to a mixture of components: `tanh(z @ inner + offset) @ outer`."""

    inner: Float[Array, "Z H"]
    offset: Float[Array, " H"]
    outer: Float[Array, "H D"]

    def __call__(self, z: Float[Array, "K Z"]) -> Float[jax.Array, "K D"]:
        return jnp.tanh(z @ self.inner + self.offset) @ self.outer


class Decoder(NamedTuple):
    """`x = mean + z @ components + network(z)`, moved into the data's box; the public records' z have covariance 1.

    Attributes:
        mean: of the public records, [...features].
        components: principal components of the records times their standard deviations, [Z, D].
        network: what the components leave out, as far as it can be told from z.
        box: smallest and largest value of each feature.
    """

    mean: jax.Array
    components: jax.Array
    network: Network
    box: Box

    def __call__(self, z: Float[jax.Array, "K Z"]) -> Float[jax.Array, " K *features"]:
        """The records of K latents.

        The derivative is that of the record before it was moved into the box: where pixels are black or white, a
        search could not leave them otherwise.
        """
        free = self.mean + (z @ self.components + self.network(z)).reshape(len(z), *self.mean.shape)
        return jax.lax.stop_gradient(project_box(free, self.box)) + (free - jax.lax.stop_gradient(free))

    def latents(self, x: Float[Array, " N *features"]) -> Float[jax.Array, "N Z"]:
        """Where records lie among the components."""
        scale = jnp.sum(jnp.square(self.components), axis=1)
        return (jnp.asarray(x) - self.mean).reshape(len(x), self.mean.size) @ self.components.T / scale


class Generator(Spec):
    """A small decoder learned from the attacker's own records, which show what records look like, not who was used."""

    latent: int = Field(default=32, ge=1)
    """Numbers that describe a record: principal components, no more than the records support."""
    hidden: int = Field(default=128, ge=0)
    """Width of the network that adds what the components leave out; 0 for the components alone."""
    steps: int = Field(default=1000, ge=0)
    """The most steps the network learns; it keeps only those that bring it nearer to records it has not seen."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Of the network (Adam)."""
    jitter: float = Field(default=0.1, ge=0)
    """Noise on the latents from which the network learns, in standard deviations."""

    def fitted(self, records: Examples | None, box: Box, key: jax.Array) -> Decoder:
        """The decoder of these records.

        Args:
            records: the attacker's; labels are not read.
            box: of the data, for one record.
            key: which of too many records are used, batches and noise.

        Raises:
            NotApplicable: there are not even two records.
        """
        if records is None or records.size < 2:
            raise NotApplicable(
                "a decoder is learned from the attacker's own records, and this knowledge has none: give "
                "Knowledge(population=Examples(...)) or a larger data set, or search in input space (mi_face)"
            )
        order = generator(derive(key, "records")).permutation(records.size)[:MOST]
        x = np.asarray(records.x, np.float64)[order]
        own = derive(key, "network")
        held_out = np.arange(len(x)) % HELD_OUT == 0
        useful = self._useful_steps(x[~held_out], x[held_out], box, own) if self.hidden and len(x) > HELD_OUT else 0
        return self._decoder(x, box, useful, own)

    def _decoder(self, x: np.ndarray, box: Box, steps: int, key: jax.Array) -> Decoder:
        bare = self._components(x, box, key)
        return bare._replace(network=_learned(self, bare, jnp.asarray(x, jnp.float32), key, jnp.asarray(steps)))

    def _useful_steps(self, x: np.ndarray, unseen: np.ndarray, box: Box, key: jax.Array) -> int:
        decoder = self._components(x, box, key)
        errors = _errors(self, decoder, jnp.asarray(x, jnp.float32), jnp.asarray(unseen, jnp.float32), key)
        return EVERY * int(np.argmin(errors))

    def _components(self, x: np.ndarray, box: Box, key: jax.Array) -> Decoder:
        """The decoder before its network has learned anything: that adds zero."""
        mean = x.mean(axis=0)
        flat = (x - mean).reshape(len(x), -1)
        _, values, rows = np.linalg.svd(flat, full_matrices=False)
        deviations = values / np.sqrt(len(x))
        kept = min(self.latent, int(np.sum(deviations > 1e-6 * deviations.max(initial=1e-12))))
        components = jnp.asarray(deviations[:kept, None] * rows[:kept], jnp.float32)
        inner, offset = (
            jax.random.normal(derive(key, name), shape)
            for name, shape in (("inner", (kept, self.hidden)), ("offset", (self.hidden,)))
        )
        network = Network(inner / np.sqrt(max(kept, 1)), offset / 2, jnp.zeros((self.hidden, flat.shape[1])))
        return Decoder(jnp.asarray(mean, jnp.float32), components, network, box)


@functools.partial(jax.jit, static_argnums=0)
def _learned(spec: Generator, decoder: Decoder, x: jax.Array, key: jax.Array, steps: jax.Array) -> Network:
    """The network after `steps` steps."""
    step, state = _training(spec, decoder, x, key)
    return jax.lax.fori_loop(0, steps, step, state)[0]


@functools.partial(jax.jit, static_argnums=0)
def _errors(
    spec: Generator, decoder: Decoder, x: jax.Array, unseen: jax.Array, key: jax.Array
) -> Float[jax.Array, " looks"]:
    """Mean squared error on unseen records after 0, `EVERY`, twice `EVERY` ... steps."""
    step, state = _training(spec, decoder, x, key)
    latents = decoder.latents(unseen)

    def look(state: tuple, first: jax.Array) -> tuple[tuple, jax.Array]:
        error = jnp.mean(jnp.square(decoder._replace(network=state[0])(latents) - unseen))
        return jax.lax.fori_loop(first, first + EVERY, step, state), error

    return jax.lax.scan(look, state, jnp.arange(0, spec.steps + 1, EVERY))[1]


def _training(spec: Generator, decoder: Decoder, x: Float[jax.Array, " N *features"], key: jax.Array):
    """(step, state) of Adam on the mean squared error of the records that latents near theirs are decoded to."""
    latents, optimizer = decoder.latents(x), optax.adam(spec.learning_rate)

    def error(network: Network, z: jax.Array, true: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(decoder._replace(network=network)(z) - true))

    def step(number: jax.Array, state: tuple) -> tuple:
        network, memory = state
        pick, noise = jax.random.split(jax.random.fold_in(key, number))
        rows = jax.random.randint(pick, (min(BATCH, len(x)),), 0, len(x))
        z = latents[rows] + spec.jitter * jax.random.normal(noise, (len(rows), latents.shape[1]))
        update, memory = optimizer.update(jax.grad(error)(network, z, x[rows]), memory, network)
        return optax.apply_updates(network, update), memory

    return step, (decoder.network, optimizer.init(decoder.network))

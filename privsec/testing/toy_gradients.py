"""A world in which observed gradients show the records they were taken on, and one in which they are of other records.

The models are small dense networks at initialization; a gradient of a single record determines it. A reconstruction is
a success within 0.1 of a record of its batch (root mean square over features in [0, 1]), which no guess is.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.attack import Attack, Knowledge, Updates
from privsec.core.data import Examples
from privsec.core.evidence import Evidence, Reconstructions
from privsec.core.recipe import Params
from privsec.core.target import Target
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.testing.toy import Gain
from privsec.training.gradients import cross_entropy

SHAPE = (4, 4, 1)
CLASSES = 5
MODELS = 2
BATCHES = 4
CLOSE = 0.1


@dataclass(frozen=True)
class GradientWorld:
    """Models, gradients, and the records that count as theirs.

    Attributes:
        bank: the models.
        knowledge: the gradients, one a batch.
        truth: the records [S, B, ...] of each batch.
    """

    bank: Target
    knowledge: Knowledge
    truth: np.ndarray

    def known(self, attack: Attack, without: Iterable[str] = ()) -> Knowledge:
        """The parts of Knowledge that `attack` declares, less those named."""
        parts, given = attack.requires - set(without), self.knowledge
        return Knowledge(
            num_classes=CLASSES,
            box=given.box,
            population=given.population if "population" in parts else None,
            updates=given.updates if "updates" in parts else None,
        )

    def gains(self, evidence: Evidence) -> Mapping[str, Gain]:
        """The share of records found; no guess finds one."""
        assert isinstance(evidence, Reconstructions)
        found = np.asarray(evidence.x).reshape(len(evidence.x), *self.truth.shape[:2], -1)
        true = self.truth.reshape(*self.truth.shape[:2], -1)
        distance = np.sqrt(np.square(found[:, :, :, None] - true[:, None]).mean(axis=-1)).min(axis=2)
        return {"advantage": Gain.of_the_impossible(float(np.mean(distance < CLOSE)))}


def observed(attack: Attack) -> GradientWorld:
    """The world in which the gradients are of these records."""
    return _world(attack.batch)  # type: ignore[attr-defined]


def others(attack: Attack) -> GradientWorld:
    """The world in which they are of others."""
    world = observed(attack)
    strangers = np.random.default_rng(1).uniform(size=world.truth.shape)
    return GradientWorld(world.bank, world.knowledge, strangers)


@functools.cache
def _world(batch: int) -> GradientWorld:
    rng = np.random.default_rng(0)
    model = model_of(MLP(hidden=(16,), activation="softplus"), SHAPE, CLASSES)
    params = jax.vmap(model.init)(jax.random.split(jax.random.key(0), MODELS))
    x = rng.uniform(size=(BATCHES, batch, *SHAPE)).astype(np.float32)
    # Restoring labels takes distinct ones in a batch, or counts: as many classes as records keeps it certain.
    y = np.stack([rng.permutation(np.arange(batch) % CLASSES) for _ in range(BATCHES)])

    def gradient(params: Params, x: jax.Array, y: jax.Array) -> Params:
        def loss(at: Params) -> jax.Array:
            return jnp.mean(cross_entropy(model.apply(at, x), jax.nn.one_hot(y, CLASSES)))

        return jax.grad(loss)(params)

    seen = jax.vmap(jax.vmap(gradient, (None, 0, 0)), (0, None, None))(params, jnp.asarray(x), jnp.asarray(y))
    public = Examples(rng.uniform(size=(50, *SHAPE)).astype(np.float32), rng.integers(0, CLASSES, 50).astype(np.int32))
    knowledge = Knowledge(
        num_classes=CLASSES,
        box=(jnp.zeros(SHAPE), jnp.ones(SHAPE)),
        population=public,
        updates=Updates(seen, params, batch),
    )
    return GradientWorld(Target.of(model, params, checkpoints=[params]), knowledge, x)

"""A world in which watched trainings tell which record of a prior was used, and one in which it was another.

What is left of each gradient when the known records' part is taken away is the gradient of the one unknown record, as
it is where no noise is added. In the other world the truth is drawn anew.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import binom

from privsec.core.attack import Attack, Knowledge, Updates
from privsec.core.data import Examples
from privsec.core.evidence import Evidence, Reconstructions
from privsec.core.recipe import Params
from privsec.core.target import Target
from privsec.measures import informed
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.testing.toy import Gain
from privsec.training.gradients import cross_entropy

SHAPE = (4, 4, 1)
CLASSES = 5
CANDIDATES = 60
MODELS = 2
TRAININGS = 12
STEPS = 3


@dataclass(frozen=True)
class InformedWorld:
    """Watched trainings, and who was in them.

    Attributes:
        bank: models that nobody asks.
        knowledge: what was seen, and the candidates.
        truth: the prior and which of it was in each training.
    """

    bank: Target
    knowledge: Knowledge
    truth: informed.InformedTruth

    def known(self, attack: Attack, without: Iterable[str] = ()) -> Knowledge:
        """The parts of Knowledge that `attack` declares, less those named."""
        missing = {part: None for part in ("candidates", "updates") if part not in attack.requires - set(without)}
        return replace(self.knowledge, **missing)

    def gains(self, evidence: Evidence) -> Mapping[str, Gain]:
        """The share of records picked right, over a guess."""
        assert isinstance(evidence, Reconstructions)
        hidden = self.truth.hidden[: len(evidence.x)]
        found = informed.measure(np.asarray(evidence.x)[:, 0], self.truth._replace(hidden=hidden))
        right, null = int(found["success"].sum()), informed.guess(self.truth.prior)
        return {"advantage": Gain(float(found["advantage"].mean()), float(binom.sf(right - 1, len(hidden), null)))}


def watched(attack: Attack) -> InformedWorld:
    """The world in which the trainings were on these records."""
    return _world(tuple(attack.rows(CANDIDATES).tolist()))  # type: ignore[attr-defined]


def elsewhere(attack: Attack) -> InformedWorld:
    """The world in which they were on others."""
    world = watched(attack)
    strangers = np.random.default_rng(1).integers(0, len(world.truth.prior), TRAININGS)
    return replace(world, truth=world.truth._replace(hidden=strangers))


@functools.cache
def _world(rows: tuple[int, ...]) -> InformedWorld:
    rng = np.random.default_rng(0)
    model = model_of(MLP(hidden=(8,)), SHAPE, CLASSES)
    x = rng.uniform(size=(CANDIDATES, *SHAPE)).astype(np.float32)
    candidates = Examples(x, rng.integers(0, CLASSES, CANDIDATES).astype(np.int32))
    prior, hidden = candidates.take(np.array(rows)), rng.integers(0, len(rows), TRAININGS)
    keys = jax.random.split(jax.random.key(0), TRAININGS * STEPS).reshape(TRAININGS, STEPS)
    start = jax.vmap(jax.vmap(model.init))(keys)

    def gradient(params: Params, x: jax.Array, y: jax.Array) -> Params:
        return jax.grad(lambda at: cross_entropy(model.apply(at, x[None]), jax.nn.one_hot(y[None], CLASSES))[0])(params)

    inner = jax.vmap(gradient, (0, None, None))
    seen = jax.vmap(inner)(start, jnp.asarray(prior.x[hidden]), jnp.asarray(prior.y[hidden]))
    params = jax.vmap(model.init)(jax.random.split(jax.random.key(1), MODELS))
    return InformedWorld(
        Target.of(model, params, checkpoints=[params]),
        Knowledge(
            num_classes=CLASSES,
            candidates=candidates,
            box=(jnp.zeros(SHAPE), jnp.ones(SHAPE)),
            updates=Updates(seen, start, 1),
        ),
        informed.InformedTruth(np.asarray(prior.x), hidden),
    )

"""Linear classifiers whose nearest adversarial records are known, for attacks that see labels only."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.targets import from_callable

D, CLASSES, COUNT = 25, 3, 12
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(D, CLASSES)).astype(np.float32)
BIAS = (-0.5 * WEIGHTS.sum(axis=0)).astype(np.float32)
X = RNG.uniform(0.3, 0.7, size=(COUNT, D)).astype(np.float32)
Y = (X @ WEIGHTS + BIAS).argmax(axis=1).astype(np.int32)

MODEL = Model(lambda key: (jnp.zeros((D, CLASSES)), jnp.zeros(CLASSES)), lambda p, x: x @ p[0] + p[1], CLASSES, (D,))
WALLS = Target.of(MODEL, (jnp.asarray(WEIGHTS), jnp.asarray(BIAS)))
CONSTANT = Target.of(MODEL, (jnp.zeros((D, CLASSES)), jnp.array([1.0, 0.0, 0.0])))


BOX = (np.float32(-1), np.float32(2))


def knowing(x=X, y=Y, box=BOX, **more):
    return Knowledge(CLASSES, points=Examples(x, y), box=box, **more)


def attacked(attack, target=WALLS, knowledge=None):
    """(evidence of one target without its leading axis, bool [N]: what it calls them is what the attacker wants)."""
    found = attack.run(target.restrict(attack.needs), knowledge or knowing(), jax.random.key(0))
    found = jax.tree.map(np.asarray, found)
    labels = np.asarray(target.labels(found.x[0]))
    won = np.where(found.goal < 0, labels != found.y, labels == found.goal)
    return found._replace(x=found.x[0], queries=found.queries[0], gradients=found.gradients[0]), won


def sizes(x, clean, norm):
    delta = np.asarray(x, np.float64) - np.asarray(clean, np.float64)
    return np.abs(delta).max(axis=1) if norm == "linf" else np.sqrt((delta**2).sum(axis=1))


def metered(budget):
    """The same walls outside of JAX, answering labels only, a few times."""
    predict = lambda x: (x @ WEIGHTS + BIAS).argmax(axis=1)  # noqa: E731
    return from_callable(predict, num_classes=CLASSES, shape=(D,), answers="labels", budget=budget)

"""Banks of models that were never trained: each looks its logits up in a table, so that what they leak is known."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.recipe import Model
from privsec.core.target import Target

CLASSES = 5


def look_up(table, x):
    return table[x[:, 0].astype(jnp.int32)]


MODEL = Model(init=lambda key: jnp.zeros((1, CLASSES)), apply=look_up, num_classes=CLASSES, shape=(1,))


@dataclass(frozen=True)
class Bank:
    target: Target
    knowledge: Knowledge
    included: np.ndarray
    logits: np.ndarray
    """[M, N, C] of the candidates."""
    population_logits: np.ndarray
    y: np.ndarray
    population_y: np.ndarray
    usable: np.ndarray

    def run(self, attack, key=0):
        return attack.run(self.target.restrict(attack.needs), self.knowledge, jax.random.key(key)).scores

    def with_references(self, logits, included):
        """The same targets, attacked with other references."""
        table = np.concatenate([logits, self.population_logits], axis=1)
        return replace(self, knowledge=replace(self.knowledge, references=stack(table), included=included))

    def aucs(self, scores, auc):
        return np.array([auc(row, member) for row, member in zip(scores, self.included, strict=True)])


def stack(table):
    return Target.of(MODEL, jnp.asarray(table, jnp.float32), jax.random.split(jax.random.key(0), len(table)))


def pairs(models, records, rng):
    """Complementary halves: rows 2p and 2p + 1 are complements of equal size."""
    included = np.zeros((models, records), bool)
    for p in range(models // 2):
        included[2 * p, rng.permutation(records)[: records // 2]] = True
        included[2 * p + 1] = ~included[2 * p]
    return included


def usable_of(models):
    """Neither itself nor its twin."""
    return ~np.kron(np.eye(models // 2, dtype=bool), np.ones((2, 2), bool))


def bank(seed=0, models=8, records=60, population=40, leak=0.0, noise=1.0):
    """Logits that are a record's own plus each model's noise; `leak` is added to the true class's logit of members."""
    rng = np.random.default_rng(seed)
    included, y = pairs(models, records, rng), rng.integers(0, CLASSES, records + population)
    table = np.broadcast_to(rng.normal(size=(records + population, CLASSES)), (models, records + population, CLASSES))
    table = (table + noise * rng.normal(size=table.shape)).astype(np.float32)
    of_y = np.arange(CLASSES) == y[:records, None]
    table[:, :records] += leak * included[..., None] * of_y
    x = np.arange(records + population, dtype=np.float32)[:, None]
    target, usable = stack(table), usable_of(models)
    candidates, others = Examples(x[:records], y[:records]), Examples(x[records:], y[records:])
    knowledge = Knowledge(CLASSES, candidates, others, target, included, usable)
    return Bank(target, knowledge, included, table[:, :records], table[:, records:], y[:records], y[records:], usable)

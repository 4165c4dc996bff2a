"""A least Recipe: logistic regression on one fixed batch, by hand-made functions."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax

from privsec.core.recipe import Batch, Model, Recipe, Schedule

CLASSES, FEATURES = 3, 4
MODEL = Model(
    init=lambda key: {"kernel": jax.random.normal(key, (FEATURES, CLASSES)), "bias": jnp.ones(CLASSES)},
    apply=lambda params, x: x @ params["kernel"] + params["bias"],
    num_classes=CLASSES,
    shape=(FEATURES,),
)


@dataclass(frozen=True)
class AllAtOnce:
    def draw(self, rng, include_row):
        rows = np.flatnonzero(include_row)[None]
        return Schedule(rows, np.ones(rows.shape))


def cross_entropy(logits, y):
    return -jnp.sum(y * jax.nn.log_softmax(logits), axis=-1)


def mean_gradient(model, loss, params, batch, rates, key):
    def total(params):
        return jnp.sum(loss(model.apply(params, batch.x), batch.y) * batch.weight) / jnp.sum(batch.weight)

    return jax.grad(total)(params)


def plain(rates):
    return optax.sgd(rates["learning_rate"])


RECIPE = Recipe(
    records=8,
    steps=10,
    batch_size=8,
    sampling=AllAtOnce(),
    loss=cross_entropy,
    gradient=mean_gradient,
    optimizer=plain,
    rates={"learning_rate": 0.1},
)


def batch_of(real, padding=0, seed=0):
    """`real` random records and `padding` rows of another kind (huge features, a target of their own)."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(size=(real, FEATURES)), np.full((padding, FEATURES), 1e6)]).astype(np.float32)
    y = np.eye(CLASSES, dtype=np.float32)[np.arange(real + padding) % CLASSES]
    return Batch(x, y, np.repeat([1.0, 0.0], [real, padding]).astype(np.float32))

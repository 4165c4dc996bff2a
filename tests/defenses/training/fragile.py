"""A task with two ways to solve it: one feature that no small change moves, and many that tell more and break easily.

Ten features are the class to the letter but only 0.2 strong; one is of strength 1 and wrong for a tenth of the records.
Within a radius of 0.3 the ten can be made to say anything.
"""

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.data import Examples
from privsec.core.target import Target
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.ops import ascend
from privsec.training.gradients import cross_entropy
from privsec.training.loop import train
from privsec.training.standard import Training

RADIUS, RECORDS = 0.3, 200
MODEL = model_of(MLP(hidden=()), (11,), 2)
RECIPE = Training(learning_rate=0.05, batch_size=50, epochs=20).recipe(RECORDS)


def records() -> Examples:
    y = np.arange(RECORDS) % 2
    side = 2.0 * y[:, None] - 1
    strong = np.where(np.arange(RECORDS)[:, None] < RECORDS // 10, -side, side)
    return Examples(np.hstack([strong, np.tile(0.2 * side, 10)]).astype(np.float32), y.astype(np.int32))


def robust_accuracy(recipe, model=MODEL) -> float:
    """The share of records classified rightly at the worst point within the radius (a linear model: found exactly)."""
    data = records()
    params = train(model, recipe, data, np.ones(RECORDS, bool), jax.random.key(0)).params
    y, target = jax.nn.one_hot(data.y, 2), Target.of(model, params)
    worst = ascend.pgd(
        lambda x: cross_entropy(target.logits(x), y), jnp.asarray(data.x), jax.random.key(1), RADIUS, 3, RADIUS
    )
    return float(np.mean(np.asarray(target.labels(worst)) == data.y))

"""Real DP-SGD trainings with canaries: many small softmax regressions, trained by the library itself."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.data import Examples
from privsec.core.keys import derive, generator, root
from privsec.core.recipe import DPEvent
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.training import loop
from privsec.training.standard import Training

ORDINARY, CANARIES = 60, 100
CHUNK = 100
"""Trainings of one vmapped program."""


class Population(NamedTuple):
    """`scores` [R, m] of m canaries by each of R trainings, their `coins` [R, m], and what each training spends."""

    scores: np.ndarray
    coins: np.ndarray
    event: DPEvent


def trained(trainings: int, seed: int = 0) -> Population:
    """R trainings, each with fair coins of its own for the same canaries.

    A canary is a record with a feature of its own, and its score what the model thinks of its label. Records are
    sampled by Poisson's coins at the nominal rate however many canaries are in, as the accountant assumes.
    """
    records = ORDINARY + CANARIES
    model = model_of(MLP(hidden=()), (8 + CANARIES,), 2)
    training = Training(optimizer="sgd", learning_rate=2.0, momentum=0.0, batch_size=40, epochs=3)
    recipe = DPSGD(noise_multiplier=1.0).on_recipe(training.recipe(records))
    assert recipe.dp_event is not None
    rng = np.random.default_rng([seed, 1])
    x = np.zeros((records, 8 + CANARIES), np.float32)
    x[:ORDINARY, :8] = rng.normal(size=(ORDINARY, 8))
    x[ORDINARY:, 8:] = 3 * np.eye(CANARIES)
    y = np.concatenate([x[:ORDINARY, 0] > 0, rng.random(CANARIES) < 0.5]).astype(np.int32)
    coins = rng.random((trainings, CANARIES)) < 0.5
    data, canaries = Examples(jnp.asarray(x), jnp.asarray(y)), Examples(x[ORDINARY:], y[ORDINARY:])

    def scores_of(given: loop.Arguments) -> jax.Array:
        params = loop.compiled(model, recipe)(given).params
        log_scores = jax.nn.log_softmax(model.apply(params, canaries.x))
        return jnp.take_along_axis(log_scores, canaries.y[:, None], axis=1)[:, 0]

    def arguments(run: int) -> loop.Arguments:
        key = derive(root(seed), "run", run)
        include = np.concatenate([np.ones(ORDINARY, bool), coins[run]])
        schedule = recipe.sampling.draw(generator(derive(key, "batches")), include)
        return loop.Arguments(data.x, data.y, schedule, dict(recipe.rates), derive(key, "training"), None)

    axes = loop.Arguments(x=None, y=None, schedule=0, rates=None, key=0, holdout=None)  # type: ignore[arg-type]
    program = jax.jit(jax.vmap(scores_of, in_axes=(axes,)))
    parts = []
    for start in range(0, trainings, CHUNK):
        given = [arguments(run) for run in range(start, min(start + CHUNK, trainings))]
        stacked = given[0]._replace(
            schedule=jax.tree.map(lambda *leaves: np.stack(leaves), *(one.schedule for one in given)),
            key=jnp.stack([one.key for one in given]),
        )
        parts.append(np.asarray(program(stacked), np.float64))
    return Population(np.concatenate(parts), coins, recipe.dp_event)

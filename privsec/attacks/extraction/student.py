"""How a copy learns from somebody else's answers: the training of a config, on soft labels."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core import axis
from privsec.core.keys import derive, generator
from privsec.core.recipe import Batch, Model, Params, Rates, Recipe, Schedule


class Lesson(NamedTuple):
    """What one student is trained with: `x` [N, ...], the answers it is to give, [N, C], and how."""

    x: jax.Array
    answers: jax.Array
    schedule: Schedule
    rates: Rates
    key: jax.Array


def students(
    model: Model, recipe: Recipe, x: np.ndarray, answers: np.ndarray, key: jax.Array
) -> Iterator[tuple[int, Params]]:
    """Trains a student for each of S sets of answers to the same inputs, one per core, and yields (s, its parameters).

    All begin at the same parameters and see the same batches: what differs is what they were told.

    Args:
        model: the students' architecture.
        recipe: how they are trained; its loss takes soft labels.
        x: inputs [N, ...], `recipe.records` of them.
        answers: probabilities [S, N, C].
        key: initialization and batches.
    """
    schedule = recipe.sampling.draw(generator(derive(key, "batches")), np.ones(len(x), bool))
    shared = jnp.asarray(x, jnp.float32)

    def lesson(s: int) -> Lesson:
        told = jnp.asarray(answers[s], jnp.float32)
        return Lesson(shared, told, schedule, dict(recipe.rates), derive(key, "training"))

    program = _compiled(model, recipe.program).lower(lesson(0)).compile()
    yield from axis.over_models(lambda s: jax.device_get(program(lesson(s))), range(len(answers)))


@functools.lru_cache(maxsize=32)
def _compiled(model: Model, program: Recipe):
    return jax.jit(functools.partial(_taught, model, program))


def _taught(model: Model, recipe: Recipe, given: Lesson) -> Params:
    optimizer = recipe.optimizer(given.rates)
    init_key, step_key = jax.random.split(given.key)

    def step(state: tuple, inputs: tuple) -> tuple[tuple, None]:
        (params, memory), (number, (index, weight)) = state, inputs
        batch = Batch(given.x[index], given.answers[index], weight)
        key = jax.random.fold_in(step_key, number)
        gradient = recipe.gradient(model, recipe.loss, params, batch, given.rates, key)
        updates, memory = optimizer.update(gradient, memory, params)
        return (jax.tree.map(jnp.add, params, updates), memory), None

    params = model.init(init_key)
    inputs = (jnp.arange(given.schedule.index.shape[0]), given.schedule)
    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), inputs)
    return params

"""One model: a pure function from key, data and membership to parameters; one scan over its steps."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from privsec.core import axis
from privsec.core.data import Array, Examples
from privsec.core.errors import ConfigError
from privsec.core.keys import derive, generator
from privsec.core.recipe import Batch, Model, Params, Rates, Recipe, Schedule
from privsec.training import partition

HOLDOUT = 2000
"""At most this many holdout records decide when to stop early."""
TEACHER = 1
"""Which key of a training is its teacher's."""


class Trained(NamedTuple):
    """Parameters, and what happened on the way: `holdout_loss` [epochs] and the number of epochs that counted.

    `observed` is what an observer in the optimizer's state gathered (`training/observe.py`), None where there is none.
    `checkpoints` is what the parameters were at `recipe.checkpoints` = K earlier moments: every leaf has a leading [K],
    () where K = 0. Where members are trained, all has a leading [members], and checkpoints have it behind K.
    """

    params: Params
    holdout_loss: jax.Array
    epochs: jax.Array
    observed: Any = None
    checkpoints: Params = ()


class Arguments(NamedTuple):
    """Everything a compiled training takes: arrays and numbers, nothing static; `start`: what is trained further."""

    x: Array
    y: Array
    schedule: Schedule
    rates: Rates
    key: jax.Array
    holdout: Examples | None
    start: Params = None


def train(
    model: Model,
    recipe: Recipe,
    data: Examples,
    include_row: np.ndarray,
    key: jax.Array,
    holdout: Examples | None = None,
    *,
    kept: np.ndarray | None = None,
    start: Params = None,
) -> Trained:
    """Trains one model on the records where `include_row` holds.

    Args:
        model: the architecture.
        recipe: how to train it, defenses included.
        data: N candidate records.
        include_row: bool [N], true for exactly `recipe.records` of them.
        key: consumed here: initialization, batches, noise.
        holdout: records that early stopping may look at (the first `HOLDOUT`); needed when `recipe.patience` is set.
        kept: bool [N]: those of them that count; the others are gone through without effect. All where None.
        start: parameters to go on from; fresh ones where None.

    Returns:
        Trained, on the device.

    Raises:
        ValueError: `include_row` names another number of records than the recipe is for, or early stopping has no
            holdout to look at.
    """
    given = arguments(recipe, data, include_row, key, holdout, kept=kept)
    return compiled(model, recipe)(given._replace(start=start))


def arguments(
    recipe: Recipe,
    data: Examples,
    include_row: np.ndarray,
    key: jax.Array,
    holdout: Examples | None = None,
    *,
    kept: np.ndarray | None = None,
) -> Arguments:
    """What the compiled program of `recipe` takes to train this one model."""
    if recipe.patience is not None and (holdout is None or not holdout.size):
        raise ValueError("early stopping looks at holdout records, and there are none")
    if int(np.sum(include_row)) != recipe.records:
        named = int(np.sum(include_row))
        raise ValueError(f"the recipe is for {recipe.records} records, and include_row names {named}")
    if recipe.partitions > 1:
        counted = np.asarray(include_row) if kept is None else np.asarray(include_row) & np.asarray(kept)
        schedule = _apart(recipe, data, counted, key)
    else:
        schedule = recipe.sampling.draw(generator(derive(key, "batches")), np.asarray(include_row))
        if kept is not None:
            schedule = schedule._replace(weight=schedule.weight * np.asarray(kept, np.float32)[schedule.index])
    watched = None
    if recipe.patience is not None and holdout is not None:
        watched = Examples(jnp.asarray(holdout.x[:HOLDOUT]), jnp.asarray(holdout.y[:HOLDOUT]))
    return Arguments(data.x, data.y, schedule, dict(recipe.rates), derive(key, "training"), watched)


def _apart(recipe: Recipe, data: Examples, counted: np.ndarray, key: jax.Array) -> Schedule:
    """A schedule for each part of the records, leaves [partitions, steps, B], drawn from these records alone."""
    drawn = []
    for number, rows in enumerate(partition.parts(np.asarray(data.x), np.asarray(data.y), counted, recipe.partitions)):
        own = recipe.sampling.draw(generator(derive(key, "batches", number)), np.ones(len(rows), bool))
        drawn.append(own._replace(index=rows[own.index]) if len(rows) else own)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)


def compiled(model: Model, recipe: Recipe):
    """The program Arguments -> Trained; Recipes that differ only in rates share one."""
    return _compiled(model, recipe.program)


@functools.lru_cache(maxsize=128)
def _compiled(model: Model, program: Recipe):
    return jax.jit(functools.partial(_train, model, program))


def _train(model: Model, recipe: Recipe, given: Arguments) -> Trained:
    if recipe.partitions > 1:
        return _train_members(model, recipe, given)
    taught = _taught(model, recipe, given)
    optimizer = recipe.optimizer(given.rates)
    init_key, step_key = jax.random.split(given.key)
    params = model.init(init_key) if given.start is None else given.start

    def step(state, inputs):
        params, opt_state = state
        number, (index, weight) = inputs
        key = jax.random.fold_in(step_key, number)
        y = jax.nn.one_hot(jnp.asarray(given.y)[index], model.num_classes) if taught is None else taught[0][index]
        weight = weight if taught is None else weight * taught[1][index]
        batch = Batch(jnp.asarray(given.x)[index], y, weight)
        for position, transform in enumerate(recipe.transforms):
            batch = transform(batch, given.rates, jax.random.fold_in(key, position))
        gradient = recipe.gradient(model, recipe.loss, params, batch, given.rates, jax.random.fold_in(key, 1 << 16))
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (jax.tree.map(jnp.add, params, updates), opt_state), None

    start = (params, optimizer.init(params))
    steps = given.schedule.index.shape[0]
    inputs = (jnp.arange(steps), given.schedule)
    per_epoch = -(-recipe.records // recipe.batch_size)
    if recipe.patience is None:
        (params, opt_state), _, kept = _scan(step, start, inputs, recipe.checkpoints, lambda state: state[0], per_epoch)
        return Trained(params, jnp.zeros(0), jnp.asarray(-(-steps // per_epoch)), _observed(opt_state), kept)
    epochs = jax.tree.map(lambda leaf: jnp.reshape(leaf, (-1, per_epoch, *leaf.shape[1:])), inputs)
    return _train_until_stale(model, recipe, given, step, start, epochs)


def _train_members(model: Model, recipe: Recipe, given: Arguments) -> Trained:
    """Each member by itself: nothing of one's training, its batches, keys or optimizer, is in another's."""
    member, alone = model.member, replace(recipe, partitions=1)
    if member is None:
        raise ConfigError(
            "the recipe is for a model of members, each with its own part of the records, and this model has none: "
            "train what `PartitionAggregation.on_model` makes of it."
        )

    def one(own: tuple[Schedule, jax.Array, Params]) -> Trained:
        schedule, key, start = own
        return _train(member, alone, given._replace(schedule=schedule, key=key, start=start))

    keys = jax.random.split(given.key, recipe.partitions)
    trained = axis.over_members(one, (given.schedule, keys, given.start))
    kept = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), trained.checkpoints)
    return trained._replace(checkpoints=kept)


def _taught(model: Model, recipe: Recipe, given: Arguments) -> tuple[jax.Array, jax.Array] | None:
    """Soft targets [N, C] and weights [N] by what the recipe's teacher answers; None where there is no teacher.

    The teacher is trained first, on the first `teacher.steps` batches that the model itself will see.
    """
    if recipe.teacher is None or recipe.lesson is None:
        return None
    index, weight = given.schedule
    seen = Schedule(index[: recipe.teacher.steps], weight[: recipe.teacher.steps])
    own = given._replace(schedule=seen, key=jax.random.fold_in(given.key, TEACHER), start=None)
    teacher, x = _train(model, recipe.teacher, own).params, jnp.asarray(given.x)
    logits = jax.lax.map(lambda record: model.apply(teacher, record[None])[0], x, batch_size=256)
    mine = jnp.zeros(len(x), bool).at[index].max(jnp.asarray(weight) > 0)
    return recipe.lesson(logits, jnp.asarray(given.y), mine)


def _train_until_stale(model: Model, recipe: Recipe, given: Arguments, step, start, epochs) -> Trained:
    """Keeps the parameters of the best holdout loss; no work is done once `patience` epochs brought no better one."""
    watched, patience = given.holdout, recipe.patience
    assert watched is not None and patience is not None  # `arguments` made sure

    def holdout_loss(params: Params) -> jax.Array:
        return jnp.mean(
            recipe.loss(model.apply(params, jnp.asarray(watched.x)), jax.nn.one_hot(watched.y, model.num_classes))
        )

    def watch(carry, inputs):
        state, best, best_loss, stale, ran = carry

        def go_on(_):
            after, _ = jax.lax.scan(step, state, inputs)
            loss = holdout_loss(after[0])
            better = loss < best_loss
            kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), after[0], best)
            return (after, kept, jnp.minimum(loss, best_loss), jnp.where(better, 0, stale + 1), ran + 1), loss

        return jax.lax.cond(stale >= patience, lambda _: (carry, jnp.asarray(jnp.inf)), go_on, None)

    carry = (start, start[0], jnp.asarray(jnp.inf), jnp.asarray(0), jnp.asarray(0))
    (last, best, _, _, ran), losses, kept = _scan(watch, carry, epochs, recipe.checkpoints, lambda carry: carry[0][0])
    return Trained(best, losses, ran, _observed(last[1]), kept)


def _scan(body, carry, inputs, checkpoints: int, params_of, unit: int = 1):
    """`jax.lax.scan`, and `params_of(carry)` after each of so many equal parts, stacked; () where there are none.

    The parts are whole multiples of `unit` (an epoch) where they can be, and the last steps come after the last part.
    """
    if not checkpoints:
        return *jax.lax.scan(body, carry, inputs), ()
    size = jax.tree.leaves(inputs)[0].shape[0] // (checkpoints + 1)
    size = size - size % unit or size

    def part(carry, inputs):
        carry, outputs = jax.lax.scan(body, carry, inputs)
        return carry, (outputs, params_of(carry))

    head = jax.tree.map(lambda leaf: leaf[: checkpoints * size].reshape(checkpoints, size, *leaf.shape[1:]), inputs)
    carry, (outputs, kept) = jax.lax.scan(part, carry, head)
    carry, rest = jax.lax.scan(body, carry, jax.tree.map(lambda leaf: leaf[checkpoints * size :], inputs))
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a.reshape(-1, *a.shape[2:]), b]), outputs, rest)
    return carry, joined, kept


def _observed(opt_state) -> Any:
    return optax.tree.get(opt_state, "observed")

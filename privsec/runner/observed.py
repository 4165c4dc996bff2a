"""What an observer of the training sees: gradients of batches, or every step, as the defended training makes them."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from privsec.attacks.inversion.informed_adversary import InformedAdversary
from privsec.core import keys
from privsec.core.attack import Attack, Updates
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.core.recipe import Batch, Model, Params, Rates, Recipe, Schedule
from privsec.core.target import Target
from privsec.runner.plan import Bank
from privsec.runner.world import World
from privsec.training.gradients import PrivateGradient
from privsec.training.stacks import stack

LARGEST = 1 << 31
"""Bytes that the steps of watched trainings may fill."""


class Watched(NamedTuple):
    """Who is in the watched trainings: rows of candidates, `known` in each, and one of the prior, `hidden` [trials]."""

    known: np.ndarray
    hidden: np.ndarray


def batches(attack: Attack, world: World) -> np.ndarray:
    """Rows [S, B] of candidates in the observed batches: distinct random ones, the same for every model and defense.

    Raises:
        NotApplicable: there are fewer candidates than the batches take.
    """
    count, size = attack.batches, attack.batch  # type: ignore[attr-defined]
    if count * size > world.candidates.size:
        raise NotApplicable(
            f"{attack.title} watches {count} batches of {size} records, and there are {world.candidates.size} "
            "candidates: write fewer batches, or a larger population.size"
        )
    order = keys.generator(keys.derive(world.root, "observed")).permutation(world.candidates.size)
    return order[: count * size].reshape(count, size)


def updates(attack: Attack, bank: Bank, world: World, target: Target) -> Updates:
    """The gradients of those batches at the first models of a bank, before the training or after it.

    Whatever the recipe does to a batch and to a gradient (augmentation, clipping, noise) is done here too. An informed
    adversary watches trainings from their first step on.

    Raises:
        NotApplicable: as `batches`, or `watched`; the records are trained on in parts.
    """
    if bank.recipe.partitions > 1:
        raise NotApplicable(
            "partition_aggregation: each member follows gradients of its own part of the records, so there is none of "
            "a whole batch to watch"
        )
    if isinstance(attack, InformedAdversary):
        return steps(attack, bank, world)
    rows = batches(attack, world)
    count = min(attack.targets, target.size or 1)  # type: ignore[attr-defined]
    model = bank.model(world.model)
    if attack.moment == "start":  # type: ignore[attr-defined]
        start = stack([model.init(keys.derive(world.root, "observed", "start", t)) for t in range(count)])
    else:
        start = jax.tree.map(lambda leaf: leaf[:count], target._params)
    x, y = world.candidates
    recipe = bank.recipe.program
    if isinstance(recipe.gradient, PrivateGradient):  # a batch of this size is one that such a training expects
        recipe = replace(recipe, gradient=replace(recipe.gradient, expected_batch=float(rows.shape[1])))
    one_hot = np.eye(model.num_classes, dtype=np.float32)[np.asarray(y)]
    seen = []
    for t in range(count):
        params = jax.tree.map(lambda leaf, t=t: leaf[t], start)
        drawn = keys.derive(world.root, "observed", "noise", t)
        seen.append(
            [
                _gradient(
                    model,
                    recipe,
                    params,
                    Batch(jnp.asarray(x[batch]), jnp.asarray(one_hot[batch]), jnp.ones(len(batch))),
                    dict(bank.recipe.rates),
                    jax.random.fold_in(drawn, s),
                )
                for s, batch in enumerate(rows)
            ]
        )
    return Updates(stack([stack(steps) for steps in seen]), start, rows.shape[1])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _gradient(model: Model, recipe: Recipe, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
    for position, transform in enumerate(recipe.transforms):
        batch = transform(batch, rates, jax.random.fold_in(key, position))
    return recipe.gradient(model, recipe.loss, params, batch, rates, jax.random.fold_in(key, 1 << 16))


def watched(attack: InformedAdversary, world: World) -> Watched:
    """The trainings that an informed adversary watches: as large as all others, the known records drawn once.

    Raises:
        NotApplicable: there are too few candidates beside the prior.
    """
    size, prior = world.experiment.population.size, attack.rows(world.candidates.size)
    others = np.setdiff1d(np.arange(world.candidates.size), prior)
    if len(np.unique(prior)) < attack.prior or len(others) < size - 1:
        raise NotApplicable(
            f"{attack.title} takes {attack.prior} candidates for its prior and {size - 1} others, and there are "
            f"{world.candidates.size}: write a smaller prior"
        )
    rng = keys.generator(keys.derive(world.root, "informed"))
    return Watched(np.sort(rng.permutation(others)[: size - 1]), prior[rng.integers(0, attack.prior, attack.trials)])


def steps(attack: InformedAdversary, bank: Bank, world: World) -> Updates:
    """The first steps of those trainings: gradients less what the known records account for, leaves [trials, S, ...].

    The observer knows which of the known records a step drew, and computes their part, clipped as the training clips
    it; whether the hidden record was drawn, and the noise, it does not know.

    Raises:
        NotApplicable: as `watched`; the training has a teacher, or its steps fill too much memory.
    """
    trainings, recipe, model = watched(attack, world), bank.recipe, bank.model(world.model)
    if recipe.teacher is not None:
        raise NotApplicable("the labels of a distilled training hang on all records: there is no part that is known")
    count = min(attack.steps, recipe.steps)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(model.init, world.root)))
    if 2 * attack.trials * count * size > LARGEST:
        raise NotApplicable(
            f"{attack.trials} trainings of {count} steps with {size} bytes of parameters fill more than "
            f"{LARGEST >> 30} GiB: write fewer trials or steps, or a smaller network"
        )
    rates, everyone = dict(recipe.rates), np.zeros(world.candidates.size, bool)
    everyone[trainings.known] = True
    seen = []
    for trial, hidden in enumerate(trainings.hidden):
        key, include = keys.derive(world.root, "informed", trial), everyone.copy()
        include[hidden] = True
        drawn = recipe.sampling.draw(keys.generator(keys.derive(key, "batches")), include)
        schedule = Schedule(drawn.index[:count], drawn.weight[:count])
        seen.append(_steps(model, recipe.program, world.candidates, schedule, int(hidden), rates, key))
    gradients, start = jax.tree.map(lambda *leaves: np.stack(leaves), *seen)
    return Updates(gradients, start, recipe.batch_size)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _steps(
    model: Model, recipe: Recipe, data: Examples, schedule: Schedule, hidden: int, rates: Rates, key: jax.Array
) -> tuple[Params, Params]:
    """(what each gradient has beyond the known records' part, the parameters before each step), leaves [S, ...]."""
    init_key, step_key = jax.random.split(key)
    optimizer, params = recipe.optimizer(rates), model.init(init_key)
    quiet = {name: 0.0 if name == "noise_multiplier" else rate for name, rate in rates.items()}

    def step(state: tuple, inputs: tuple) -> tuple[tuple, tuple[Params, Params]]:
        (params, memory), (number, (index, weight)) = state, inputs
        batch = Batch(jnp.asarray(data.x)[index], jax.nn.one_hot(jnp.asarray(data.y)[index], model.num_classes), weight)
        known = batch._replace(weight=weight * (index != hidden))
        # Keys of their own: what the training draws at random, the observer does not know.
        own, other = jax.random.split(jax.random.fold_in(step_key, number))
        gradient = _gradient(model, recipe, params, batch, rates, own)
        beyond = jax.tree.map(jnp.subtract, gradient, _gradient(model, recipe, params, known, quiet, other))
        update, memory = optimizer.update(gradient, memory, params)
        return (jax.tree.map(jnp.add, params, update), memory), (beyond, params)

    inputs = (jnp.arange(schedule.index.shape[0]), schedule)
    return jax.lax.scan(step, (params, optimizer.init(params)), inputs)[1]

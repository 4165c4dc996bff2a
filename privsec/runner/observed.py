"""What an observer of the training sees: gradients of batches, as the defended training computes them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core import keys
from privsec.core.attack import Attack, Updates
from privsec.core.errors import NotApplicable
from privsec.core.recipe import Batch, Model, Params, Rates, Recipe
from privsec.core.target import Target
from privsec.runner.plan import Bank
from privsec.runner.world import World


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

    Whatever the recipe does to a batch and to a gradient (augmentation, clipping, noise) is done here too.

    Raises:
        NotApplicable: as `batches`.
    """
    rows = batches(attack, world)
    count = min(attack.targets, target.size or 1)  # type: ignore[attr-defined]
    model = bank.model(world.model)
    if attack.moment == "start":  # type: ignore[attr-defined]
        init_keys = [keys.derive(world.root, "observed", "start", t) for t in range(count)]
        start = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(model.init, init_keys))
    else:
        start = jax.tree.map(lambda leaf: leaf[:count], target._params)
    x, y = world.candidates
    one_hot = np.eye(model.num_classes, dtype=np.float32)[np.asarray(y)]
    seen = []
    for t in range(count):
        params = jax.tree.map(lambda leaf, t=t: leaf[t], start)
        drawn = keys.derive(world.root, "observed", "noise", t)
        seen.append(
            [
                _gradient(
                    model,
                    bank.recipe.program,
                    params,
                    Batch(jnp.asarray(x[batch]), jnp.asarray(one_hot[batch]), jnp.ones(len(batch))),
                    dict(bank.recipe.rates),
                    jax.random.fold_in(drawn, s),
                )
                for s, batch in enumerate(rows)
            ]
        )
    stacked = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps) for steps in seen]
    return Updates(jax.tree.map(lambda *leaves: jnp.stack(leaves), *stacked), start, rows.shape[1])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _gradient(model: Model, recipe: Recipe, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
    for position, transform in enumerate(recipe.transforms):
        batch = transform(batch, rates, jax.random.fold_in(key, position))
    return recipe.gradient(model, recipe.loss, params, batch, rates, jax.random.fold_in(key, 1 << 16))

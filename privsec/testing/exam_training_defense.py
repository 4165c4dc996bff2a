"""What a defense of the training has to pass: it gives back a recipe, and DP-SGD stays private beside it."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core import keys
from privsec.core.data import Examples
from privsec.core.defense import Defense, TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch, DPEvent, Model, Params, Recipe
from privsec.core.target import Target
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.testing.exam import require
from privsec.training import loop
from privsec.training.gradients import PrivateGradient
from privsec.training.sampling import Poisson
from privsec.training.standard import Training


def changes_nothing(defense: TrainingDefense) -> bool:
    """Whether it returns the recipe and the architecture that it was given."""
    recipe, model = plain_recipe(), plain_model()
    return defense.on_recipe(recipe) is recipe and defense.on_model(model) is model


def keeps_to_its_stage(defense: TrainingDefense) -> None:
    """Recipe in, recipe out; the architecture answers as before to what it answered before."""
    given = plain_recipe()
    before = replace(given, rates=dict(given.rates))
    made = defense.on_recipe(given)
    require(given == before, "`on_recipe` changed the recipe it was given: build another with dataclasses.replace")
    require(
        isinstance(made, Recipe) and made.records == given.records,
        "`on_recipe` must return a Recipe for as many records",
    )
    require(
        hash(made.program) == hash(defense.on_recipe(plain_recipe()).program),
        "the recipe's program is not hashable or differs from call to call, so every model is compiled anew: write "
        "the gradient, transforms and optimizer as functions of a module or as frozen dataclasses",
    )
    model = defense.on_model(plain_model())
    require(
        type(defense).model_validate(defense.to_json()).on_model(plain_model()) is model,
        "`on_model` makes another Model at every call, so every training is compiled anew: make it in a function under "
        "functools.lru_cache",
    )
    require(
        (model.shape, model.num_classes) == (plain_model().shape, plain_model().num_classes),
        "`on_model` must return a Model of the same records and classes",
    )


def privacy(defense: Defense) -> None:
    """A training defense keeps the guarantee of DP-SGD before it, or refuses to be combined with it."""
    if not isinstance(defense, TrainingDefense):
        return
    private = private_recipe()
    try:
        made = defense.on_recipe(private)
    except ConfigError as reason:
        require(str(reason), "it refuses DP-SGD without a reason: say which of the two to leave out")
        return
    require(made.dp_event == private.dp_event, "it changes `dp_event`: only the defense that makes the noise states it")
    require(
        isinstance(made.gradient, PrivateGradient) and made.sampling == private.sampling,
        "it replaces the private gradient or the Poisson sampling and keeps `dp_event`: raise ConfigError where "
        "`recipe.dp_event` is not None",
    )
    for name in ("clip_norm", "noise_multiplier"):
        require(made.rates[name] == private.rates[name], f"it changes `{name}` of DP-SGD, which `dp_event` counts on")
    require(
        not mixes_records(made),
        "one record changes what the others look like in the batch, so clipping no longer bounds its influence: raise "
        "ConfigError where `recipe.dp_event` is not None, and set `mixes_records = True` on the transform",
    )


def accuracy(defense: TrainingDefense) -> float:
    """The share of fresh records that a model trained under the defense gets right."""
    return accuracy_of(Target.of(defense.on_model(plain_model()), trained(defense)))


def accuracy_of(target: Target) -> float:
    """The share of fresh records that one model gets right."""
    fresh = blobs(1)
    return float(np.mean(np.asarray(target.labels(jnp.asarray(fresh.x))) == fresh.y))


def blobs(seed: int) -> Examples:
    """400 records [8] of four well-separated classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, 400).astype(np.int32)
    return Examples((rng.normal(size=(400, 8)) + 3 * np.eye(4, 8)[y]).astype(np.float32), y)


def plain_recipe() -> Recipe:
    """An undefended training on `blobs`."""
    return Training(learning_rate=0.01, batch_size=50, epochs=10).recipe(400)


def private_recipe() -> Recipe:
    """The same training with clipping, noise and Poisson sampling."""
    recipe = plain_recipe()
    rate = recipe.batch_size / recipe.records
    private = replace(
        recipe,
        sampling=Poisson(recipe.steps, rate, recipe.records),
        gradient=PrivateGradient(float(recipe.batch_size)),
        dp_event=DPEvent(rate, 1.0, recipe.steps),
    )
    return private.with_rates(clip_norm=1.0, noise_multiplier=1.0)


def plain_model() -> Model:
    """A small network for `blobs`."""
    return model_of(MLP(hidden=(16,)), (8,), 4)


def trained(defense: TrainingDefense | None = None) -> Params:
    """The parameters of that network, trained on `blobs`."""
    recipe = plain_recipe() if defense is None else defense.on_recipe(plain_recipe())
    model = plain_model() if defense is None else defense.on_model(plain_model())
    data = blobs(0)
    return loop.train(model, recipe, data, np.ones(data.size, bool), keys.root(0), blobs(2)).params


def mixes_records(recipe: Recipe) -> bool:
    """Whether changing one record of a batch changes another's row after the recipe's transforms."""
    data = blobs(0)
    y = jax.nn.one_hot(jnp.asarray(data.y[:8]), 4)
    given = Batch(jnp.asarray(data.x[:8]), y, jnp.ones(8))
    changed = Batch(given.x.at[0].add(1.0), y.at[0].set(jnp.roll(y[0], 1)), given.weight)

    def transformed(batch: Batch, key: jax.Array) -> Batch:
        for position, transform in enumerate(recipe.transforms):
            batch = transform(batch, recipe.rates, jax.random.fold_in(key, position))
        return batch

    for key in jax.random.split(jax.random.key(0), 4):  # a shuffle may leave the record where it is
        if any(
            not np.array_equal(a[1:], b[1:])
            for a, b in zip(*(transformed(b, key) for b in (given, changed)), strict=True)
        ):
            return True
    return False

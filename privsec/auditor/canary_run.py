"""One training with canaries in it, and the scores that an attacker gives them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, NamedTuple

import jax
import numpy as np

from privsec.core import keys
from privsec.core.data import Array, Examples
from privsec.core.errors import DataError
from privsec.core.recipe import Model, Recipe
from privsec.core.target import Target
from privsec.data.canaries import Kind, Planted, plant
from privsec.training import dirac, loop, observe
from privsec.training.sampling import Poisson

Access = Literal["black-box", "white-box"]
"""The final model's answers; those, and every privatized gradient with the parameters it was taken at."""


class CanaryRun(NamedTuple):
    """Which canaries were in (`coins` bool [m]), what each statistic says ([m]), and the model's held-out accuracy."""

    coins: np.ndarray
    scores: dict[str, np.ndarray]
    accuracy: float


def with_gradients(
    model: Model, recipe: Recipe, data: Examples, count: int, key: jax.Array, holdout: Examples | None
) -> CanaryRun:
    """A training with `count` gradient canaries on top of its records, seen in every privatized gradient."""
    coins = keys.generator(keys.derive(key, "coins")).random(count) < 0.5
    chosen = _chosen(data, recipe.records, key)
    extended = dirac.with_canaries(model, recipe, chosen, count)
    watched = observe.observing(extended.recipe, observe.Dirac(), count)
    include = np.concatenate([np.ones(chosen.size, bool), coins])
    stop = dirac.as_records(holdout) if holdout is not None else None
    trained = _train(extended.model, watched, extended.data, include, key, stop)
    target = Target.of(model, trained.params[dirac.NET])
    return CanaryRun(coins, _seen(trained.observed, recipe), _accuracy(target, holdout))


def with_records(
    model: Model,
    recipe: Recipe,
    data: Examples,
    count: int,
    kind: Kind,
    access: Access,
    key: jax.Array,
    box: tuple[Array, Array] | None,
    holdout: Examples | None,
) -> CanaryRun:
    """A training in which `count` canaries, half of them in, take the place of ordinary records.

    Raises:
        DataError: there are too few records for that.
    """
    ordinary = recipe.records + (count // 2 if kind == "mislabeled" else -(count // 2))
    if ordinary < 1 or (kind == "mislabeled" and ordinary < count):
        raise DataError(
            f"{count} {kind} canaries, half of them trained on, take the place of all {recipe.records} records that "
            f"the training is for. Ask for at most {2 * recipe.records - 1}, or for gradient canaries, which take none."
        )
    chosen = _chosen(data, ordinary, key)
    planted = plant(chosen, count, kind, keys.derive(key, "plant"), num_classes=model.num_classes, box=box)
    watched = recipe
    if access == "white-box":
        watched = observe.observing(recipe, observe.Records(model, recipe.loss), count)
        watched = watched.with_rates(canary_x=planted.canaries.x, canary_y=planted.canaries.y)  # type: ignore[arg-type]
    trained = _train(model, watched, planted.examples, planted.include, key, holdout)
    target = Target.of(model, trained.params)
    scores = {"margin": _relative_to_class(target.observe(planted.canaries, "margin")[0], planted)}
    if access == "white-box":
        scores |= _seen(trained.observed, recipe)
    return CanaryRun(planted.coins, scores, _accuracy(target, holdout))


def _chosen(data: Examples, count: int, key: jax.Array) -> Examples:
    if count > data.size:
        raise DataError(
            f"the audited training takes {count} ordinary records, canaries made of them included, and there are "
            f"{data.size}. Ask for fewer canaries, or for gradient canaries, which are not made of records."
        )
    return data.take(np.sort(keys.generator(keys.derive(key, "records")).permutation(data.size)[:count]))


def _train(
    model: Model, recipe: Recipe, data: Examples, include: np.ndarray, key: jax.Array, holdout: Examples | None
) -> loop.Trained:
    """One training on however many records the coins chose, at the rate that `recipe` is for."""
    sampling = recipe.sampling
    if isinstance(sampling, Poisson):
        sampling = replace(sampling, records=len(include))  # only widens the padding
    exact = replace(recipe, records=int(include.sum()), sampling=sampling)
    program = recipe if isinstance(sampling, Poisson) else exact  # Poisson steps do not hang on the number of records
    stop = holdout if recipe.patience is not None else None
    given = loop.arguments(exact, data, include, keys.derive(key, "training"), stop)
    return jax.device_get(loop.compiled(model, program)(given))


def _seen(sight: observe.Sight, recipe: Recipe) -> dict[str, np.ndarray]:
    """The statistics of a sight: the sum over steps, and how much it changed, which tells noise that is used again."""
    noisy = recipe.dp_event is not None
    main = {"likelihood": sight.likelihood} if noisy else {"projection": sight.projection}
    return {name: np.asarray(seen, np.float64) for name, seen in {**main, "change": sight.change}.items()}


def _relative_to_class(margin: np.ndarray, planted: Planted) -> np.ndarray:
    """Each canary's margin less the mean of all canaries of its label, in or out: some labels are easier."""
    y, values = planted.canaries.y, np.asarray(margin, np.float64)
    sums, counts = np.bincount(y, values), np.bincount(y)
    return values - (sums / np.maximum(counts, 1))[y]


def _accuracy(target: Target, holdout: Examples | None) -> float:
    return float(target.observe(holdout, "correct").mean()) if holdout is not None and holdout.size else math.nan

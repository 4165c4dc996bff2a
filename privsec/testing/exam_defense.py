"""What every defense has to pass: it acts at its stage only, can be switched off, and leaves a useful model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core import keys
from privsec.core.access import Access
from privsec.core.data import Examples
from privsec.core.defense import Defense, OutputDefense, TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch, DPEvent, Model, Params, Recipe
from privsec.core.spec import SpecError
from privsec.core.target import Target
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.testing.exam import Check, cites, examine, is_documented, is_its_config, require
from privsec.training import loop
from privsec.training.gradients import PrivateGradient
from privsec.training.sampling import Poisson
from privsec.training.standard import Training

FLOOR = 0.7
"""Accuracy that four well-separated classes must keep; guessing gets a quarter."""
OFF = (0, None, math.inf, 1)
"""Values of a field that may switch a defense off."""


def examine_defense(defense: Defense, *, off: Defense | None = None, skip: Iterable[str] = ()) -> None:
    """Holds a defense against everything that privsec expects of one; takes seconds.

    Args:
        defense: the Spec at a mild strength, for example `Rounding(decimals=2)`.
        off: the same defense at strength zero; found where one field at 0, 1, null or infinity does it.
        skip: names of `DEFENSE_CHECKS` that do not apply.

    Raises:
        AssertionError: which requirements it misses, and what to do.

    >>> from privsec.defenses.outputs.temperature import Temperature
    >>> examine_defense(Temperature())
    """
    if off is not None:
        require(_is_identity(off), f"{off!r} is not the identity")
        skip = {*skip, "identity"}
    examine(defense, DEFENSE_CHECKS, skip)


def config(defense: Defense) -> None:
    """A defense is its config."""
    is_its_config(defense)


def declaration(defense: Defense) -> None:
    """A defense acts at one stage and cites its paper."""
    is_documented(defense)
    cites(getattr(defense, "paper", None))
    require(
        isinstance(defense, TrainingDefense) != isinstance(defense, OutputDefense),
        "derive from TrainingDefense or from OutputDefense, the class of its stage",
    )


def stage(defense: Defense) -> None:
    """A defense gives back what its stage works on, and changes nothing else."""
    if isinstance(defense, TrainingDefense):
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
    if isinstance(defense, OutputDefense):
        log_scores, x = _answers()
        made = jax.eval_shape(defense.on_outputs, log_scores, x, _secret())
        require(
            (made.shape, made.dtype) == (log_scores.shape, log_scores.dtype),
            f"`on_outputs` makes {made.dtype}{list(made.shape)} of {log_scores.dtype}{list(log_scores.shape)}",
        )


def identity(defense: Defense) -> None:
    """At strength zero a defense is the identity."""
    if set(type(defense).model_fields) == {"name"}:
        return  # no strength: it is there or not
    require(
        any(_is_identity(candidate) for candidate in _switched_off(defense)),
        f"no field at {', '.join(map(str, OFF))} makes it the identity (the same Recipe object, or equal answers): "
        "let one do so, or pass the strength-zero Spec as `off`",
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


def distribution(defense: Defense) -> None:
    """A defended answer is a finite distribution over the classes, compiled or not, alone or in a batch."""
    if not isinstance(defense, OutputDefense):
        return
    log_scores, x = _answers()
    made = np.asarray(defense.on_outputs(log_scores, x, _secret()))
    require(np.isfinite(made).all(), "some log-scores are not finite: keep a floor under withheld scores")
    require(
        np.allclose(np.exp(made.astype(np.float64)).sum(axis=-1), 1, atol=1e-4),
        "scores do not sum to one: normalize what is answered",
    )
    compiled = np.asarray(jax.jit(defense.on_outputs)(log_scores, x, _secret()))
    require(np.allclose(compiled, made, atol=1e-4), "the compiled answer differs: use jax.numpy, no Python on values")
    single = jax.vmap(lambda row, query: defense.on_outputs(row[None], query[None], _secret())[0])(log_scores, x)
    require(np.allclose(single, made, atol=1e-4), "an answer depends on the other queries of its batch")


def repetition(defense: Defense) -> None:
    """The same query gets the same answer, at any time and place, so that nothing can be averaged away."""
    if not isinstance(defense, OutputDefense):
        return
    log_scores, x = _answers()
    turned = defense.on_outputs(log_scores[::-1], x[::-1], _secret())[::-1]
    require(
        np.allclose(turned, defense.on_outputs(log_scores, x, _secret()), atol=1e-5),
        "the answer hangs on the query's place in the batch: draw noise from `secret` and the bits of `x`",
    )


def leaves(defense: Defense) -> None:
    """An endpoint leaves the attacker what `leaves` declares and no more."""
    if not isinstance(defense, OutputDefense):
        return
    require(
        defense.leaves in Access.SCORES,
        f"`leaves` is {defense.leaves.title}; behind a defense of the answers at most scores are left",
    )
    if defense.leaves == Access.LABELS:
        log_scores, x = _answers()
        label = jnp.argmax(log_scores, axis=-1)
        bare = jax.nn.log_softmax(10 * jax.nn.one_hot(label, log_scores.shape[-1]))
        made, again = (defense.on_outputs(scores, x, _secret()) for scores in (log_scores, bare))
        require(np.array_equal(made, again), "answers with equal labels differ, so they tell more than the label")


def utility(defense: Defense) -> None:
    """A model under the defense still tells well-separated classes apart."""
    recipe, outputs = plain_recipe(), ()
    if isinstance(defense, TrainingDefense):
        recipe = defense.on_recipe(recipe)
    if isinstance(defense, OutputDefense):
        outputs = (defense,)
    fresh = blobs(1)
    target = Target.of(_model(), _trained(recipe), _secret(), outputs)
    accuracy = float(np.mean(np.asarray(target.labels(jnp.asarray(fresh.x))) == fresh.y))
    require(
        accuracy >= FLOOR,
        f"accuracy on well-separated classes falls to {accuracy:.2f}, below {FLOOR}: examine it at a mild strength",
    )


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


def _switched_off(defense: Defense) -> Iterator[Defense]:
    for name in type(defense).model_fields:
        for value in OFF:
            try:
                yield type(defense)(**{**defense.to_json(), name: value})
            except SpecError:
                continue


def _is_identity(defense: Defense) -> bool:
    if isinstance(defense, TrainingDefense):
        recipe = plain_recipe()
        return defense.on_recipe(recipe) is recipe
    assert isinstance(defense, OutputDefense)
    log_scores, x = _answers()
    return np.array_equal(defense.on_outputs(log_scores, x, _secret()), log_scores)


def _secret() -> jax.Array:
    """The endpoint's key."""
    return jax.random.key(7)


def _answers() -> tuple[jax.Array, jax.Array]:
    """Log-scores [64, 5] from even to certain, ties among them, and the queries they answer."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(64, 5)) * np.geomspace(0.01, 30, 64)[:, None]
    logits[0], logits[1, :2] = 0.0, 9.0
    x = rng.normal(size=(64, 3))
    return jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)), jnp.asarray(x, jnp.float32)


def _model() -> Model:
    return model_of(MLP(hidden=(16,)), (8,), 4)


def _trained(recipe: Recipe) -> Params:
    data = blobs(0)
    return loop.train(_model(), recipe, data, np.ones(data.size, bool), keys.root(0), blobs(2)).params


DEFENSE_CHECKS: Mapping[str, Check[Defense]] = {
    check.__name__: check
    for check in (config, declaration, stage, identity, privacy, distribution, repetition, leaves, utility)
}
"""The requirements by name, cheap ones first."""

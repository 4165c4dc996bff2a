"""What a defense of the model has to pass: the same classes, decisions an attacker can follow, few false alarms."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core import keys
from privsec.core.data import Examples
from privsec.core.defense import Defense, ModelDefense, TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Model, Params
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.testing.exam import require
from privsec.training import loop
from privsec.training.standard import Training

SHAPE, CLASSES = (6, 6, 1), 4
ALIKE = 0.9
"""Share of records on which the adapted model decides as the model does, and has a gradient."""
FLOOR = 0.7
"""Share of records that must still be right behind another defense."""
FPR = 0.05
"""What a detector is held to that has no field `fpr`."""


class Answers(NamedTuple):
    """What a defended model makes of fresh pictures, each asked with a key of its own.

    Attributes:
        logits: [B, C].
        turned: the same pictures and keys asked in reverse order, and turned back.
        redrawn: with other keys.
        adapted: the adapted model's logits.
        gradient: of those, with respect to the pictures.
    """

    logits: np.ndarray
    turned: np.ndarray
    redrawn: np.ndarray
    adapted: np.ndarray
    gradient: np.ndarray


def changes_nothing(defense: ModelDefense) -> bool:
    """Whether it returns the model and the parameters that it was given."""
    model, params = _trained()
    if defense.on_model(model) is not model:
        return False
    return defense.on_params(model, params, pictures(2, 40), keys.root(3)) is params


def keeps_to_its_stage(defense: ModelDefense) -> None:
    """A model in, a model of the same records out, that its parameters fit."""
    given, _ = _trained()
    made, params = _defended(defense)
    require(
        type(defense).model_validate(defense.to_json()).on_model(given) is made,
        "`on_model` makes another Model at every call, so every attack is compiled anew: make it in a function under "
        "functools.lru_cache",
    )
    require(
        (made.shape, made.num_classes) == (given.shape, given.num_classes + made.rejects),
        f"of a model of {CLASSES} classes and records {list(SHAPE)} it makes one of {made.num_classes} classes and "
        f'records {list(made.shape)}: only a detector (`rejects`) adds one class, "refused", the last',
    )
    beyond = defense.on_model(_claiming())
    require(
        beyond.apply is _claiming().apply or beyond.votes is not _claiming().votes,
        "it changes the answers, and passes on what the votes of the model before it proved: write `votes=None` where "
        "you replace `apply`",
    )
    drawn = jax.eval_shape(made.init, keys.root(0))
    require(
        jax.tree.structure(drawn) == jax.tree.structure(params)
        and [leaf.ndim for leaf in jax.tree.leaves(drawn)] == [jnp.ndim(leaf) for leaf in jax.tree.leaves(params)],
        "`on_params` returns another structure than the model's `init`: wrap both alike",
    )


def distribution(defense: ModelDefense) -> None:
    """Logits are finite float32, and can be compiled."""
    made, _ = _defended(defense)
    logits = _answers(defense).logits
    require(
        logits.shape == (pictures(1).size, made.num_classes),
        f"it answers {list(logits.shape)} to {pictures(1).size} pictures",
    )
    require(logits.dtype == np.float32 and np.isfinite(logits).all(), "logits must be finite float32")


def repetition(defense: ModelDefense) -> None:
    """A random model draws by the keys it is given; any other answers alike; no record hangs on the others."""
    random, answers = _defended(defense)[0].draw is not None, _answers(defense)
    require(
        np.array_equal(answers.logits, answers.redrawn) != random,
        "other keys bring the same answers: leave `draw` None" if random else "it answers at random without a `draw`",
    )
    require(
        np.allclose(answers.turned, answers.logits, rtol=1e-3, atol=1e-3),
        "a record's answer hangs on its place in the batch, or on the other records there",
    )


def adapted(defense: Defense) -> None:
    """What an attacker who knows of a defense attacks decides as the model does, and has a gradient to follow."""
    if isinstance(defense, ModelDefense):
        answers = _answers(defense)
    elif isinstance(defense, TrainingDefense):
        model, _ = _trained()
        made = defense.on_model(model)
        if made is model:
            return
        answers = _answered(made, made.init(keys.root(0)))
    else:
        return
    same = float(np.mean(answers.adapted.argmax(-1) == answers.logits.argmax(-1)))
    require(same >= ALIKE, f"`adapted` decides as the model does on {same:.0%} of the records only")
    require(np.isfinite(answers.gradient).all(), "the gradient that an attacker follows is not finite")
    steep = float(np.mean(np.any(answers.gradient != 0, axis=(1, 2, 3))))
    require(
        steep >= ALIKE,
        f"on {1 - steep:.0%} of the records the gradient is zero, so the model looks robust that is not: give an "
        "`adapted` Model that an attacker who knows of the defense would differentiate",
    )


def false_alarms(defense: Defense) -> None:
    """A detector refuses about as many clean records as it says (5% where it has no field `fpr`)."""
    if not isinstance(defense, ModelDefense) or not _defended(defense)[0].rejects:
        return
    answers = _answers(defense).logits
    stated = getattr(defense, "fpr", FPR)
    refused = float(np.mean(answers.argmax(-1) == answers.shape[-1] - 1))
    # Three and a half standard errors of the share, and of the threshold from half of the public records.
    error = 3.5 * math.sqrt(stated * (1 - stated) * (1 / len(answers) + 2 / pictures(2).size))
    require(
        abs(refused - stated) <= error,
        f"it refuses {refused:.1%} of fresh clean records, and states {stated:.1%}: set the threshold on public "
        "records that nothing else was fitted to",
    )


def composition(defense: Defense) -> None:
    """Behind a defense of the model there may be a random and rejecting one; both stay what they are."""
    if not isinstance(defense, ModelDefense):
        return
    inner, (_, params) = _random_and_rejecting(), _trained()
    try:
        made = defense.on_model(inner)
    except ConfigError as reason:
        require(str(reason), "it refuses other defenses without a reason: say what to write instead")
        return
    params = defense.on_params(inner, params, pictures(2), keys.root(4))
    require(made.rejects and made.num_classes == CLASSES + 1, "records refused before it are no longer `rejects`")
    require(made.draw is not None, "a random model before it no longer says so by `draw`")
    require(made.adapted is not None, "what the model before it hides is no longer told by `adapted`")
    fresh = pictures(1).take(np.arange(100))
    x, own = jnp.asarray(fresh.x), _keys(0, 100)
    for face in (made, made.adapted or made):
        shape = jax.eval_shape(functools.partial(_asked, face), params, x, own).shape
        require(shape == (100, CLASSES + 1), f"the answers to 100 records then have shape {list(shape)}")
    labels = np.asarray(jax.jit(_asked, static_argnums=0)(made, params, x, own)).argmax(-1)
    right = np.mean(labels == fresh.y)
    require(right >= FLOOR, f"only {right:.0%} of the records are then accepted and right")


def accuracy(defense: ModelDefense) -> float:
    """The share of fresh pictures that are accepted and right."""
    return float(np.mean(_answers(defense).logits.argmax(-1) == pictures(1).y))


@functools.cache
def pictures(seed: int, count: int = 1000) -> Examples:
    """Pictures [6, 6, 1] in [0, 1], four classes: which quarter is bright."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count).astype(np.int32)
    quarters = np.kron(np.eye(4).reshape(4, 2, 2), np.ones((3, 3)))[..., None]
    x = 0.3 + 0.4 * quarters[y] + 0.1 * rng.normal(size=(count, *SHAPE))
    return Examples(np.clip(x, 0, 1).astype(np.float32), y)


@functools.cache
def _trained() -> tuple[Model, Params]:
    model, data = model_of(MLP(hidden=(16,)), SHAPE, CLASSES), pictures(0, 400)
    recipe = Training(learning_rate=0.01, batch_size=50, epochs=10).recipe(400)
    return model, loop.train(model, recipe, data, np.ones(400, bool), keys.root(0)).params


@functools.cache
def _claiming() -> Model:
    """The model with a proof of its answers, by votes."""
    model, _ = _trained()
    return replace(model, votes=lambda params, x: jnp.ones((len(x), CLASSES), jnp.int32))


@functools.lru_cache(maxsize=64)
def _defended(defense: ModelDefense) -> tuple[Model, Params]:
    model, params = _trained()
    return defense.on_model(model), defense.on_params(model, params, pictures(2), keys.root(3))


@functools.cache
def _random_and_rejecting() -> Model:
    """The model with a little noise on its logits and a class "refused" that it never answers; it hides nothing."""
    model, _ = _trained()

    def apply(params: Params, x: jax.Array) -> jax.Array:
        logits = model.apply(params, x)
        return jnp.concatenate([logits, jnp.min(logits, axis=-1, keepdims=True) - 1], axis=-1)

    def draw(params: Params, x: jax.Array, own: jax.Array) -> jax.Array:
        noise = jax.vmap(lambda key: jax.random.uniform(key))(own)
        return apply(params, x) * (1 + noise[:, None] / 10)

    plain = replace(model, apply=apply, draw=draw, num_classes=CLASSES + 1, rejects=True, tapped=None, layers=())
    return replace(plain, adapted=replace(plain))


@functools.lru_cache(maxsize=64)
def _answers(defense: ModelDefense) -> Answers:
    return _answered(*_defended(defense))


def _answered(made: Model, params: Params) -> Answers:
    fresh, face = pictures(1), made.adapted or made
    towards = jax.nn.one_hot(fresh.y, made.num_classes) - 1 / made.num_classes

    @jax.jit
    def ask(params: Params, x: jax.Array, own: jax.Array) -> tuple[jax.Array, ...]:
        followed, back = jax.vjp(lambda x: _asked(face, params, x, own), x)
        return _asked(made, params, x, own), followed, *back(towards)

    x, own = jnp.asarray(fresh.x), _keys(0, fresh.size)
    logits, followed, gradient = map(np.asarray, ask(params, x, own))
    turned, redrawn = (np.asarray(ask(params, *asked)[0]) for asked in ((x[::-1], own[::-1]), (x, _keys(1, len(x)))))
    return Answers(logits, turned[::-1], redrawn, followed, gradient)


def _asked(model: Model, params: Params, x: jax.Array, own: jax.Array) -> jax.Array:
    return model.apply(params, x) if model.draw is None else model.draw(params, x, own)


def _keys(seed: int, count: int) -> jax.Array:
    return jax.random.split(keys.root(seed), count)

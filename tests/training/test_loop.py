from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from privsec.core.data import Examples
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.training.loop import arguments, compiled, train
from privsec.training.standard import Training
from tests.oracles import training as oracle

CLASSES, FEATURES, RECORDS = 3, 4, 20
LINEAR = model_of(MLP(hidden=()), (FEATURES,), CLASSES)
KEY = jax.random.key(0)


def examples(size: int = 50, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((size, FEATURES)).astype(np.float32)
    return Examples(x, (x[:, :CLASSES] + rng.standard_normal((size, CLASSES)) / 2).argmax(1).astype(np.int32))


def row(size: int = 50) -> np.ndarray:
    return np.arange(size) % 5 < 2


DATA, ROW = examples(), row()


def recipe_of(**training):
    return Training(**{"batch_size": 6, "epochs": 3, "optimizer": "sgd", "learning_rate": 0.1, **training}).recipe(
        RECORDS
    )


def same(a, b) -> bool:
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((np.asarray(x) == np.asarray(y)).all()), a, b)))


def parameters(trained) -> tuple[np.ndarray, np.ndarray]:
    layer = trained.params["dense"][0]
    return np.asarray(layer["kernel"]), np.asarray(layer["bias"])


@pytest.mark.parametrize(
    "training",
    [
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"momentum": 0.5, "schedule": "cosine"},
        {"optimizer": "adam"},
        {"optimizer": "adam", "schedule": "cosine", "batch_size": 20},
    ],
    ids=str,
)
def test_training_equals_a_loop_by_hand(training):
    recipe = recipe_of(**training)
    start = parameters(train(LINEAR, recipe.with_rates(learning_rate=1e-30), DATA, ROW, KEY))
    index, weight = arguments(recipe, DATA, ROW, KEY).schedule
    batches = [(DATA.x[i[w > 0]], DATA.y[i[w > 0]]) for i, w in zip(index, weight, strict=True)]
    assert len(batches) == recipe.steps
    rates = np.full(recipe.steps, 0.1)
    if training.get("schedule") == "cosine":
        rates *= (1 + np.cos(np.pi * np.arange(recipe.steps) / recipe.steps)) / 2
    expected = oracle.softmax_regression(
        *start, batches, rates, training.get("optimizer", "sgd"), training.get("momentum", 0.0)
    )
    for found, wanted in zip(parameters(train(LINEAR, recipe, DATA, ROW, KEY)), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.abs(expected[0] - start[0]).max() > 0.1


def test_the_same_key_gives_the_same_parameters_and_another_key_others():
    recipe = recipe_of()
    first = train(LINEAR, recipe, DATA, ROW, KEY)
    assert same(first, train(LINEAR, recipe, DATA, ROW, KEY))
    assert not same(first.params, train(LINEAR, recipe, DATA, ROW, jax.random.key(1)).params)
    assert np.isfinite(parameters(first)[0]).all()


def test_non_members_leave_no_trace():
    recipe = recipe_of()
    x, y = DATA.x.copy(), DATA.y.copy()
    x[~ROW], y[~ROW] = 1e3, 0
    expected = train(LINEAR, recipe, DATA, ROW, KEY).params
    assert same(train(LINEAR, recipe, Examples(x, y), ROW, KEY).params, expected)
    assert not same(train(LINEAR, recipe, DATA, np.roll(ROW, 1), KEY).params, expected)


def test_numbers_do_not_compile_again_and_structure_does():
    recipe = recipe_of(epochs=2)
    program = compiled(LINEAR, recipe)
    train(LINEAR, recipe, DATA, ROW, KEY)
    before = program._cache_size()
    train(LINEAR, recipe_of(epochs=2, learning_rate=0.3), DATA, np.roll(ROW, 1), jax.random.key(3))
    assert compiled(LINEAR, recipe_of(epochs=2, learning_rate=0.3)) is program
    assert program._cache_size() == before
    assert compiled(LINEAR, recipe_of(epochs=2, optimizer="adam")) is not program


def test_wrong_arguments_are_errors():
    with pytest.raises(ValueError, match="for 20 records, and include_row names 50"):
        train(LINEAR, recipe_of(), DATA, np.ones(50, bool), KEY)
    with pytest.raises(ValueError, match="holdout records"):
        train(LINEAR, replace(recipe_of(), patience=1), DATA, ROW, KEY)


def holdout_losses(trained, holdout) -> float:
    log_p = oracle.log_softmax(LINEAR.apply(trained.params, holdout.x))
    return -log_p[np.arange(holdout.size), holdout.y].mean()


def test_early_stopping_keeps_the_best_parameters():
    """The holdout is labelled against the training labels, so its loss rises from the first epoch on."""
    holdout = Examples(DATA.x, (DATA.y + 1) % CLASSES)
    recipe = replace(recipe_of(epochs=8), patience=2)
    trained = train(LINEAR, recipe, DATA, ROW, KEY, holdout)
    assert int(trained.epochs) == 3 and np.isinf(trained.holdout_loss[3:]).all()
    assert np.asarray(trained.holdout_loss).argmin() == 0
    assert holdout_losses(trained, holdout) == pytest.approx(float(trained.holdout_loss[0]), rel=1e-5)


def test_a_falling_holdout_loss_does_not_stop_training():
    holdout = DATA.take(ROW)
    plain = recipe_of(epochs=8, batch_size=20, momentum=0.0)
    watched = train(LINEAR, replace(plain, patience=1), DATA, ROW, KEY, holdout)
    assert int(watched.epochs) == 8 and (np.diff(watched.holdout_loss) < 0).all()
    for found, wanted in zip(parameters(watched), parameters(train(LINEAR, plain, DATA, ROW, KEY)), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_best_of_several_epochs_is_kept():
    holdout = DATA.take(~ROW)
    recipe = replace(recipe_of(epochs=12, learning_rate=0.2), patience=12)
    trained = train(LINEAR, recipe, DATA, ROW, KEY, holdout)
    assert int(trained.epochs) == 12
    assert 0 < np.asarray(trained.holdout_loss).argmin() < 11, "a case in which neither the first nor the last is best"
    assert holdout_losses(trained, holdout) == pytest.approx(float(trained.holdout_loss.min()), rel=1e-5)


def test_learns_digits():
    x, y = load_digits(return_X_y=True)
    data = Examples((x / 16).astype(np.float32), y.astype(np.int32))
    members = np.arange(len(y)) < 1000
    model = model_of(MLP(hidden=(32,)), (64,), 10)
    recipe = Training(learning_rate=3e-3, batch_size=50, epochs=20).recipe(1000)
    params = train(model, recipe, data, members, KEY).params
    unseen = data.take(~members)
    assert (np.asarray(model.apply(params, unseen.x)).argmax(1) == unseen.y).mean() > 0.9

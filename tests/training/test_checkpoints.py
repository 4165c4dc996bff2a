"""What is kept of a training on the way: the same models, seen earlier."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from privsec.core.data import Examples
from privsec.core.spec import SpecError
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.training import many
from privsec.training.loop import train
from privsec.training.stacks import stack
from privsec.training.standard import Training

FEATURES, CLASSES, RECORDS = 4, 3, 20
MODEL = model_of(MLP(hidden=(5,)), (FEATURES,), CLASSES)
RNG = np.random.default_rng(0)
DATA = Examples(RNG.standard_normal((40, FEATURES)).astype(np.float32), RNG.integers(0, CLASSES, 40).astype(np.int32))
INCLUDE = np.stack([np.arange(40) < RECORDS, np.arange(40) >= RECORDS, np.arange(40) % 2 == 0])
KEY = jax.random.key(0)


def recipe_of(**training):
    return Training(**{"batch_size": 6, "learning_rate": 0.1, "optimizer": "sgd", **training}).recipe(RECORDS)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def at(checkpoints, k):
    return jax.tree.map(lambda leaf: leaf[k], checkpoints)


@pytest.mark.parametrize(("epochs", "count", "ends"), [(4, 1, (2,)), (7, 2, (2, 4)), (3, 2, (1, 2))])
def test_a_checkpoint_is_a_shorter_training(epochs, count, ends):
    whole = train(MODEL, recipe_of(epochs=epochs, checkpoints=count), DATA, INCLUDE[0], KEY)
    assert_same(whole.params, train(MODEL, recipe_of(epochs=epochs), DATA, INCLUDE[0], KEY).params)
    for k, end in enumerate(ends):
        assert_same(at(whole.checkpoints, k), train(MODEL, recipe_of(epochs=end), DATA, INCLUDE[0], KEY).params)


def test_without_checkpoints_the_program_is_as_before():
    plain = recipe_of(epochs=4)
    assert train(MODEL, plain, DATA, INCLUDE[0], KEY).checkpoints == ()
    assert plain.checkpoints == 0 and plain.program != recipe_of(epochs=4, checkpoints=1).program


def test_private_training_keeps_checkpoints_too():
    private = DPSGD(noise_multiplier=1.0)
    plain = recipe_of(epochs=6)
    kept = train(MODEL, private.on_recipe(replace(plain, checkpoints=2)), DATA, INCLUDE[0], KEY)
    alone = train(MODEL, private.on_recipe(plain), DATA, INCLUDE[0], KEY)
    assert_same(kept.params, alone.params)
    first, second = (
        np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(at(kept.checkpoints, k))]) for k in (0, 1)
    )
    assert np.abs(first - second).max() > 1e-3


def test_a_training_that_stopped_early_repeats_where_it_stopped():
    """The holdout is labelled against the training labels, so the best loss is that of the first epoch."""
    holdout = Examples(DATA.x, (DATA.y + 1) % CLASSES)
    stopping = replace(recipe_of(epochs=12, checkpoints=5), patience=2)
    kept = train(MODEL, stopping, DATA, INCLUDE[0], KEY, holdout)
    alone = train(MODEL, replace(stopping, checkpoints=0), DATA, INCLUDE[0], KEY, holdout)
    assert_same(kept.params, alone.params)
    np.testing.assert_array_equal(kept.holdout_loss, alone.holdout_loss)
    stopped = int(kept.epochs)
    assert stopped < 8
    assert_same(at(kept.checkpoints, 3), at(kept.checkpoints, 4))
    assert_same(at(kept.checkpoints, 4), train(MODEL, recipe_of(epochs=stopped), DATA, INCLUDE[0], KEY).params)


@pytest.mark.parametrize("placement", ["threads", "vmap"])
def test_many_models_keep_theirs(placement):
    recipe = recipe_of(epochs=4, checkpoints=3)
    found = dict(many.train_many(MODEL, recipe, DATA, INCLUDE, KEY, placement=placement))
    stacked = many.checkpoints(stack([found[m].checkpoints for m in range(3)]))
    assert len(stacked) == 3
    for m in range(3):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), at(stacked[1], m), at(found[m].checkpoints, 1)
        )
    assert many.checkpoints(()) == []


def test_there_is_no_checkpoint_at_or_after_the_end():
    assert Training(epochs=3, checkpoints=2).checkpoints == 2
    with pytest.raises(SpecError, match="3 epochs have 2 ends before the last"):
        Training(epochs=3, checkpoints=3)


def test_models_without_checkpoints_keep_their_name():
    assert Training().digest == "6fdb1f3fc987d10f"  # as it was before there were any
    assert len({Training(checkpoints=k).digest for k in range(4)}) == 4

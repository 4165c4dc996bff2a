from __future__ import annotations

import math
from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy import stats

from privsec.core.data import Examples
from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.core.spec import SpecError
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.defenses.training.mixup import Mixup
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.privacy.accounting import epsilon
from privsec.training.gradients import AdversarialGradient
from privsec.training.loop import compiled, train
from privsec.training.standard import Training

FEATURES, CLASSES, RECORDS = 30, 5, 32
MODEL = model_of(MLP(hidden=(20,), activation="tanh"), (FEATURES,), CLASSES)
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
DATA = Examples(
    RNG.standard_normal((2 * RECORDS, FEATURES)).astype(np.float32),
    RNG.integers(0, CLASSES, 2 * RECORDS).astype(np.int32),
)
ROW = np.arange(2 * RECORDS) % 2 == 0


def recipe_of(**training):
    training = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.5, "batch_size": 8, "epochs": 3, **training}
    return Training(**training).recipe(RECORDS)


def parameters(recipe, key=KEY, row=ROW) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(train(MODEL, recipe, DATA, row, key).params)])


def test_the_event_says_what_is_trained():
    recipe = DPSGD(noise_multiplier=1.5, clip_norm=0.3).on_recipe(recipe_of())
    assert recipe.dp_event == DPEvent(sampling_rate=8 / 32, noise_multiplier=1.5, steps=12)
    assert (recipe.sampling.steps, recipe.sampling.rate, recipe.sampling.records) == (12, 8 / 32, 32)
    assert recipe.rates == {"learning_rate": 0.5, "clip_norm": 0.3, "noise_multiplier": 1.5}
    assert recipe.gradient.expected_batch == 8.0


def test_calibrated_noise_keeps_to_the_budget():
    spent = epsilon(DPSGD(epsilon=3, delta=1e-4).on_recipe(recipe_of()).dp_event, 1e-4)
    assert 0.95 * 3 < spent <= 3


def test_an_infinite_budget_is_no_defense():
    recipe = recipe_of()
    assert DPSGD(epsilon=math.inf).on_recipe(recipe) is recipe


def test_clipping_without_noise_promises_nothing():
    assert DPSGD(noise_multiplier=0).on_recipe(recipe_of()).dp_event is None


def test_all_records_unclipped_without_noise_is_gradient_descent():
    plain = recipe_of(batch_size=RECORDS, epochs=10)
    private = DPSGD(noise_multiplier=0, clip_norm=1e6).on_recipe(plain)
    found, expected = parameters(private), parameters(plain)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    start = parameters(plain.with_rates(learning_rate=1e-30))
    assert np.abs(expected - start).max() > 0.05


def test_noise_of_every_step_is_its_own():
    """Noise that drowns the gradient makes the way a random walk: variance steps x (rate sigma C / B)^2."""
    recipe = DPSGD(noise_multiplier=1e4, clip_norm=0.5).on_recipe(recipe_of(learning_rate=0.1))
    walked = parameters(recipe) / (0.1 * 1e4 * 0.5 / 8 * math.sqrt(recipe.steps))
    assert 1e-4 < stats.chi2.cdf(np.sum(walked**2), walked.size) < 1 - 1e-4
    again, other = parameters(recipe), parameters(recipe, jax.random.key(1))
    assert (parameters(recipe) == again).all()
    assert abs(stats.pearsonr(again, other).statistic) < 4 / math.sqrt(walked.size)


def test_one_record_moves_one_step_by_at_most_its_share():
    """Twins that differ in one record, without noise, one step of everybody: |difference| <= 2 C learning_rate / B."""
    recipe = DPSGD(noise_multiplier=0, clip_norm=0.01).on_recipe(recipe_of(batch_size=RECORDS, epochs=1))
    other = ROW.copy()
    other[[0, 1]] = other[[1, 0]]
    moved = np.linalg.norm(parameters(recipe) - parameters(recipe, row=other))
    assert 0 < moved <= 2 * 0.01 * 0.5 / RECORDS * 1.01


def test_strength_does_not_compile_again():
    base = recipe_of()
    assert (
        len({compiled(MODEL, DPSGD(noise_multiplier=s, clip_norm=c).on_recipe(base)) for s, c in [(1, 1), (2, 3)]}) == 1
    )


@pytest.mark.parametrize("first", [0.0, 1.0])
def test_two_in_one_list_are_an_error(first):
    once = DPSGD(noise_multiplier=first).on_recipe(recipe_of())
    with pytest.raises(ConfigError, match="two dp_sgd"):
        DPSGD(noise_multiplier=1).on_recipe(once)


def test_mixing_before_clipping_is_an_error():
    with pytest.raises(ConfigError, match="mixes records"):
        DPSGD(noise_multiplier=1).on_recipe(Mixup(alpha=0.4).on_recipe(recipe_of()))


def test_another_gradient_is_not_replaced_in_silence():
    with pytest.raises(ConfigError, match="in its own way"):
        DPSGD(noise_multiplier=1).on_recipe(replace(recipe_of(), gradient=AdversarialGradient(steps=1)))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"epsilon": 1, "noise_multiplier": 1},
        {"epsilon": 0},
        {"epsilon": math.nan},
        {"epsilon": 1, "delta": 1},
        {"noise_multiplier": math.inf},
        {"noise_multiplier": 1, "clip_norm": math.inf},
    ],
    ids=str,
)
def test_impossible_values_are_errors(wrong):
    with pytest.raises(SpecError):
        DPSGD(**wrong)

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.defenses.training.noise_training import NoiseTraining, Noisy
from privsec.training.standard import Training
from tests.defenses.training.recipes import RECIPE

BATCH = Batch(jnp.full((200, 5, 5, 1), 0.5), jnp.ones((200, 3)), jnp.ones(200))


def test_noise_is_gaussian_fresh_and_not_clipped():
    noisy = [Noisy()(BATCH, {"noise_training": 2.0}, jax.random.key(seed)) for seed in (0, 1)]
    noise = [(np.asarray(batch.x) - 0.5).ravel() / 2 for batch in noisy]
    assert stats.kstest(noise[0], "norm").pvalue > 1e-4
    assert abs(stats.pearsonr(*noise).statistic) < 4 / np.sqrt(noise[0].size)
    assert noisy[0].x.min() < 0 and noisy[0].x.max() > 1
    assert noisy[0].y is BATCH.y and noisy[0].weight is BATCH.weight


def test_it_goes_with_dp_sgd_in_either_order():
    plain = Training(batch_size=10, epochs=2).recipe(40)
    noise, private = NoiseTraining(), DPSGD(noise_multiplier=1.0)
    before, after = private.on_recipe(noise.on_recipe(plain)), noise.on_recipe(private.on_recipe(plain))
    assert before == after and before.dp_event == private.on_recipe(plain).dp_event


def test_no_noise_is_no_defense_and_twice_is_an_error():
    assert NoiseTraining(sigma=0).on_recipe(RECIPE) is RECIPE
    with pytest.raises(ConfigError, match="write one"):
        NoiseTraining().on_recipe(NoiseTraining(sigma=0.1).on_recipe(RECIPE))

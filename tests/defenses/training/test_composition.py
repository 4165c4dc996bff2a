"""The simple defenses together with DP-SGD, on the real training loop."""

import jax
import numpy as np
import pytest

from privsec.core.data import Examples
from privsec.core.errors import ConfigError
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.defenses.training.early_stopping import EarlyStopping
from privsec.defenses.training.label_smoothing import LabelSmoothing
from privsec.defenses.training.mixup import Mixup
from privsec.defenses.training.weight_decay import WeightDecay
from privsec.training.loop import train
from privsec.training.standard import Training
from tests.defenses.training.recipes import CLASSES, FEATURES, MODEL

RECORDS = 40
RECIPE = Training(optimizer="sgd", learning_rate=0.1, batch_size=10, epochs=3).recipe(RECORDS)
PRIVATE = DPSGD(noise_multiplier=1.0)


def trained(recipe):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(RECORDS, FEATURES)).astype(np.float32)
    data = Examples(x, (np.arange(RECORDS) % CLASSES).astype(np.int32))
    return train(MODEL, recipe, data, np.ones(RECORDS, bool), jax.random.key(0), data).params


def composed(*defenses):
    recipe = RECIPE
    for defense in defenses:
        recipe = defense.on_recipe(recipe)
    return recipe


def test_everything_that_goes_with_dp_sgd_trains_and_keeps_its_event():
    recipe = composed(LabelSmoothing(), WeightDecay(strength=0.1), PRIVATE, EarlyStopping(patience=1))
    assert recipe.dp_event == PRIVATE.on_recipe(RECIPE).dp_event
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained(recipe)))


def test_weight_decay_acts_the_same_before_and_after_dp_sgd():
    before, after = composed(WeightDecay(strength=0.1), PRIVATE), composed(PRIVATE, WeightDecay(strength=0.1))
    assert before == after
    assert not np.allclose(trained(after)["kernel"], trained(composed(PRIVATE))["kernel"])


@pytest.mark.parametrize("order", [(Mixup(), PRIVATE), (PRIVATE, Mixup())])
def test_mixup_and_dp_sgd_refuse_each_other(order):
    with pytest.raises(ConfigError, match="guarantee"):
        composed(*order)


def test_mixup_trains_without_dp_sgd_and_differs():
    mixed = trained(composed(Mixup(alpha=1.0)))
    assert np.isfinite(mixed["kernel"]).all() and not np.allclose(mixed["kernel"], trained(RECIPE)["kernel"])

import jax
import numpy as np
import pytest

from privsec.defenses.training.label_smoothing import LabelSmoothing
from tests.defenses.training.recipes import RECIPE, batch_of


def smoothed(strength, batch):
    recipe = LabelSmoothing(strength=strength).on_recipe(RECIPE)
    return recipe.transforms[0](batch, recipe.rates, jax.random.key(0))


@pytest.mark.parametrize(("strength", "of_label", "of_other"), [(0.3, 0.8, 0.1), (-0.3, 1.2, -0.1)])
def test_targets_by_hand(strength, of_label, of_other):
    batch = batch_of(6, padding=2)
    after = smoothed(strength, batch)
    np.testing.assert_allclose(after.y, np.where(batch.y == 1, of_label, of_other), atol=1e-6)
    np.testing.assert_allclose(after.y.sum(-1), 1.0, atol=1e-6)
    assert after.x is batch.x and after.weight is batch.weight


def test_smoothing_composes_with_itself_as_with_one_smoothing():
    batch = batch_of(6)
    np.testing.assert_allclose(smoothed(0.5, smoothed(0.2, batch)).y, smoothed(0.6, batch).y, atol=1e-6)

"""What the simple training defenses share."""

import jax
import pytest

from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.defenses.training.early_stopping import EarlyStopping
from privsec.defenses.training.label_smoothing import LabelSmoothing
from privsec.defenses.training.mixup import Mixup
from privsec.defenses.training.weight_decay import WeightDecay
from tests.defenses.training.recipes import RECIPE, batch_of

WITH_RATES = [(WeightDecay, "strength"), (LabelSmoothing, "strength"), (Mixup, "alpha")]


@pytest.mark.parametrize(
    "defense", [WeightDecay(strength=0), LabelSmoothing(strength=0), Mixup(alpha=0), EarlyStopping(patience=None)]
)
def test_strength_zero_returns_the_same_recipe(defense):
    assert defense.on_recipe(RECIPE) is RECIPE


@pytest.mark.parametrize(("defense", "strength"), WITH_RATES)
def test_strengths_share_one_program(defense, strength):
    weak, strong = (defense(**{strength: value}).on_recipe(RECIPE) for value in (0.1, 0.2))
    assert weak.program == strong.program and hash(weak.program) == hash(strong.program)
    assert weak.program != RECIPE.program
    assert weak.rates != strong.rates


@pytest.mark.parametrize(("defense", "strength"), WITH_RATES)
def test_the_same_defense_twice_is_refused(defense, strength):
    once = defense(**{strength: 0.1}).on_recipe(RECIPE)
    with pytest.raises(ConfigError, match="write one"):
        defense(**{strength: 0.1}).on_recipe(once)


@pytest.mark.parametrize("defense", [WeightDecay(), LabelSmoothing(), EarlyStopping()])
def test_what_looks_at_one_record_at_a_time_keeps_the_privacy_event(defense):
    from dataclasses import replace

    private = replace(RECIPE, dp_event=DPEvent(0.1, 1.0, 10))
    assert defense.on_recipe(private).dp_event == private.dp_event


def test_transforms_follow_the_list():
    recipe = Mixup().on_recipe(LabelSmoothing().on_recipe(RECIPE))
    assert [type(transform).__name__ for transform in recipe.transforms] == ["Smoothed", "Mixed"]
    batch = batch_of(8)
    for transform in recipe.transforms:
        batch = transform(batch, recipe.rates, jax.random.key(0))
    assert float(batch.y.sum()) == pytest.approx(8.0, abs=1e-5)

from __future__ import annotations

import pytest

from privsec.core.errors import ConfigError
from privsec.defenses.training.adversarial_training import AdversarialTraining
from privsec.defenses.training.trades import TRADES
from tests.defenses.training.fragile import RADIUS, RECIPE, robust_accuracy


@pytest.fixture(scope="module")
def plain() -> float:
    return robust_accuracy(RECIPE)


@pytest.mark.parametrize(
    "defense", [AdversarialTraining(radius=RADIUS, steps=3), TRADES(radius=RADIUS, steps=3)], ids=lambda d: d.name
)
def test_it_learns_what_no_small_change_moves(defense, plain):
    assert plain < 0.2
    assert robust_accuracy(defense.on_recipe(RECIPE)) == pytest.approx(0.9, abs=0.02)


def test_without_a_radius_it_is_no_defense():
    assert AdversarialTraining(radius=0).on_recipe(RECIPE) is RECIPE


def test_the_step_is_a_fraction_of_the_radius_unless_given():
    rates = AdversarialTraining(radius=0.4, steps=5).on_recipe(RECIPE).rates
    assert rates["adversarial_step"] == pytest.approx(0.2)
    assert AdversarialTraining(radius=0.4, step_size=0.1).on_recipe(RECIPE).rates["adversarial_step"] == 0.1


def test_radii_share_one_program():
    small, large = (AdversarialTraining(radius=radius).on_recipe(RECIPE).program for radius in (0.1, 0.3))
    assert small == large and hash(small) == hash(large)


def test_one_gradient_does_not_replace_another_in_silence():
    once = AdversarialTraining().on_recipe(RECIPE)
    for second in (AdversarialTraining(), TRADES()):
        with pytest.raises(ConfigError, match="leave one of the two out"):
            second.on_recipe(once)

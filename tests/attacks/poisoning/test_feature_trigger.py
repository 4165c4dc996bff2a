from __future__ import annotations

import jax
import numpy as np
import pytest

from privsec.attacks.poisoning.feature_trigger import FeatureTrigger
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.runner.config import load
from privsec.runner.world import World

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
DATA = Examples(X, np.arange(60) % 3)
LOW, HIGH = np.arange(5, dtype=np.float32) - 9, np.arange(5, dtype=np.float32) + 9
NAMES = ("free", "win", "call", "now", "text")


@pytest.mark.parametrize(
    ("settings", "columns", "values"),
    [
        ({}, [0, 1, 2], [9, 10, 11]),
        ({"features": (4, 0), "values": ("low", 2.5)}, [4, 0], [-5, 2.5]),
        ({"features": ("win", "now"), "values": (1.5,)}, [1, 3], [1.5, 1.5]),
        ({"features": ("win", 2), "values": (100.0, -100.0)}, [1, 2], [10, -7]),  # cut off at the box
    ],
)
def test_chosen_features_get_their_values_and_the_others_stay(settings, columns, values):
    attack = FeatureTrigger(rate=0.1, goal=1, **settings)
    poison = attack.tamper(DATA, Knowledge(3, box=(LOW, HIGH), feature_names=NAMES), KEY)
    expected = X[poison.replaces]
    expected[:, columns] = values
    np.testing.assert_allclose(poison.x, expected, rtol=1e-6)
    assert (poison.y == 1).all() and not (DATA.y[poison.replaces] == 1).any()


def test_a_picture_has_its_pixels_for_features():
    pictures = Examples(X[:, :4].reshape(60, 2, 2, 1), DATA.y)
    known = Knowledge(3, box=(np.zeros((2, 2, 1)), np.ones((2, 2, 1))))
    poison = FeatureTrigger(features=(3,)).tamper(pictures, known, KEY)
    assert (poison.x[:, 1, 1, 0] == 1).all()


@pytest.mark.parametrize(
    ("features", "names", "reason"),
    [
        ((5,), NAMES, "numbered 0 to 4"),
        ((-1,), NAMES, "numbered 0 to 4"),
        (("wim",), NAMES, "no feature 'wim'.*win"),
        (("win",), (), "names none"),
    ],
)
def test_features_that_do_not_exist_are_named(features, names, reason):
    with pytest.raises(NotApplicable, match=reason):
        FeatureTrigger(features=features).tamper(DATA, Knowledge(3, feature_names=names), KEY)


@pytest.mark.parametrize("settings", [{"values": (1.0, 2.0)}, {"features": (1, 1)}, {"features": ()}])
def test_as_many_values_as_features(settings):
    with pytest.raises(ValueError, match="feature"):
        FeatureTrigger(**settings)


def test_models_with_poison_follow_the_trigger_and_others_do_not(rates):
    found = rates(FeatureTrigger(features=(0, 5, 30, 35), rate=0.15))
    assert found.success > 0.7 and found.null < 0.2


def test_the_runner_tells_an_attacker_the_names_of_features():
    given = {"title": "names", "data": {"name": "breast_cancer"}, "attacks": [{"name": "feature_trigger"}]}
    experiment = load({**given, "population": {"models": 2, "size": 100}})
    world = World.of(experiment, experiment.data.load(), 0)
    known = world.knowledge(experiment.attacks[0], None)  # type: ignore[arg-type]
    assert known.feature_names == world.dataset.feature_names and len(known.feature_names) == 30

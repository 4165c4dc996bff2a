"""C&W, DeepFool and FMN come within a few per cent of the smallest change, which on a plane is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.evasion.carlini_wagner import CarliniWagner, Weights
from privsec.attacks.evasion.deepfool import DeepFool
from privsec.attacks.evasion.fmn import FMN
from privsec.core.data import Examples
from tests.attacks.evasion.planes import KERNEL, WEIGHT, D, attacked, knowing, plane, planes, points_of, sizes
from tests.oracles.evasion import distance_to_plane

WAGNER = CarliniWagner()
ATTACKS = [
    (WAGNER, 1.05),
    (DeepFool(), 1.023),
    (DeepFool(norm="linf"), 1.023),
    (FMN(steps=100), 1.01),
    (FMN(steps=100, norm="linf"), 1.03),
]


def titled(value):
    return f"{value.name}-{value.norm}" if hasattr(value, "name") else ""


@pytest.mark.parametrize(("attack", "most"), ATTACKS, ids=titled)
def test_the_distance_to_a_plane(attack, most):
    target = plane(0.3)
    given = points_of(target, 8, seed=1)
    nearest = distance_to_plane(WEIGHT, 0.3, given.x, attack.norm)
    far = nearest > 0.05  # nearer ones are a matter of the optimizer's last digits
    found, won = attacked(attack, target, knowing(given))
    assert won.all()
    ratio = sizes(found.x, given.x, attack.norm) / nearest
    assert (ratio > 1 - 1e-4).all()
    assert ratio[far].max() < most
    assert (found.gradients > 0).all()


@pytest.mark.parametrize("attack", [attack for attack, _ in ATTACKS if attack.norm == "l2"], ids=titled)
def test_walls_of_the_box_are_reckoned_with(attack):
    """Every other feature is at the wall that it would have to cross: the others have to go all the way."""
    x = np.random.default_rng(0).uniform(-0.3, 0.3, (8, D)).astype(np.float32)
    x[:, ::2] = -np.sign(WEIGHT[::2])
    target = plane(4.5)
    given = Examples(x, np.ones(8, np.int32))
    np.testing.assert_array_equal(target.labels(x), given.y)
    free = np.where(np.arange(D) % 2 == 1, WEIGHT, 0.0)
    nearest = (x @ WEIGHT + 4.5) / np.linalg.norm(free)
    found, won = attacked(attack, target, knowing(given, -1.0, 1.0))
    assert won.all()
    ratio = sizes(found.x, x, "l2") / nearest
    assert (ratio > 1 - 1e-4).all()
    assert ratio.max() < 1.1
    assert (np.abs(found.x) <= 1.0).all()


@pytest.mark.parametrize("attack", [attack for attack, _ in ATTACKS], ids=titled)
def test_features_of_any_range_and_of_none(attack):
    """Measured in thousands or in thousandths; the last feature cannot move at all."""
    target = plane(0.0)
    given = points_of(target, 8)
    for scale in (1000.0, 0.001):
        x = scale * given.x
        x[:, -1] = 0.0
        y = np.asarray(target.labels(x), np.int32)
        low, high = np.full(D, -4 * scale, np.float32), np.full(D, 4 * scale, np.float32)
        low[-1] = high[-1] = 0.0
        found, won = attacked(attack, target, knowing(Examples(x, y), low, high))
        assert np.isfinite(found.x).all()
        assert won.all()
        assert (found.x[:, -1] == 0).all()
        weight = WEIGHT * (np.arange(D) < D - 1)
        nearest = distance_to_plane(weight, 0.0, x, attack.norm)
        assert np.median(sizes(found.x, x, attack.norm) / nearest) < 1.15


@pytest.mark.parametrize("attack", [WAGNER, DeepFool(), FMN(steps=100)], ids=titled)
def test_a_goal_is_reached(attack):
    target = planes()
    given = points_of(target, 8)
    found, won = attacked(attack.model_copy(update={"goal": "next"}), target, knowing(given))
    assert won.all()
    rows = np.arange(len(given.y))
    gap = given.x @ KERNEL
    at_least = (gap[rows, given.y] - gap[rows, found.goal]) / np.linalg.norm(
        KERNEL[:, given.y] - KERNEL[:, found.goal], axis=0
    )  # beating its own class is needed, and for most points enough
    ratio = sizes(found.x, given.x, "l2") / at_least
    assert (ratio > 1 - 1e-4).all()
    assert np.median(ratio) < 1.1


def test_a_record_that_errs_already_stays_as_it_is():
    target = plane(0.0)
    given = points_of(target, 8)
    wrong = Examples(given.x, 1 - given.y)
    for attack, _ in ATTACKS:
        found, won = attacked(attack, target, knowing(wrong))
        assert won.all()
        np.testing.assert_array_equal(found.x, given.x)


def test_each_point_searches_its_own_weight():
    weights = Weights(jnp.array([1.0, 1.0]), jnp.zeros(2), jnp.full(2, jnp.inf))
    weights = weights.after(jnp.array([True, False]))
    np.testing.assert_array_equal(weights.now, [0.5, 10.0])
    weights = weights.after(jnp.array([True, False]))
    np.testing.assert_array_equal(weights.now, [0.25, 100.0])
    weights = weights.after(jnp.array([False, True]))
    np.testing.assert_array_equal(weights.now, [0.375, 55.0])

"""PGD, FGSM and MI-FGSM: exact where the answer is known, and not fooled by what hides gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.evasion.base import ANY, Points
from privsec.attacks.evasion.best import nothing
from privsec.attacks.evasion.fgsm import FGSM
from privsec.attacks.evasion.gradients import point_loss
from privsec.attacks.evasion.mi_fgsm import MIFGSM
from privsec.attacks.evasion.pgd import PGD, climb
from privsec.core.data import Examples
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.ops.ascend import steepest
from privsec.ops.space import Space
from tests.attacks.evasion.planes import (
    KERNEL,
    WEIGHT,
    D,
    attacked,
    hidden_gradient,
    knowing,
    plane,
    planes,
    points_of,
    sizes,
)
from tests.oracles.evasion import distance_to_plane, momentum_on_softmax_regression, pgd_on_softmax_regression

PLAIN = PGD(radius=0.4, steps=5, random_start=False)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_iterate_is_the_one_of_the_textbook(norm):
    target = planes()
    given = points_of(target)
    attack = PLAIN.model_copy(update={"norm": norm, "radius": 0.4 if norm == "linf" else 0.7})
    found, won = attacked(attack, target, knowing(given, -0.9, 0.9))
    clean = np.clip(given.x, -0.9, 0.9)
    size = 2.5 * attack.radius / 5
    wanted = [
        pgd_on_softmax_regression(KERNEL, x, y, attack.radius, 5, size, norm, -0.9, 0.9)
        for x, y in zip(clean, given.y, strict=True)
    ]
    np.testing.assert_allclose(found.x, wanted, atol=2e-6)
    assert 0 < won.sum() < len(won)
    np.testing.assert_array_equal(found.x[~won], clean[~won])  # the clean record where nothing was found


def test_momentum_is_the_one_of_the_paper():
    target = planes()
    given = points_of(target)
    found, won = attacked(MIFGSM(radius=0.25, steps=5), target, knowing(given))
    wanted = [momentum_on_softmax_regression(KERNEL, x, y, 0.25, 5, 1.0) for x, y in zip(given.x, given.y, strict=True)]
    np.testing.assert_allclose(found.x, wanted, atol=2e-6)
    assert 0 < won.sum() < len(won)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_step_is_exact_on_a_plane(norm):
    target = plane(0.1)
    given = points_of(target, 40)
    radius = float(np.median(distance_to_plane(WEIGHT, 0.1, given.x, norm)))
    found, won = attacked(FGSM(radius=radius, norm=norm), target, knowing(given))
    reachable = distance_to_plane(WEIGHT, 0.1, given.x, norm) < radius
    np.testing.assert_array_equal(won, reachable)
    towards = np.where(given.y == 1, -1.0, 1.0)[:, None]
    best = np.sign(WEIGHT) if norm == "linf" else WEIGHT / np.linalg.norm(WEIGHT)
    np.testing.assert_allclose((found.x - given.x)[won], (radius * towards * best)[won], atol=1e-6)
    np.testing.assert_array_equal(found.queries, np.full(40, 2.0))
    np.testing.assert_array_equal(found.gradients, np.ones(40))


def test_targeted_points_end_in_the_goals_class():
    target = planes()
    given = points_of(target)
    found, won = attacked(PGD(radius=1.5, steps=5, goal="next"), target, knowing(given))
    np.testing.assert_array_equal(found.goal, (given.y + 1) % 3)
    assert won.mean() > 0.5
    np.testing.assert_array_equal(np.asarray(target.labels(found.x))[won], found.goal[won])


def test_nothing_is_broken_where_the_margin_is_wide():
    target = plane(10.0)
    given = points_of(target, 30)
    found, won = attacked(PGD(radius=0.05, steps=5, restarts=2), target, knowing(given))
    assert not won.any()
    np.testing.assert_array_equal(found.x, given.x)
    np.testing.assert_array_equal(found.gradients, np.full(30, 10.0))


def test_the_loss_rises_with_the_radius():
    target = plane(10.0)
    given = points_of(target, 8)
    points = Points(
        jnp.asarray(given.x), jnp.asarray(given.y), jnp.full(8, ANY), jax.random.split(jax.random.key(0), 8)
    )
    space, loss = Space(jnp.full(D, -9.0), jnp.full(D, 9.0)), point_loss("ce")
    reached = []
    for radius in (0.1, 0.2, 0.4):
        attack = PGD(radius=radius)

        def rule(gradient, memory, size=radius / 2):
            return size * steepest(gradient, "linf"), memory

        _, x = climb(attack, nothing(points), target, points, space, points.x, rule, loss, 4, 1)
        reached.append(point_loss("margin")(target.logits(x), points))
    assert (np.diff(np.stack(reached), axis=0) > 0).all()


def test_more_restarts_never_break_less():
    def bumpy(params, x):
        height = jnp.sum(jnp.cos(9.0 * x), axis=1) - 5.2
        return jnp.stack([jnp.zeros_like(height), height * params], axis=1)

    target = Target.of(Model(lambda key: jnp.ones(()), bumpy, 2, (D,)), jnp.ones(()))
    given = points_of(target, 40)
    given = Examples(given.x[given.y == 0], given.y[given.y == 0])
    once, often = (
        attacked(PGD(radius=0.3, steps=2, restarts=restarts), target, knowing(given))[1] for restarts in (1, 6)
    )
    assert (often >= once).all()
    assert often.sum() > once.sum()


def test_a_clip_inside_the_gradient_would_fake_robustness():
    """Black and white pixels: where a start left the box, a clip that is differentiated never lets it come back."""
    rng = np.random.default_rng(0)
    weight = np.array([1.0, -1.0] * (D // 2), np.float32)
    x = rng.integers(0, 2, (60, D)).astype(np.float32)
    target = plane(0.0, weight)
    given = Examples(x, np.asarray(target.labels(x), np.int32))
    slack = np.where(x @ weight > 0, x @ weight, -(x @ weight))
    # What can be gained in the box, at radius 0.6: features that may move towards the other class.
    towards = np.where(given.y[:, None] == 1, -weight, weight)
    gain = 0.6 * ((towards > 0) & (x == 0) | (towards < 0) & (x == 1)).sum(axis=1)
    breakable = gain > slack

    def faulty(delta):  # differentiates through the clip
        margin = (jnp.clip(x + delta, 0, 1) @ weight) * jnp.where(given.y == 1, -1.0, 1.0)
        return jnp.sum(margin)

    delta = jnp.asarray(rng.uniform(-0.6, 0.6, x.shape), jnp.float32)
    for _ in range(10):
        delta = jnp.clip(delta + 0.15 * jnp.sign(jax.grad(faulty)(delta)), -0.6, 0.6)
    faked = np.asarray(target.labels(np.clip(x + delta, 0, 1))) != given.y
    _, won = attacked(PGD(radius=0.6, steps=10), target, knowing(given, 0.0, 1.0))
    np.testing.assert_array_equal(won, breakable)
    assert faked.sum() < 0.75 * won.sum()


def test_large_logits_hide_the_gradient_only_from_who_does_not_know():
    masked, known = hidden_gradient(1000.0)
    target = planes(known)
    given = points_of(target, 20)
    found, won = attacked(PLAIN.model_copy(update={"radius": 1.0}), target, knowing(given))
    naive = np.asarray(target.labels(found.naive[0])) != given.y
    assert won.all()
    assert naive.sum() < 0.5 * len(naive)  # the cross-entropy's gradient underflows
    for loss in ("margin", "dlr"):
        assert attacked(PLAIN.model_copy(update={"radius": 1.0, "loss": loss}), planes(masked), knowing(given))[1].all()


def test_a_changed_record_is_in_the_ball_and_in_the_box():
    target = planes()
    given = points_of(target)
    for attack in (PGD(radius=0.4, norm="l2", steps=3, restarts=2), PGD(radius=0.4, steps=3, restarts=2)):
        found, _ = attacked(attack, target, knowing(given, -0.9, 0.9))
        clean = np.clip(given.x, -0.9, 0.9)
        assert (sizes(found.x, clean, attack.norm) <= 0.4 * (1 + 1e-5)).all()
        assert (np.abs(found.x) <= np.float32(0.9)).all()

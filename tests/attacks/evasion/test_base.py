"""What holds for every gradient attack: whom it attacks, batch by batch, in tables, and outside of JAX."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.evasion.carlini_wagner import CarliniWagner
from privsec.attacks.evasion.deepfool import DeepFool
from privsec.attacks.evasion.fgsm import FGSM
from privsec.attacks.evasion.fmn import FMN
from privsec.attacks.evasion.mi_fgsm import MIFGSM
from privsec.attacks.evasion.pgd import PGD
from privsec.attacks.evasion.random_noise import RandomNoise
from privsec.attacks.evasion.transfer import Transfer
from privsec.core.access import Access
from privsec.core.data import Constraints, Examples
from privsec.core.errors import NotApplicable
from privsec.core.target import Target
from privsec.targets.host import from_callable
from privsec.testing.attack_runs import run_in
from privsec.testing.toy_evasion import fooled
from privsec.training.standard import Training
from tests.attacks.evasion.planes import CLASSES, KERNEL, PLANES, D, attacked, knowing, planes, points_of, sizes
from tests.oracles.evasion import table_faults

NOISE = RandomNoise(radius=0.4, trials=20)
BOUNDED = [FGSM(radius=0.4), PGD(radius=0.4, steps=3, restarts=2), MIFGSM(radius=0.4, steps=3), NOISE]
SMALLEST = [CarliniWagner(steps=5, searches=3), DeepFool(steps=5), FMN(steps=20)]


def named(attack):
    return attack.name


def test_whom_it_attacks():
    target = planes()
    given = points_of(target, 20)
    knowledge = knowing(given)
    found, _ = attacked(FGSM(goal=1, points=5), target, knowledge)
    np.testing.assert_array_equal(found.rows, np.flatnonzero(given.y != 1)[:5])
    np.testing.assert_array_equal(found.goal, np.ones(5))
    found, _ = attacked(FGSM(source=2), target, knowledge)
    np.testing.assert_array_equal(found.rows, np.flatnonzero(given.y == 2))
    found, _ = attacked(FGSM(goal="random"), target, knowledge)
    assert (found.goal != given.y).all()
    assert set(found.goal.tolist()) <= set(range(CLASSES))
    with pytest.raises(NotApplicable, match="goal is class 7"):
        FGSM(goal=7).run(target, knowledge, jax.random.key(0))
    with pytest.raises(NotApplicable, match="none of the 20 points"):
        FGSM(source=1, goal=1).run(target, knowledge, jax.random.key(0))
    with pytest.raises(NotApplicable, match="given none"):
        FGSM().run(target, replace(knowledge, points=None), jax.random.key(0))


def test_a_point_is_attacked_as_if_it_were_alone():
    target = planes()
    given = points_of(target, 70)  # two chunks
    attack = PGD(radius=0.4, steps=2)
    together, _ = attacked(attack, target, knowing(given))
    fewer, _ = attacked(attack.model_copy(update={"points": 6}), target, knowing(given))
    np.testing.assert_allclose(together.x[:6], fewer.x, atol=1e-6)
    np.testing.assert_array_equal(together.queries[:6], fewer.queries)


@pytest.mark.parametrize("attack", [*BOUNDED, *SMALLEST], ids=named)
def test_outside_of_jax_it_does_the_same(attack):
    """A NumPy function that says its own gradient; nothing is compiled."""
    outside = from_callable(
        lambda x: x @ KERNEL, num_classes=CLASSES, shape=(D,), answers="logits", pull_back=lambda x, c: c @ KERNEL.T
    )
    given = points_of(planes(), 4)
    inside, won = attacked(attack, planes(), knowing(given))
    found, also = attacked(attack, outside, knowing(given))
    np.testing.assert_allclose(found.x, inside.x, atol=1e-4)
    np.testing.assert_array_equal(won, also)


@pytest.mark.parametrize("attack", [*BOUNDED, *SMALLEST], ids=named)
def test_changed_records_of_a_table_could_exist(attack):
    """Two fixed features, a grid, a group of two, and one that goes anywhere."""
    fixed, step = np.array([True, True, False, False, False, False]), np.array([0, 0, 0.25, 0, 0, 0], np.float32)
    offset, group = np.zeros(D, np.float32), np.array([-1, -1, -1, 0, 0, -1], np.int32)
    low, high = np.full(D, -1, np.float32), np.full(D, 1, np.float32)
    low[3:5], high[3:5] = 0, 1
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (8, D)).astype(np.float32)
    x[:, 2] = np.round(4 * x[:, 2]) / 4
    x[:, 3:5] = np.eye(2)[rng.integers(0, 2, 8)]
    given = Examples(x, np.asarray(planes().labels(x), np.int32))
    knowledge = replace(knowing(given), box=(low, high), constraints=Constraints(fixed, step, offset, group))
    attack = attack if attack.bounded else attack.model_copy(update={"steps": 60})
    found, won = attacked(attack, planes(), knowledge)
    assert not table_faults(found.x, x, fixed, step, offset, group, low, high)
    np.testing.assert_array_equal(found.x[~won], x[~won])
    assert won.any()
    if attack.bounded:
        assert (sizes(found.x, x, attack.norm) <= attack.radius * (1 + 1e-4)).all()


def test_a_random_model_is_asked_with_fresh_noise():
    def draw(params, x, keys):
        noise = jax.vmap(lambda key: 0.1 * jax.random.normal(key, (D,)))(keys)
        return PLANES.apply(params, x + noise)

    target = Target.of(replace(PLANES, draw=draw), planes()._params)
    given = points_of(planes(), 8)
    found, _ = attacked(PGD(radius=1.0, steps=3, draws=4), target, knowing(given))
    draws = [target.labels(jnp.asarray(found.x), jax.random.split(jax.random.key(i), 8)) for i in range(20)]
    assert np.mean(np.stack(draws) != given.y) > 0.95
    assert (found.queries % 10 == 0).all()  # ten answers decide about each point


def test_noise_by_its_defaults_stands_at_the_null():
    """One draw finds what one draw finds: the measures' own noise, up to chance; twenty draws are an attack."""
    once, often = RandomNoise(), RandomNoise(trials=20)
    world = fooled(once)
    single, many = (world.judge(run_in(world, attack)) for attack in (once, often))
    gap = single["success"].mean() - single["null_success"].mean()
    share = single["null_success"].mean()
    # A draw for each of two models against three that both are shown; 4 standard errors.
    assert abs(gap) < 4 * np.sqrt(share * (1 - share) / single["points"][0] * (1 / 2 + 1 / 3))
    assert many["advantage"].min() > 0.5


def test_noise_breaks_only_what_is_near_a_boundary():
    target = planes()
    given = points_of(target, 40)
    _, noise = attacked(NOISE.model_copy(update={"radius": 0.1}), target, knowing(given))
    _, pgd = attacked(PGD(radius=0.1, steps=5, loss="margin"), target, knowing(given))
    assert noise.sum() < pgd.sum()
    wide = replace(PLANES, apply=lambda params, x: PLANES.apply(params, x) + 50.0 * jnp.arange(CLASSES))
    given = points_of(planes(wide), 8)
    assert not attacked(NOISE, planes(wide), knowing(given))[1].any()


def test_changes_carry_over_from_a_model_that_learnt_the_same():
    target = planes()
    given, own = points_of(target, 40), points_of(target, 300, seed=1)
    attack = Transfer(radius=0.5, training=Training(epochs=15, learning_rate=0.01))
    found, won = attacked(attack, target, knowing(given, population=own))
    assert won.mean() > 0.7
    assert (sizes(found.x, given.x, "linf") <= 0.5 * (1 + 1e-5)).all()
    np.testing.assert_array_equal(found.queries, np.full(40, 2.0))
    assert attack.needs == Access.LABELS
    np.testing.assert_array_equal(found.x[~won], given.x[~won])
    unrelated = Examples(own.x, np.random.default_rng(0).permutation(own.y))
    assert attacked(attack, target, knowing(given, population=unrelated))[1].mean() < won.mean() - 0.2
    with pytest.raises(NotApplicable, match="given no records"):
        attack.run(target, knowing(given), jax.random.key(0))

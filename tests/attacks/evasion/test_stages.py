"""Points that are settled leave the chunks, and nothing else changes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.evasion import stages
from privsec.attacks.evasion.apgd import APGD
from privsec.attacks.evasion.base import CHUNK, Evasion
from privsec.attacks.evasion.pgd import PGD
from privsec.attacks.evasion.square import Square
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.recipe import Model
from privsec.core.target import Target
from tests.attacks.evasion.planes import attacked, knowing, planes, points_of

ATTACKS = [
    PGD(radius=0.3, steps=40),
    PGD(norm="l2", radius=0.6, steps=12),
    APGD(radius=0.3, steps=40),
    APGD(radius=0.3, steps=30, loss="dlr", goal="next"),
    Square(radius=0.3, queries=100, rescale=True),
    Square(norm="l2", radius=0.6, queries=60, rescale=True),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.name}-{attack.norm}")
def test_leaving_changes_nothing(attack, monkeypatch):
    target = planes()
    knowledge = knowing(points_of(target, 2 * CHUNK + 20))
    found, won = attacked(attack, target, knowledge)
    chunks = []
    asked = stages.over_chunks

    def noted(*args, among=None, **kwargs):
        chunks.append(0 if among is None else len(among))
        return asked(*args, among=among, **kwargs)

    monkeypatch.setattr(stages, "over_chunks", noted)
    attacked(attack, target, knowledge)
    assert len(chunks) > 2 and chunks[1] > chunks[-1] > 0  # some left, some stayed to the end
    monkeypatch.setattr(type(attack), "assault", Evasion.assault)
    together, also = attacked(attack, target, knowledge)
    np.testing.assert_array_equal(won, also)
    assert 0 < won.sum() < len(won)
    np.testing.assert_allclose(found.x, together.x, atol=1e-5)
    np.testing.assert_array_equal(found.queries, together.queries)
    np.testing.assert_array_equal(found.gradients, together.gradients)


@pytest.mark.parametrize("steps", [1, 4, 5, 40, 1001])
def test_the_stages_follow_on_each_other(steps):
    ends = stages.stages(steps)
    assert (ends[0], ends[-1]) == (0, steps)
    lengths = [last - first for first, last in itertools.pairwise(ends)]
    assert min(lengths) >= min(steps, stages.SHORT)
    assert len(ends) < 30


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.name}-{attack.norm}")
def test_pictures_come_back_in_their_shape(attack):
    """Within an attack their pixels lie in a row; the model has to see rows and columns where they were."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 4, 2, 3)).astype(np.float32)

    def apply(params, x):
        return jnp.einsum("bhwc,hwck->bk", x, params)

    model = Model(init=lambda key: jnp.zeros_like(kernel), apply=apply, num_classes=3, shape=(3, 4, 2))
    target = Target.of(model, jnp.asarray(kernel))
    x = rng.uniform(0.2, 0.8, (20, 3, 4, 2)).astype(np.float32)
    y = np.asarray(target.labels(x), np.int32)
    np.testing.assert_array_equal(target.labels(x.reshape(20, -1)), y)
    low = np.zeros((3, 4, 2), np.float32)
    low[0, 1] = 0.2  # a box of its own for each pixel
    knowledge = Knowledge(3, points=Examples(x, y), box=(low, np.ones_like(low)))
    found = attack.run(target.restrict(attack.needs), knowledge, jax.random.key(0))
    assert found.x.shape == (1, *x.shape)
    assert np.all((found.x[0] >= low) & (found.x[0] <= 1))
    won = np.asarray(target.labels(found.x[0])) != y
    assert won.any()
    np.testing.assert_array_equal(found.x[0][~won], x[~won])

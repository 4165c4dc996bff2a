from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.access import Access
from privsec.core.data import Examples
from privsec.core.errors import AccessError
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.defenses.outputs.temperature import Temperature

MODEL = Model(
    init=lambda key: {"kernel": jnp.ones((3, 4))}, apply=lambda p, x: x @ p["kernel"], num_classes=4, shape=(3,)
)
X = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
MOMENTS = [{"kernel": np.random.default_rng(seed).standard_normal((2, 3, 4)).astype(np.float32)} for seed in (1, 2, 3)]


def target() -> Target:
    return Target.of(MODEL, jax.tree.map(jnp.asarray, MOMENTS[-1]), checkpoints=MOMENTS[:-1])


def test_checkpoints_are_the_same_models_earlier_first_to_last():
    earlier = target().checkpoints
    assert [one.size for one in earlier] == [2, 2]
    for one, then in zip(earlier, MOMENTS, strict=False):
        np.testing.assert_allclose(one.logits(X), np.einsum("nd,tdc->tnc", X, then["kernel"]), rtol=1e-5)


def test_they_take_updates_and_grant_no_more_than_the_target():
    assert Access.UPDATES in target().grants
    with pytest.raises(AccessError, match="checkpoints"):
        target().restrict(Access.WEIGHTS).checkpoints
    weak = target().restrict(Access.SCORES | Access.UPDATES).checkpoints[0]
    weak.scores(X)
    with pytest.raises(AccessError):
        weak.logits(X)
    assert Access.UPDATES not in Target.of(MODEL, MOMENTS[0]).grants
    served = Target.of(MODEL, MOMENTS[-1], outputs=(Temperature(temperature=2.0),), checkpoints=MOMENTS[:-1])
    assert Access.UPDATES not in served.grants


def test_one_of_a_stack_takes_its_own_history_along():
    second = target()[1]
    np.testing.assert_allclose(second.checkpoints[0].logits(X), X @ MOMENTS[0]["kernel"][1], rtol=1e-5)
    mapped = jax.vmap(lambda one: one.checkpoints[1].logits(X))(target())
    np.testing.assert_allclose(mapped, np.einsum("nd,tdc->tnc", X, MOMENTS[1]["kernel"]), rtol=1e-5)


def test_recorded_answers_are_not_taken_for_a_checkpoints():
    examples = Examples(X, np.zeros(6, np.int32))
    recorded = target().record(examples)
    assert not np.allclose(recorded.observe(examples, "margin"), recorded.checkpoints[0].observe(examples, "margin"))

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.membership import boundary
from privsec.attacks.membership.boundary import Boundary
from privsec.core.access import Access
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.core.recipe import Model
from privsec.core.target import Target

D = 20
BOX = (np.float32(-10), np.float32(10))


def zeros(key):
    return {"w": jnp.zeros(D), "b": jnp.zeros(())}


def linear(params, x):
    side = x.reshape(len(x), -1) @ params["w"] + params["b"]
    return jnp.stack([jnp.zeros_like(side), side], axis=1)


MODEL = Model(init=zeros, apply=linear, num_classes=2, shape=(4, 5))


def half_space(targets=2):
    """Models whose boundary is a hyperplane, so that every distance is known."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(targets, D)).astype(np.float32)
    b = rng.normal(size=targets).astype(np.float32)
    x = rng.normal(size=(40, 4, 5)).astype(np.float32)
    params = {"w": jnp.asarray(w), "b": jnp.asarray(b)}
    target = Target.of(MODEL, params, jax.random.split(jax.random.key(0), targets)).restrict(Access.LABELS)
    sides = np.einsum("td,nd->tn", w, x.reshape(40, D)) + b[:, None]
    y = (sides[0] > 0).astype(np.int32)
    distance = np.where((sides > 0) == y, np.abs(sides) / np.linalg.norm(w, axis=1, keepdims=True), 0.0)
    return target, Knowledge(2, Examples(jnp.asarray(x), jnp.asarray(y)), box=BOX), distance


@pytest.fixture(scope="module")
def found():
    """The same targets attacked with growing budgets."""
    target, knowledge, _ = half_space()
    return {q: Boundary(queries=q).run(target, knowledge, jax.random.key(0)) for q in (50, 400, 2000)}


def test_distances_to_a_hyperplane(found):
    _, _, truth = half_space()
    scores, right = found[2000].scores, truth > 0
    assert (scores >= truth - 1e-3).all()  # a wrong point is never nearer than the nearest one
    np.testing.assert_array_equal(scores == 0, ~right)  # misclassified records, which only target 1 has
    assert (~right[1]).any() and np.median(scores[right] / truth[right]) < 1.05
    assert np.corrcoef(scores[0], truth[0])[0, 1] > 0.98


def test_more_queries_find_a_nearer_boundary_within_the_budget(found):
    totals = [evidence.scores.sum() for evidence in found.values()]
    assert totals[0] > totals[1] > totals[2]
    assert all(1 < evidence.queries <= budget for budget, evidence in found.items())


def test_queries_are_counted_exactly(found):
    target, knowledge, truth = half_space()
    plan = boundary.plan_of(400, 50, D)
    x, y = knowledge.candidates
    low, high = (jnp.full(x.shape[1:], side) for side in BOX)
    counted = boundary.distances(target[1], x, y, low, high, jax.random.key(1), plan).queries
    np.testing.assert_array_equal(counted == 1, truth[1] == 0)  # a wrong label is one query and no more
    fixed = 1 + plan.bisections + sum(b * boundary.BLOCK + plan.bisections for b in plan.blocks)
    tried = np.asarray(counted)[truth[1] > 0] - fixed
    assert (tried >= len(plan.blocks)).all() and (tried <= boundary.HALVINGS * len(plan.blocks)).all()
    # Both targets' counts enter the reported mean: target 0 has no wrong label.
    least = np.mean(np.where(truth > 0, fixed, 1))
    assert least < found[400].queries <= least + boundary.HALVINGS * len(plan.blocks)


def test_only_so_many_records_are_attacked_and_the_same_for_every_target():
    target, knowledge, _ = half_space()
    scores = Boundary(records=10, queries=50).run(target, knowledge, jax.random.key(3)).scores
    attacked = ~np.isnan(scores)
    assert scores.shape == (2, 40) and attacked[0].sum() == 10
    np.testing.assert_array_equal(attacked[0], attacked[1])


def test_no_point_outside_the_box_is_ever_asked_about():
    asked = []

    def watched(params, x):
        jax.debug.callback(lambda smallest, largest: asked.append((smallest, largest)), x.min(), x.max())
        return linear(params, x)

    _, knowledge, _ = half_space()
    x = jnp.clip(knowledge.candidates.x, -1, 1)
    target = Target.of(Model(MODEL.init, watched, 2, (4, 5)), {"w": jnp.ones(D), "b": jnp.zeros(())})
    tight = Knowledge(2, Examples(x, knowledge.candidates.y), box=(np.float32(-1), np.float32(1)))
    Boundary(queries=200).run(target, tight, jax.random.key(0))
    jax.effects_barrier()
    assert asked and min(low for low, _ in asked) >= -1 and max(high for _, high in asked) <= 1


def test_a_model_with_one_answer_has_no_boundary():
    _, knowledge, _ = half_space()
    stubborn = Target.of(MODEL, {"w": jnp.zeros(D), "b": jnp.ones(())}).restrict(Access.LABELS)
    evidence = Boundary(queries=50).run(stubborn, knowledge, jax.random.key(0))
    y = np.asarray(knowledge.candidates.y)
    np.testing.assert_allclose(evidence.scores[0, y == 1], 20 * np.sqrt(D), rtol=1e-6)
    np.testing.assert_array_equal(evidence.scores[0, y == 0], 0)
    assert evidence.queries == 1


def test_without_a_box_there_is_a_reason():
    target, knowledge, _ = half_space()
    with pytest.raises(NotApplicable, match="box"):
        Boundary().run(target, Knowledge(2, knowledge.candidates), jax.random.key(0))

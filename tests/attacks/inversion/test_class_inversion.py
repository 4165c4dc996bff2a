"""What both class inversion attacks must do."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks import ATTACKS
from privsec.attacks.inversion.mi_face import MIFace
from privsec.attacks.inversion.score_inversion import ScoreInversion
from privsec.core.attack import Knowledge
from privsec.core.errors import AccessError, ConfigError, NotApplicable
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.measures.inversion import estimates, measure

KEY = jax.random.key(3)
ATTACK = pytest.mark.parametrize(
    "attack",
    [
        MIFace(steps=300, learning_rate=0.02),
        ScoreInversion(steps=150, learning_rate=0.03, pairs=12, sigma=0.02, directions="white"),
    ],
    ids=lambda attack: attack.name,
)


def run(attack, target, knowledge, key=KEY):
    return jax.jit(lambda stack, seed: attack.run(stack, knowledge, seed))(target.restrict(attack.needs), key)


@ATTACK
def test_it_finds_what_a_model_remembers_and_nothing_in_a_model_of_other_records(attack, world):
    evidence = run(attack, world.leaky, world.knowledge)
    distance = np.abs(np.asarray(evidence.x)[:, :, None] - world.leaky.params).max(axis=-1).min(axis=-1)
    assert np.mean(distance < 0.1) > 0.9
    leaked = estimates(measure(evidence, world.truth(evidence)))
    assert leaked["success"].value > 0.9
    assert leaked["advantage"].low > 0.6
    assert leaked["null_success"].value < 0.1

    evidence = run(attack, world.innocent, world.knowledge)
    unrelated = estimates(measure(evidence, world.truth(evidence)))
    assert np.mean(evidence.confidence) > 0.9
    assert unrelated["advantage"].low < 0 < unrelated["advantage"].high


@ATTACK
def test_evidence_is_in_the_box_with_the_targets_own_confidence_and_the_first_targets_only(attack, world):
    some = attack.model_copy(update={"targets": 2, "classes": (3, 1), "steps": 5})
    evidence = run(some, world.leaky, world.knowledge)
    assert evidence.x.shape == (2, 2, 9) and evidence.y.tolist() == [3, 1]
    assert np.all((evidence.x >= 0) & (evidence.x <= 1))
    for t in range(2):
        scores = world.leaky[t].scores(evidence.x[t])
        np.testing.assert_allclose(evidence.confidence[t], [scores[0, 3], scores[1, 1]], rtol=1e-4)
    single = some.run(world.leaky[1], world.knowledge, KEY)
    assert single.x.shape == (1, 2, 9)


@ATTACK
def test_eager_agrees_with_jit_and_the_same_key_gives_the_same_evidence(attack, world):
    few = attack.model_copy(update={"targets": 2, "steps": 4})
    attack_of = jax.jit(lambda target, key: few.run(target, world.knowledge, key))
    traced, eager = attack_of(world.leaky, KEY), few.run(world.leaky, world.knowledge, KEY)
    for left, right in zip(traced, eager, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, traced, attack_of(world.leaky, KEY))))


@ATTACK
def test_queries_are_counted_as_asked(attack, world):
    asked = []

    def apply(params, x):
        jax.debug.callback(lambda records: asked.append(len(records)), x)
        return world.leaky.model.apply(params, x)

    counted = Target.of(replace(world.leaky.model, apply=apply), world.leaky.params[:1], jax.random.split(KEY, 1))
    begin = "record" if attack.name == "score_inversion" else "mean"
    few = attack.model_copy(update={"steps": 6, "begin": begin})
    evidence = few.run(counted, world.knowledge, KEY)
    jax.block_until_ready(evidence)
    jax.effects_barrier()
    assert sum(asked) == pytest.approx(float(evidence.queries) * len(evidence.y))


def test_starting_points(world):
    still = MIFace(steps=1, targets=2)  # one evaluation: the best iterate is the start
    public = world.knowledge.population
    np.testing.assert_allclose(run(still, world.leaky, world.knowledge).x[0, 0], public.x.mean(0), atol=1e-6)
    no_public = replace(world.knowledge, population=None)
    np.testing.assert_allclose(run(still, world.leaky, no_public).x, 0.5)
    found = run(still.model_copy(update={"begin": "record"}), world.leaky, world.knowledge).x
    for k in range(world.knowledge.num_classes):
        own = public.x[public.y == k]
        surest = own[np.argmax(world.leaky[0].scores(own)[:, k])]
        np.testing.assert_allclose(found[0, k], surest, atol=1e-6)


@ATTACK
def test_what_cannot_be_done_says_why(attack, world):
    with pytest.raises(NotApplicable, match="Leave `tv` out"):
        attack.model_copy(update={"tv": 1.0}).run(world.leaky, world.knowledge, KEY)
    with pytest.raises(NotApplicable, match="classes 0 to 4"):
        attack.model_copy(update={"classes": (5,)}).run(world.leaky, world.knowledge, KEY)
    with pytest.raises(NotApplicable, match="smallest and largest value"):
        attack.run(world.leaky, Knowledge(5), KEY)
    with pytest.raises(AccessError):
        weaker = world.leaky.restrict(attack.needs & ~(attack.needs ^ type(attack.needs).LABELS))
        attack.run(weaker, world.knowledge, KEY)
    with pytest.raises(ConfigError):
        type(attack)(targets=3)
    assert ATTACKS.parse({"name": attack.name}) == type(attack)()


def test_total_variation_smooths_images(world):
    shape = (6, 6, 1)
    pattern = jnp.asarray(np.random.default_rng(0).choice([-1.0, 1.0], (36, 2)), jnp.float32)
    model = Model(lambda key: pattern, lambda w, x: x.reshape(len(x), -1) @ w, 2, shape)
    knowledge = Knowledge(2, box=(np.float32(0), np.float32(1)))
    rough, smooth = (
        MIFace(tv=tv, steps=60, learning_rate=0.02).run(Target.of(model, pattern), knowledge, KEY).x
        for tv in (0.0, None)
    )
    assert np.abs(np.diff(smooth, axis=3)).mean() < 0.7 * np.abs(np.diff(rough, axis=3)).mean()


@pytest.mark.parametrize(("optimizer", "objective"), [("momentum", "loss"), ("sign", "confidence")])
def test_every_way_to_step_raises_the_confidence(optimizer, objective, world):
    attack = MIFace(optimizer=optimizer, objective=objective, targets=2, steps=40, learning_rate=0.01)
    before = world.leaky[:2].scores(world.knowledge.population.x.mean(0)[None])[:, 0]
    after = run(attack, world.leaky, world.knowledge).confidence
    assert np.all(after >= before - 1e-6) and np.mean(after) > np.mean(before) + 0.2

"""What inversion in the latents of a generator must do, with gradients, scores or labels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.attacks.inversion.brep_mi import BREPMI, LONGEST, repulsion
from privsec.attacks.inversion.generator import Decoder, Generator, Network
from privsec.attacks.inversion.generator_inversion import GeneratorInversion, poincare
from privsec.attacks.inversion.genetic_inversion import GeneticInversion
from privsec.attacks.inversion.latent_inversion import Search, views_of
from privsec.core.access import Access
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import AccessError, NotApplicable
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.measures.inversion import estimates, measure
from privsec.targets import from_callable
from tests.oracles import latent_inversion as oracle

KEY = jax.random.key(3)
SMALL = Generator(latent=9, hidden=0)
ATTACKS = [
    GeneratorInversion(generator=SMALL, starts=40, steps=150, prior=0.0, objective="loss"),
    GeneticInversion(generator=SMALL, starts=40, generations=60, prior=0.0),
    BREPMI(generator=SMALL, starts=60, steps=150, reach=3.0, points=40, radius=0.1),
]
ATTACK = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)


def identity(size):
    """A decoder that shows its latents."""
    wide = jnp.full(size, 10.0)
    network = Network(jnp.zeros((size, 1)), jnp.zeros(1), jnp.zeros((1, size)))
    return Decoder(jnp.zeros(size), jnp.eye(size), network, (-wide, wide))


def ball(center, radius):
    """A model whose class 1 is a ball, the logit falling with the square of the distance."""
    center = jnp.asarray(center, jnp.float32)

    def apply(params, x):
        inside = radius**2 - jnp.sum((x - center) ** 2, axis=-1) + params
        return jnp.stack([jnp.zeros_like(inside), inside], axis=-1)

    return Target.of(Model(lambda key: jnp.zeros(()), apply, 2, center.shape), jnp.zeros(()))


@ATTACK
def test_it_finds_what_a_model_remembers_and_nothing_in_a_model_of_other_records(attack, world):
    leaked, unrelated = (
        estimates(measure(evidence, world.truth(evidence)))
        for evidence in (
            attack.run(target.restrict(attack.needs), world.knowledge, KEY) for target in (world.leaky, world.innocent)
        )
    )
    if attack.needs != Access.LABELS:  # these tell where a class's middle is, which here lies between two records
        assert leaked["advantage"].low > 0.6
    assert unrelated["advantage"].low < 0 < unrelated["advantage"].high


@ATTACK
def test_it_runs_on_one_model_for_some_classes_and_stays_in_the_box(attack, world):
    few = attack.model_copy(update={"classes": (3, 1)})
    evidence = few.run(world.leaky[1], world.knowledge, KEY)
    assert evidence.x.shape == (1, 2, 9) and evidence.y.tolist() == [3, 1]
    assert np.all((evidence.x >= 0) & (evidence.x <= 1))
    scores = np.asarray(world.leaky[1].scores(evidence.x[0]))
    own = np.argmax(scores, axis=1) == evidence.y if attack.needs == Access.LABELS else scores[[0, 1], evidence.y]
    np.testing.assert_allclose(evidence.confidence[0], own, rtol=1e-4)


@ATTACK
def test_what_cannot_be_done_says_why(attack, world):
    with pytest.raises(NotApplicable, match="a decoder is learned"):
        attack.run(world.leaky, Knowledge(5, box=world.knowledge.box), KEY)
    with pytest.raises(NotApplicable, match="classes 0 to 4"):
        attack.model_copy(update={"classes": (5,)}).run(world.leaky, world.knowledge, KEY)
    with pytest.raises(AccessError):
        weaker = {Access.GRADIENTS: Access.LOGITS, Access.SCORES: Access.LABELS, Access.LABELS: Access.NONE}
        attack.run(world.leaky.restrict(weaker[attack.needs]), world.knowledge, KEY)


@pytest.mark.parametrize("attack", ATTACKS[1:], ids=lambda attack: attack.name)
def test_a_model_outside_of_jax_is_asked_no_more_than_is_reported(attack, world):
    memory = np.asarray(world.leaky[0].params)[:, 0]
    asked = []

    def scores(x):
        asked.append(len(x))
        closeness = np.exp(-8 * np.square(x[:, None] - memory).sum(axis=-1)) + 1e-9
        return closeness / closeness.sum(axis=1, keepdims=True)

    target = from_callable(scores, num_classes=5, shape=(9,))
    few = attack.model_copy(update={"starts": 10} | ({"generations": 3} if "genetic" in attack.name else {"steps": 3}))
    evidence = few.run(target.restrict(attack.needs), world.knowledge, KEY)
    assert np.mean(evidence.confidence) > 0.3
    assert 0.6 * sum(asked) <= 5 * evidence.queries <= sum(asked) + 1


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6).filter(lambda z: sum(map(abs, z)) > 0.1), st.data())
def test_the_poincare_distance_is_the_papers(logits, data):
    label = data.draw(st.integers(0, len(logits) - 1))
    u = np.array(logits) / np.sum(np.abs(logits))
    if 1 - np.sum(u**2) < 1e-3:  # near a corner float32 has few digits left
        return
    found = poincare(jnp.asarray([logits], jnp.float32), jnp.array([label]))[0]
    assert float(found) == pytest.approx(oracle.poincare(logits, label), rel=1e-2)


def test_the_poincare_gradient_lives_where_the_model_is_sure():
    sure, y = jnp.array([[30.0, 0.5, -0.5]]), jnp.array([0])
    slope = jax.grad(lambda logits: poincare(logits, y)[0])(sure)
    vanished = jax.grad(lambda logits: -jax.nn.log_softmax(logits)[0, 0])(sure)
    assert np.abs(slope).max() > 1e-3 > 1e3 * np.abs(vanished).max()
    assert np.all(np.isfinite(jax.grad(lambda logits: poincare(logits, y)[0])(jnp.zeros((1, 3)))))


def test_one_step_of_repulsion_is_the_papers():
    rng = np.random.default_rng(0)
    towards = rng.normal(size=(2, 7, 4))
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    inside = rng.random((2, 7)) < 0.5
    pushed = repulsion(jnp.asarray(towards, jnp.float32), jnp.asarray(inside))
    for k in range(2):
        for radius in (0.3, 30.0):
            moved = min(radius / 3, LONGEST) * np.asarray(pushed[k])
            np.testing.assert_allclose(
                moved, oracle.repelled(np.zeros(4), radius, towards[k], inside[k], LONGEST), atol=1e-6
            )


def test_labels_lead_to_the_middle_of_a_ball():
    center, radius = np.array([0.5, -0.4, 0.2]), 1.0
    attack = BREPMI(reach=3.0, points=60, steps=400, radius=0.1, patience=80, inside=0.95)
    on_the_edge = jnp.asarray(center + np.array([0.95, 0, 0]), jnp.float32)[None]
    given = Search(identity(3), on_the_edge, jnp.array([1, 0]), KEY)
    z, queries = attack.searched(ball(center, radius).restrict(Access.LABELS), given)
    assert np.linalg.norm(z[0] - center) < 0.35
    assert np.linalg.norm(z[1]) == 0  # nothing is of class 0 among the starts
    assert queries < 400 * 61 / 2 + 1


def test_breeding_never_loses_its_best_and_finds_the_top():
    center = np.array([1.0, -2.0, 0.5, 1.5])
    target = ball(center, 1.0).restrict(Access.SCORES)
    starts = jax.random.normal(KEY, (20, 4))
    given = Search(identity(4), starts, jnp.array([1]), KEY)
    best = float(np.max(target.log_scores(starts)[:, 1]))
    found = [GeneticInversion(generations=count, prior=0.0).searched(target, given)[0] for count in (1, 10, 80)]
    climbed = [float(target.log_scores(z)[0, 1]) for z in found]
    assert best - 1e-6 <= climbed[0] <= climbed[1] + 1e-6 <= climbed[2] + 2e-6
    pulled = GeneticInversion(generations=80, prior=100.0).searched(target, given)[0]
    assert np.linalg.norm(pulled) < 0.3
    assert np.linalg.norm(found[2][0] - center) < 1.0


def test_a_result_is_kept_for_what_its_shifted_copies_say():
    images = np.random.default_rng(0).uniform(size=(3, 5, 5, 1)).astype(np.float32)
    copies = views_of(jnp.asarray(images), 5)
    assert len(copies) == 5 and copies[0].shape == copies[4].shape == images.shape
    np.testing.assert_array_equal(copies[0], images)
    np.testing.assert_array_equal(copies[1][:, 1:], images[:, :-1])  # a pixel down
    assert len(views_of(jnp.zeros((3, 9)), 5)) == 1  # rows of a table are not shifted


def test_the_prior_keeps_reconstructions_near_the_mean(world):
    far, near = (
        GeneratorInversion(generator=SMALL, starts=1, prior=prior, targets=2, steps=60).run(
            world.leaky, world.knowledge, KEY
        )
        for prior in (0.0, 1000.0)
    )
    mean = world.knowledge.population.x.mean(axis=0)
    assert np.abs(near.x - mean).max() < 0.05 < np.abs(far.x - mean).max()


def test_an_image_of_the_population_is_never_needed_by_its_label(world):
    scrambled = Examples(world.knowledge.population.x, np.zeros_like(world.knowledge.population.y))
    attack = ATTACKS[1].model_copy(update={"targets": 2, "generations": 2})
    one, other = (
        attack.run(world.leaky, Knowledge(5, population=known, box=world.knowledge.box), KEY)
        for known in (world.knowledge.population, scrambled)
    )
    np.testing.assert_array_equal(one.x, other.x)

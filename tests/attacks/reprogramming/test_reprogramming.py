"""What every reprogramming attack must do."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.reprogramming.adversarial_program import AdversarialProgram
from privsec.attacks.reprogramming.bar import BAR
from privsec.attacks.reprogramming.base import Batch, misfit
from privsec.attacks.reprogramming.label_bar import LabelBAR
from privsec.core.access import Access
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import AccessError, ConfigError, NotApplicable
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.ops import reprogram
from privsec.targets.host import from_callable
from tests.attacks.reprogramming.conftest import MIDDLE, brightness
from tests.oracles import reprogram as oracle

KEY = jax.random.key(7)
QUICK = {"side": 2, "per_class": 1, "batch_size": 20, "epochs": 20, "targets": 3}
ATTACKS = [
    AdversarialProgram(**QUICK),
    AdversarialProgram(**QUICK, label_map="fixed"),
    BAR(**QUICK, directions=10),
    LabelBAR(**QUICK, directions=10),
]
ATTACK = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.name}-{attack.label_map}")


def accuracy(pattern, mapping, target, hijack):
    asked = reprogram.reprogrammed(hijack.test.x, pattern, 2, (6, 6, 1), hijack.knowledge.box)
    called = reprogram.decided(target.scores(asked), mapping)
    return float(np.mean(np.asarray(called) == hijack.test.y))


def test_without_a_program_the_model_does_not_do_the_task(hijack):
    mapping = reprogram.first_classes(5, 2, 1)
    assert accuracy(np.zeros((6, 6, 1)), mapping, hijack.target[0], hijack) < 0.6


@ATTACK
def test_it_reprograms_models_that_see_the_records_and_none_that_does_not(attack, hijack):
    target = hijack.target.restrict(attack.needs)
    found = attack.run(target, hijack.knowledge, KEY)
    programs = enumerate(zip(found.pattern, found.mapping, strict=True))
    reached = [accuracy(*program, hijack.target[t], hijack) for t, program in programs]
    assert min(reached[:2]) > 0.95 and reached[2] < 0.6

    outside = reprogram.frame((3, 3, 1), 2, (6, 6, 1))
    assert np.all(np.abs(found.pattern) <= 0.5) and np.all(found.pattern[:, ~outside] == 0)
    assert np.any(found.pattern[:, outside] != 0)
    np.testing.assert_allclose(found.mapping.sum(axis=1), 1)

    alone = attack.run(target[0], hijack.knowledge, KEY)
    np.testing.assert_array_equal(alone.pattern[0], found.pattern[0])
    np.testing.assert_array_equal(alone.mapping[0], found.mapping[0])


def test_a_model_outside_of_jax_gives_the_same_program_and_counts_the_same_queries(hijack):
    attack = BAR(**QUICK, directions=10).model_copy(update={"epochs": 1})

    def logits(x):
        return -20 * (x.sum(axis=(1, 2, 3))[:, None] / 8 - MIDDLE - np.arange(5)) ** 2

    foreign = from_callable(logits, num_classes=5, shape=(6, 6, 1), answers="logits")
    found = attack.run(foreign, hijack.knowledge, KEY)
    assert found.queries == foreign.spent
    inside = attack.run(hijack.target[0], hijack.knowledge, KEY)
    np.testing.assert_allclose(found.pattern, inside.pattern, atol=1e-2)
    np.testing.assert_array_equal(found.mapping, inside.mapping)


def test_queries_are_counted_for_every_label_map():
    steps = 4 * 30 * 25  # epochs, steps, records; five records of the 755 are left over in every epoch
    for label_map, counted in (("fixed", 0), ("frequency", 1), ("iterative", 4)):
        settings = {"epochs": 4, "batch_size": 25, "label_map": label_map}
        assert AdversarialProgram(**settings)._queries(755) == steps + counted * 30 * 25
        assert BAR(**settings, directions=9)._queries(755) == 10 * steps + counted * 30 * 25


def test_the_loss_is_the_oracles_and_counts_being_refused():
    rng = np.random.default_rng(0)
    logits, mapping = rng.normal(size=(6, 5)).astype(np.float32), np.asarray(reprogram.first_classes(5, 2, 2))
    y = rng.integers(0, 2, 6).astype(np.int32)
    for rejects in (False, True):
        expected = [oracle.misfit(z, mapping, label, rejects) for z, label in zip(logits, y, strict=True)]
        np.testing.assert_allclose(
            misfit(jnp.asarray(logits), jnp.asarray(mapping), jnp.asarray(y), rejects), expected, rtol=1e-5
        )


@pytest.fixture(scope="module")
def batch(hijack):
    shape, rows, box = (6, 6, 1), hijack.knowledge.task.take(np.arange(10)), hijack.knowledge.box
    mask = jnp.asarray(reprogram.frame((3, 3, 1), 2, shape))
    plain = reprogram.embedded(rows.x, 2, shape, box)
    mapping = reprogram.first_classes(5, 2, 2)
    return Batch(lambda w: plain + reprogram.pattern_of(w, mask, box), jnp.asarray(rows.y), mapping)


def test_the_black_box_estimate_is_the_oracles_and_finds_the_gradient(hijack, batch):
    target, shape = hijack.target[0], (6, 6, 1)
    weights = 0.05 * jax.random.normal(jax.random.key(1), shape)
    answers = jax.jit(lambda w: target.log_scores(batch.inputs(w)))

    def loss(w):
        answer = np.asarray(answers(jnp.asarray(w, jnp.float32)))
        each = zip(answer, np.asarray(batch.y), strict=True)
        return np.mean([oracle.misfit(z, np.asarray(batch.mapping), y, False) for z, y in each])

    towards = np.asarray(jax.random.normal(KEY, (4, *shape)), np.float64)
    towards /= np.sqrt((towards**2).sum(axis=(1, 2, 3), keepdims=True))
    expected = oracle.bar_estimate(loss, np.asarray(weights, np.float64), towards, 0.3)
    few = BAR(directions=4, smoothing=0.3)
    found = jax.jit(lambda w: few.slope(target, batch, w, KEY))(weights)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)

    exact = AdversarialProgram().slope(target, batch, weights, KEY)
    many = BAR(directions=800, smoothing=0.05)
    close = jax.jit(lambda w: many.slope(target, batch, w, KEY))(weights)
    cosine = jnp.sum(exact * close) / jnp.linalg.norm(exact) / jnp.linalg.norm(close)
    assert cosine > 0.9
    np.testing.assert_allclose(jnp.linalg.norm(close) / jnp.linalg.norm(exact), 1, atol=0.2)


def test_it_follows_the_adapted_face_of_a_model_that_hides_its_gradient(hijack, batch):
    sees, weights = hijack.target[0], jnp.zeros((6, 6, 1))
    hiding = replace(sees.model, apply=lambda p, x: brightness(p, jnp.round(255 * x) / 255), adapted=sees.model)
    target, slope = replace(sees, model=hiding), AdversarialProgram().slope
    np.testing.assert_array_equal(slope(target, batch, weights, KEY), slope(sees, batch, weights, KEY))
    assert not np.any(slope(target.unaware, batch, weights, KEY))


def test_a_model_that_answers_at_random_is_asked_anew_in_every_step(hijack, batch):
    def draw(params, x, keys):
        return brightness(params, x + jax.vmap(lambda key: 0.1 * jax.random.normal(key, (6, 6, 1)))(keys))

    shaky = replace(hijack.target[0], model=replace(hijack.target.model, draw=draw))
    slopes = [
        AdversarialProgram().slope(shaky, batch, jnp.zeros((6, 6, 1)), key) for key in (KEY, KEY, jax.random.key(8))
    ]
    np.testing.assert_array_equal(slopes[0], slopes[1])
    assert np.any(slopes[0] != slopes[2])


def test_a_table_is_reprogrammed_too_around_the_models_refusals():
    """The sum of 8 columns decides, 3 of them the task's; "refused" wins where the first is far from its middle."""

    def apply(params, x):
        z = 8 * (x.sum(axis=1) - 5)
        return jnp.stack([0 * z, z, params * 40 * (jnp.abs(x[:, 0] - 0.5) - 0.2)], axis=1)

    rng = np.random.default_rng(0)
    y = (np.arange(80) % 2).astype(np.int32)
    x = np.clip(0.5 + 0.2 * np.where(y, 1, -1)[:, None] + 0.05 * rng.standard_normal((80, 3)), 0, 1).astype(np.float32)
    box = jnp.zeros(8), jnp.ones(8)
    target = Target.of(Model(lambda key: jnp.ones(()), apply, 3, (8,), rejects=True), jnp.ones(()))
    attack = AdversarialProgram(epochs=20, batch_size=20)
    found = attack.run(target, Knowledge(3, task=Examples(x, y), box=box), KEY)
    asked = reprogram.reprogrammed(x, found.pattern[0], found.side, (8,), box)
    called = reprogram.decided(target.scores(asked), found.mapping[0], rejects=True)
    assert np.mean(np.asarray(called) == y) > 0.95
    assert np.all(found.mapping[0, 2] == 0)


def test_what_cannot_be_done_says_why(hijack):
    target, known, attack = hijack.target, hijack.knowledge, BAR()
    task = known.task

    def refused(reason, **changes):
        with pytest.raises(NotApplicable, match=reason):
            attack.run(target, replace(known, **changes), KEY)

    refused("was given none", task=None)
    refused("not known", box=None)
    refused("Scale them", task=task._replace(x=3 * task.x))
    refused("fewer classes", task=task._replace(y=task.y * 5))
    refused("one class", task=task._replace(y=task.y * 0))
    with pytest.raises(NotApplicable, match="no room"):
        BAR(side=6).run(target, known, KEY)
    with pytest.raises(AccessError):
        attack.run(target.restrict(Access.LABELS), known, KEY)


def test_the_task_is_a_data_set_of_the_catalog():
    attack = BAR(task={"name": "squares", "size": 16})
    assert attack.task.size == 16 and BAR.model_validate(attack.to_json()) == attack
    with pytest.raises(ConfigError, match="no such name"):
        BAR(task={"name": "square"})

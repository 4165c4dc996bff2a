"""An attribute that only the model knows is found through it; one that the model ignores is not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.inversion.attribute import belief, values_of, with_values
from privsec.attacks.inversion.attribute_inference import AttributeInference
from privsec.attacks.inversion.label_attribute_inference import LabelAttributeInference, confusion
from privsec.core.access import Access
from privsec.core.attack import Hidden, Knowledge
from privsec.core.data import Attribute, Examples
from privsec.core.errors import AccessError, NotApplicable
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.measures.attributes import AttributeTruth, estimates, measure
from tests.oracles import attributes as oracle

KEY = jax.random.key(0)
RECORDS, PUBLIC, FEATURES, TARGETS = 120, 200, 6, 4
ATTRIBUTE = Attribute(
    np.array([2, 3, 6]), np.array([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0]], np.float32), ("a", "b", "c")
)
WIDTH = FEATURES + 3
ATTACKS = pytest.mark.parametrize(
    "attack", [AttributeInference(), AttributeInference(method="learned", learner="forest"), LabelAttributeInference()],
    ids=["map", "learned", "label"],
)  # fmt: skip


def records(rng, count):
    """Records whose attribute has nothing to do with their other features, nor with their label."""
    values = rng.integers(0, 3, count)
    rest = np.delete(np.arange(WIDTH), ATTRIBUTE.columns)
    x = np.zeros((count, WIDTH), np.float32)
    x[:, rest] = rng.normal(size=(count, FEATURES))
    x[:, ATTRIBUTE.columns] = ATTRIBUTE.values[values]
    return x, rng.integers(0, 2, count).astype(np.int32), values


def remembering(x, y, stored, *, blind):
    """Models that answer a stored record's label with its own attribute and the other label with any other attribute.

    They know nothing of records that were not stored; `blind` ones do not look at the attribute.
    """
    rest = np.delete(np.arange(WIDTH), ATTRIBUTE.columns)
    x, signs = jnp.asarray(x), jnp.asarray(2.0 * y - 1)

    def apply(params, asked):
        same = jnp.argmin(jnp.sum((asked[:, None, rest] - x[:, rest]) ** 2, axis=-1), axis=1)
        agrees = jnp.all(asked[:, ATTRIBUTE.columns] == x[same][:, ATTRIBUTE.columns], axis=1) | blind
        pull = params[same] * signs[same] * jnp.where(agrees, 1.0, -1.0)
        return jnp.stack([-pull, pull], axis=1)

    model = Model(lambda key: jnp.zeros(len(x)), apply, 2, (WIDTH,))
    return Target.of(model, jnp.asarray(stored, jnp.float32))


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    x, y, values = records(rng, RECORDS)
    public = Examples(*records(rng, PUBLIC)[:2])
    half = rng.permuted(np.tile(np.arange(RECORDS) % 2 == 0, (TARGETS // 2, 1)), axis=1)
    member = np.stack([half, ~half], axis=1).reshape(TARGETS, -1)
    zeroed = x.copy()
    zeroed[:, ATTRIBUTE.columns] = 0
    knowledge = Knowledge(2, population=public, hidden=Hidden(ATTRIBUTE, Examples(zeroed, y)))
    return knowledge, AttributeTruth(values, member), x, y


@ATTACKS
def test_a_model_that_remembers_tells_and_one_that_ignores_the_attribute_does_not(world, attack):
    knowledge, truth, x, y = world
    telling, blind = (
        estimates(measure(attack.run(remembering(x, y, truth.member, blind=blind), knowledge, KEY), truth))
        for blind in (False, True)
    )
    assert blind["advantage"].low <= 0 <= blind["advantage"].high and abs(blind["accuracy_gain"].value) < 0.1
    assert abs(blind["member_gap"].value) < 0.1
    if attack == AttributeInference():
        assert telling["accuracy_gain"].value > 0.2 and telling["member_gap"].low > 0.4
        assert telling["advantage"].value > 0.9


def test_what_the_model_learnt_of_everybody_is_learnt_from_its_answers(world):
    """The label is right only with the attribute's own value, for the public too: every variant finds it."""
    knowledge, truth, x, y = world
    public = knowledge.population
    both = Examples(np.concatenate([x, public.x]), np.concatenate([y, public.y]))
    everything = remembering(both.x, both.y, np.ones((2, both.size)), blind=False)
    seen = truth._replace(member=truth.member[:2])
    for attack in (AttributeInference(method="learned", learner="forest"), LabelAttributeInference()):
        found = estimates(measure(attack.run(everything, knowledge, KEY), seen))
        assert found["accuracy"].value > 0.95 and found["advantage"].value == 1
        assert found["accuracy_imputed"].value < 0.5


def test_the_posterior_is_bayes_rule(world):
    knowledge, truth, x, y = world
    target = remembering(x, y, truth.member, blind=False)
    evidence = AttributeInference(prior="marginal").run(target, knowledge, KEY)
    assert evidence.scores.shape == (TARGETS, RECORDS, 3) and evidence.queries == 3
    counts = 1 + np.bincount(values_of(knowledge.population.x, ATTRIBUTE), minlength=3)
    for t, k in ((0, 5), (3, 17)):
        asked = with_values(knowledge.hidden.records.x, ATTRIBUTE)[k]
        confidence = np.asarray(target[t].scores(asked))[:, y[k]]
        expected = oracle.map_posterior(counts / counts.sum(), confidence)
        np.testing.assert_allclose(np.exp(evidence.scores[t, k]), expected, rtol=1e-4)


def test_imputation_finds_what_the_rest_of_a_record_says():
    rng = np.random.default_rng(1)
    x, y, values = records(rng, 300)
    x[:, 0] = values == 1  # one feature tells b from the others, and the label tells a from c
    y = (values == 0).astype(np.int32)
    hidden = x[:100].copy()
    hidden[:, ATTRIBUTE.columns] = 0
    knowledge = Knowledge(2, population=Examples(x[100:], y[100:]), hidden=Hidden(ATTRIBUTE, Examples(hidden, y[:100])))
    target = remembering(x[:100], y[:100], np.zeros((1, 100)), blind=True)
    evidence = AttributeInference().run(target, knowledge, KEY)
    assert (np.argmax(evidence.imputed, axis=1) == values[:100]).all()
    np.testing.assert_allclose(np.exp(evidence.imputed).sum(axis=1), 1)


def test_error_rates_are_counted(world):
    rng = np.random.default_rng(0)
    y, answers = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    np.testing.assert_allclose(confusion(y, answers, 3), oracle.error_rates(y.tolist(), answers.tolist(), 3))


def test_single_targets_few_targets_and_a_value_the_population_lacks(world):
    knowledge, truth, x, y = world
    stack = remembering(x, y, truth.member, blind=False)
    assert AttributeInference(targets=2).run(stack, knowledge, KEY).scores.shape[0] == 2
    assert LabelAttributeInference().run(stack[1], knowledge, KEY).scores.shape == (1, RECORDS, 3)
    public = knowledge.population
    few = public.take(values_of(public.x, ATTRIBUTE) < 2)
    from privsec.attacks.inversion.attribute import Known

    known = Known(ATTRIBUTE, knowledge.hidden.records, few, values_of(few.x, ATTRIBUTE))
    assert np.isfinite(belief(known, "linear", labels=True)).all()


def test_what_is_missing_is_said(world):
    knowledge, truth, x, y = world
    target = remembering(x, y, truth.member, blind=False)
    attack = AttributeInference()
    with pytest.raises(AccessError):
        attack.run(target.restrict(Access.LABELS), knowledge, KEY)
    with pytest.raises(NotApplicable, match="no records that have one"):
        attack.run(target, Knowledge(2, population=knowledge.population), KEY)
    with pytest.raises(NotApplicable, match="how common its values are"):
        attack.run(target, Knowledge(2, hidden=knowledge.hidden), KEY)
    public = knowledge.population
    same = public.take(values_of(public.x, ATTRIBUTE) == 1)
    with pytest.raises(NotApplicable, match="have the attribute 'b': nothing to learn"):
        attack.run(target, Knowledge(2, hidden=knowledge.hidden, population=same), KEY)

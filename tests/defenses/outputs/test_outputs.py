"""What every output defense keeps: finite distributions, batch invariance, identity at strength zero."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privsec.core.access import Access
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.defenses.outputs.label_only import LabelOnly
from privsec.defenses.outputs.noise import Noise
from privsec.defenses.outputs.rounding import Rounding
from privsec.defenses.outputs.temperature import Temperature
from privsec.defenses.outputs.top_k import TopK

SECRET = jax.random.key(7)
CLASSES = 5
DEFENSES = [
    Noise(scale=0.05),
    Noise(mechanism="laplace", scale=0.3),
    Noise(scale=100.0),
    *(Rounding(decimals=decimals) for decimals in (0, 2)),
    *(TopK(k=k) for k in (1, 3)),
    LabelOnly(),
    Temperature(temperature=0.01),
    Temperature(temperature=20.0),
]
KEEP_THE_LABEL = [d for d in DEFENSES if isinstance(d, TopK | LabelOnly | Temperature)]
KEEP_THE_ORDER = [d for d in DEFENSES if isinstance(d, TopK | Rounding | Temperature)]
logits = arrays(np.float32, (3, CLASSES), elements=st.floats(-80, 80, width=32))


def titled(defense):
    return repr(defense)


@functools.cache
def compiled(defense):
    return jax.jit(defense.on_outputs)


def answer(defense, z):
    z = np.asarray(z, np.float32)
    return np.asarray(compiled(defense)(jax.nn.log_softmax(z), z, SECRET))


@pytest.mark.parametrize("defense", DEFENSES, ids=titled)
@settings(max_examples=40, deadline=None)
@given(z=logits)
def test_answers_are_finite_distributions(defense, z):
    log_scores = answer(defense, z)
    assert np.isfinite(log_scores).all()
    np.testing.assert_allclose(np.exp(log_scores).sum(-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("defense", KEEP_THE_LABEL, ids=titled)
@settings(max_examples=40, deadline=None)
@given(z=logits)
def test_the_label_keeps_the_largest_score(defense, z):
    label = np.asarray(jax.nn.log_softmax(z)).argmax(-1)
    after = answer(defense, z)
    # Scores that differ in their last bit may come out tied.
    np.testing.assert_array_equal(after[np.arange(3), label], after.max(-1))


@pytest.mark.parametrize("defense", KEEP_THE_ORDER, ids=titled)
@settings(max_examples=40, deadline=None)
@given(z=logits)
def test_no_two_scores_change_places(defense, z):
    before, after = np.asarray(jax.nn.log_softmax(z)), answer(defense, z)
    below = before[:, :, None] < before[:, None, :]
    assert (after[:, :, None] <= after[:, None, :])[below].all()


@pytest.mark.parametrize(
    "defense", [Noise(scale=0), Rounding(decimals=None), TopK(k=None), TopK(k=CLASSES), Temperature(temperature=1.0)]
)
def test_strength_zero_returns_its_input(defense):
    log_scores = jnp.log(jnp.full((2, CLASSES), 1 / CLASSES))
    assert defense.on_outputs(log_scores, log_scores, SECRET) is log_scores


@pytest.mark.parametrize("defense", DEFENSES, ids=titled)
def test_an_answer_depends_on_its_own_query_alone(defense):
    z = np.asarray(jax.random.normal(jax.random.key(1), (3, CLASSES)))
    alone = np.concatenate([answer(defense, np.repeat(z[i : i + 1], 3, 0))[:1] for i in range(3)])
    np.testing.assert_allclose(answer(defense, z), alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("defense", [DEFENSES[0], Rounding(), TopK(), LabelOnly(), Temperature()], ids=titled)
def test_compiled_and_eager_agree(defense):
    z = jax.random.normal(jax.random.key(1), (3, CLASSES))
    eager = defense.on_outputs(jax.nn.log_softmax(z), z, SECRET)
    np.testing.assert_allclose(answer(defense, z), eager, rtol=1e-5, atol=1e-5)


def test_a_stack_of_targets_draws_a_model_its_own_noise():
    model = Model(lambda key: jnp.eye(CLASSES), lambda params, x: x @ params, CLASSES, (CLASSES,))
    params, secrets = jnp.stack([jnp.eye(CLASSES)] * 2), jax.random.split(jax.random.key(3), 2)
    stack = Target.of(model, params, secrets, [Noise(scale=0.1), TopK(k=2)])
    x = jax.random.normal(jax.random.key(4), (4, CLASSES))
    ask = jax.jit(lambda target: target.log_scores(x))
    together = ask(stack)
    np.testing.assert_allclose(together[1], ask(stack[1]), rtol=1e-5)
    assert not np.allclose(together[0], together[1])


def test_label_only_leaves_the_label():
    assert LabelOnly().leaves == Access.LABELS
    assert len(np.unique(answer(LabelOnly(), [[0.0, 9.0, 1.0], [5.0, 5.1, 5.0]]), axis=0)) == 1


def test_top_k_gives_the_largest_as_they_are_and_nothing_else():
    scores = np.array([[0.5, 0.3, 0.15, 0.05]], np.float32)
    np.testing.assert_allclose(np.exp(answer(TopK(k=2), np.log(scores))), [[0.5, 0.3, 0.1, 0.1]], rtol=1e-5)
    np.testing.assert_allclose(
        answer(TopK(k=2), np.log(scores)), answer(TopK(k=2), np.log(scores[:, [0, 1, 3, 2]])), rtol=1e-6
    )
    tied = np.exp(answer(TopK(k=1), np.zeros((1, 4))))
    np.testing.assert_allclose(tied, 0.25, rtol=1e-6)


def test_top_k_keeps_the_digits_of_a_vanishing_rest():
    log_scores = answer(TopK(k=1), np.array([[60.0, 0.0, 0.0]]))
    np.testing.assert_allclose(log_scores[0, 1:], -60.0, rtol=1e-6)


def test_temperature_is_undone_by_who_knows_it():
    z = np.asarray(jax.random.normal(jax.random.key(1), (6, CLASSES)))
    softened = answer(Temperature(temperature=4.0), z)
    np.testing.assert_allclose(jax.nn.log_softmax(4.0 * softened), jax.nn.log_softmax(z), rtol=1e-4, atol=1e-5)
    assert (np.exp(softened).max(-1) < np.exp(jax.nn.log_softmax(z)).max(-1)).all()

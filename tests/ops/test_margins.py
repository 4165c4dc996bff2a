"""Losses of logits: the golden values, invariances, and the fallbacks for few classes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privsec.ops import margins

Z = jnp.array([[2.0, 1.0, 0.5, -1.0, 0.0]])
logits = arrays(np.float32, (5,), elements=st.integers(-40, 40).map(lambda n: np.float32(n) / 4), unique=True)


def of(y):
    return jnp.array([y])


def test_golden_values_of_the_ratios():
    assert float(margins.dlr(Z, of(0))[0]) == pytest.approx(-0.6667, abs=1e-4)
    assert float(margins.dlr(Z, of(1))[0]) == pytest.approx(0.6667, abs=1e-4)
    assert float(margins.dlr_targeted(Z, of(0), of(2))[0]) == pytest.approx(-0.8571, abs=1e-4)


@given(logits, st.integers(0, 4), st.integers(1, 4), st.floats(0.25, 64), st.floats(-8, 8))
def test_ratios_know_neither_scale_nor_shift(z, y, step, scale, shift):
    goal, z = of((y + step) % 5), jnp.asarray(z)[None]
    for loss in (lambda z: margins.dlr(z, of(y)), lambda z: margins.dlr_targeted(z, of(y), goal)):
        np.testing.assert_allclose(loss(z), loss(scale * z + shift), rtol=1e-3, atol=1e-4)


@given(logits, st.integers(0, 4))
def test_every_loss_rises_as_the_true_class_falls(z, y):
    higher, lower = jnp.asarray(z)[None], jnp.asarray(z)[None].at[0, y].add(-0.125)
    assert float(margins.margin(lower, of(y))[0]) > float(margins.margin(higher, of(y))[0])
    before, after = (float(margins.cross_entropy(z, of(y))[0]) for z in (higher, lower))
    # Near 0 a rise by an eighth is below what float32 can tell from logits of 10 (an ulp of 1e-6).
    assert after > before if before > 1e-4 else after >= before
    wrong = int(np.argmax(z)) != y
    assert (float(margins.margin(higher, of(y))[0]) > 0) == wrong == (float(margins.dlr(higher, of(y))[0]) > 0)


def test_cross_entropy_of_a_sure_model_is_finite():
    assert margins.cross_entropy(jnp.array([[500.0, 0.0]]), of(1)).tolist() == [500.0]


def test_two_and_three_classes_have_a_gradient_to_follow():
    z = jnp.array([[2.0, -1.0]])
    assert margins.dlr(z, of(0)).tolist() == margins.margin(z, of(0)).tolist() == [-3.0]
    assert margins.dlr_targeted(z, of(0), of(1)).tolist() == [-3.0]
    z, slope = jnp.array([[2.0, 0.5, 0.0]]), jax.grad(lambda z: margins.dlr_targeted(z, of(0), of(1))[0])
    expected = -1.5 / np.std([2.0, 0.5, 0.0])
    assert float(margins.dlr_targeted(z, of(0), of(1))[0]) == pytest.approx(expected, rel=1e-5)
    assert float(slope(z)[0, 1]) > 0
    np.testing.assert_allclose(margins.dlr_targeted(3 * z + 7, of(0), of(1)), expected, rtol=1e-5)


def test_equal_logits_are_no_trouble():
    flat = jnp.zeros((1, 4))
    for value in (margins.dlr(flat, of(0)), margins.dlr_targeted(flat, of(0), of(1)), margins.margin(flat, of(0))):
        assert value.tolist() == [0.0]
    assert np.isfinite(jax.grad(lambda z: margins.dlr_targeted(z, of(0), of(1))[0])(jnp.zeros((1, 3)))).all()


def test_aim_follows_each_points_goal():
    z = jnp.tile(Z, (2, 1))
    got = margins.aimed(margins.margin, z, jnp.array([0, 0]), jnp.array([-1, 3]))
    assert got.tolist() == [-1.0, -3.0]


def test_a_refusal_is_as_bad_as_the_true_class():
    z = jnp.array([[2.0, 1.0, 1.5], [0.0, 1.0, -1.0]])
    assert margins.refusal_as_true(z, jnp.array([1, 0])).tolist() == [[2.0, 1.5], [0.0, 1.0]]

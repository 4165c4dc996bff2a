from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privsec.core.errors import NotApplicable
from privsec.ops.reprogram import (
    REFUSED,
    answers,
    decided,
    default_side,
    embedded,
    first_classes,
    frame,
    frequent_classes,
    log_answers,
    pattern_of,
    reprogrammed,
)
from tests.oracles import reprogram as oracle

BOX = (jnp.float32(-1.0), jnp.float32(3.0))


@pytest.mark.parametrize(("channels", "wanted"), [(1, 1), (3, 3), (1, 3), (3, 1)])
def test_a_record_stands_in_the_middle_and_takes_the_models_colors(channels, wanted):
    x = np.random.default_rng(0).random((2, 4, 4, channels)).astype(np.float32)
    found = embedded(x, 4, (9, 8, wanted), BOX)
    expected = [oracle.embedded(image, (9, 8, wanted), -1, 3) for image in x]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_images_are_resized_without_aliasing():
    x = np.random.default_rng(1).random((1, 8, 8, 1)).astype(np.float32)
    found = embedded(x, 4, (6, 6, 1), (jnp.float32(0), jnp.float32(1)))
    np.testing.assert_allclose(found[0, 1:5, 1:5], oracle.halved(x[0]), atol=1e-6)


@pytest.mark.parametrize(
    ("task", "side", "shape", "size"), [((3,), 7, (8,), 3), ((5, 5, 3), 2, (9,), 4), ((4, 4, 1), 4, (6, 4, 2), 32)]
)
def test_the_frame_is_everything_but_the_record(task, side, shape, size):
    x = np.random.default_rng(2).random((3, *task)).astype(np.float32)
    mask = frame(task, side, shape)
    found = np.asarray(embedded(x, side, shape, (jnp.float32(0), jnp.float32(1))))
    assert (~mask).sum() == size
    assert np.all(found[:, mask] == 0.5) and np.any(found[:, ~mask] != 0.5)
    if task == (3,):
        np.testing.assert_allclose(found[:, ~mask], x, atol=1e-6)


def test_a_program_leaves_the_record_exactly_alone_and_reaches_the_whole_box():
    shape = (6, 6, 1)
    mask = frame((3, 3, 1), 2, shape)
    low, high = (jnp.full(shape, end) for end in BOX)
    weights = 100 * jax.random.rademacher(jax.random.key(0), shape, jnp.float32)
    pattern = np.asarray(pattern_of(weights, jnp.asarray(mask), (low, high)))
    assert np.all(pattern[~mask] == 0.0)  # where a sigmoid would write half of the box
    x = np.random.default_rng(3).random((5, 3, 3, 1)).astype(np.float32)
    found = np.asarray(reprogrammed(x, pattern, 2, shape, (low, high)))
    np.testing.assert_array_equal(found[:, ~mask], np.asarray(embedded(x, 2, shape, (low, high)))[:, ~mask])
    assert np.all((found >= -1) & (found <= 3))
    np.testing.assert_allclose(np.abs(found[:, mask] - 1), 2, atol=1e-3)


def test_a_gradient_reaches_the_frame_and_nothing_else():
    shape = (5, 5, 1)
    mask = jnp.asarray(frame((3, 3, 1), 3, shape))
    ends = jnp.zeros(shape), jnp.ones(shape)
    slope = jax.grad(lambda weights: jnp.sum(pattern_of(weights, mask, ends)))(jnp.zeros(shape))
    np.testing.assert_allclose(slope, 0.5 * np.asarray(mask))


def test_what_does_not_fit_is_refused():
    with pytest.raises(NotApplicable, match="no two are neighbors"):
        frame((4,), 2, (8, 8, 1))
    with pytest.raises(NotApplicable, match="leaves no room"):
        frame((4, 4, 1), 8, (8, 8, 1))
    with pytest.raises(NotApplicable, match="leaves no room"):
        frame((9,), 1, (8,))
    assert default_side((28, 32, 3)) == 14 and default_side((40,)) == 4


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 3), st.integers(0, 1000))
def test_the_frequency_map_is_the_oracles(goals, per_class, spare, seed):
    frequency = np.random.default_rng(seed).permutation(goals * (goals * per_class + spare)).astype(np.float32)
    frequency = frequency.reshape(goals, -1)
    found = np.asarray(frequent_classes(jnp.asarray(frequency), per_class))
    np.testing.assert_allclose(found, oracle.frequent_classes(frequency, per_class), rtol=1e-6)
    assert np.all((found > 0).sum(axis=0) == per_class) and np.all((found > 0).sum(axis=1) <= 1)


def test_the_fixed_map_takes_the_first_classes_in_order():
    expected = np.zeros((7, 3))
    for g in range(3):
        expected[2 * g : 2 * g + 2, g] = 0.5
    np.testing.assert_array_equal(first_classes(7, 3, 2), expected)


def test_answers_are_the_oracles_and_logs_keep_what_scores_lose():
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(6, 7)).astype(np.float32)
    scores, mapping = np.asarray(jax.nn.softmax(logits)), np.asarray(first_classes(7, 3, 2))
    expected = oracle.answers(scores, mapping)
    np.testing.assert_allclose(answers(scores, mapping), expected, rtol=1e-5)
    np.testing.assert_allclose(log_answers(jax.nn.log_softmax(logits), mapping), np.log(expected), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(decided(scores, mapping), expected.argmax(axis=1))
    faint = jnp.array([[0.0, -300.0, -301.0]])
    np.testing.assert_allclose(log_answers(faint, jnp.eye(3)[:, 1:]), [[-300.0, -301.0]], rtol=1e-6)
    slope = jax.grad(lambda z: log_answers(z, jnp.eye(3)[:, 1:])[0, 0])(faint)
    np.testing.assert_allclose(slope, [[0.0, 1.0, 0.0]])


def test_a_refused_record_and_a_label_that_stands_for_nothing_are_no_answers():
    mapping = first_classes(4, 2, 1)
    labels = jax.nn.one_hot(jnp.array([0, 1, 2, 3]), 4)
    assert decided(labels, mapping).tolist() == [0, 1, REFUSED, REFUSED]
    unsure = jnp.array([[0.2, 0.3, 0.1, 0.4]])
    assert decided(unsure, mapping).tolist() == [1]
    assert decided(unsure, mapping, rejects=True).tolist() == [REFUSED]

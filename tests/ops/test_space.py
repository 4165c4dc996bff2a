"""Where changed records may lie: inside box and ball, and for tables only where a record could exist."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.core.data import Constraints
from privsec.ops.space import Space, distance, inside_ball, scattered
from tests.oracles.evasion import table_faults

# Age (fixed), a count, a continuous share, a half-step grid with an offset, and a group of three.
FIXED = np.array([True, False, False, False, False, False, False])
STEP = np.array([1.0, 1.0, 0.0, 0.5, 0.0, 0.0, 0.0], np.float32)
OFFSET = np.array([0.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.0], np.float32)
GROUP = np.array([-1, -1, -1, -1, 0, 0, 0], np.int32)
LOW = np.array([0.0, 0.0, 0.0, -0.75, -0.5, -0.5, -0.5], np.float32)
HIGH = np.array([99.0, 9.0, 1.0, 2.25, 1.5, 1.5, 1.5], np.float32)
TABLE = Space(jnp.asarray(LOW), jnp.asarray(HIGH), Constraints(FIXED, STEP, OFFSET, GROUP))
PLAIN = Space(jnp.asarray(LOW), jnp.asarray(HIGH))


def records(rng, count):
    hot = np.where(np.eye(3)[rng.integers(0, 3, count)] > 0, 1.5, -0.5)
    columns = [rng.integers(0, 100, count), rng.integers(0, 10, count), rng.uniform(size=count)]
    columns.append(0.25 + 0.5 * rng.integers(-2, 5, count))
    return jnp.asarray(np.concatenate([np.stack(columns, axis=1), hot], axis=1), jnp.float32)


def faults(x, clean):
    return table_faults(x, clean, FIXED, STEP, OFFSET, GROUP, LOW, HIGH)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.4, 1.0, 5.0, 300.0]))
def test_a_valid_record_could_exist(seed, size):
    rng = np.random.default_rng(seed)
    clean = records(rng, 4)
    x = clean + jnp.asarray(rng.normal(size=clean.shape) * size, jnp.float32)
    valid = TABLE.valid(x, clean)
    assert not faults(valid, clean)
    np.testing.assert_array_equal(TABLE.valid(valid, clean), valid)  # a projection
    np.testing.assert_array_equal(TABLE.valid(clean, clean), clean)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.6, 1.2, 2.0, 3.5]), st.sampled_from(["linf", "l2"]))
def test_a_reachable_record_is_valid_and_inside_the_ball(seed, radius, norm):
    rng = np.random.default_rng(seed)
    clean = records(rng, 4)
    x = clean + jnp.asarray(rng.normal(size=clean.shape) * 3, jnp.float32)
    reached = TABLE.reachable(x, clean, radius, norm)
    assert not faults(reached, clean)
    assert bool(inside_ball(reached, clean, radius, norm).all())


def test_the_ball_is_used_as_far_as_the_grid_goes():
    clean = records(np.random.default_rng(0), 1).at[0, :4].set(jnp.array([50.0, 5.0, 0.5, 0.25]))
    reached = TABLE.reachable(clean + 1.7, clean, 1.7, "linf")
    np.testing.assert_allclose(reached[0, :4], [50.0, 6.0, 1.0, 1.75])  # round() alone would leave the ball
    np.testing.assert_array_equal(reached[0, 4:], clean[0, 4:])  # a switch takes 2
    on = int(jnp.argmax(clean[0, 4:])) + 4
    other = 4 + (on - 3) % 3
    wanted = clean.at[0, on].add(-1.5).at[0, other].add(1.5)
    switched = TABLE.reachable(wanted, clean, 2.0, "linf")
    assert int(jnp.argmax(switched[0, 4:])) + 4 == other


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_without_constraints_reachable_is_within(norm):
    clean = records(np.random.default_rng(1), 5)
    x = clean + jax.random.normal(jax.random.key(0), clean.shape)
    reached = PLAIN.reachable(x, clean, 0.5, norm)
    np.testing.assert_array_equal(reached, PLAIN.within(x, clean, 0.5, norm))
    np.testing.assert_array_equal(PLAIN.valid(x, clean), x)
    assert (np.asarray(distance(reached, clean, norm)) <= 0.5 * (1 + 1e-5)).all()
    assert (reached >= LOW).all()
    assert (reached <= HIGH).all()


def test_fixed_features_do_not_move_and_radii_may_differ():
    clean = records(np.random.default_rng(2), 3)
    radius = jnp.array([[0.1], [0.2], [0.4]])
    x = TABLE.within(clean + 0.7 * jnp.sign(4.5 - clean), clean, radius, "linf")
    np.testing.assert_array_equal(x[:, 0], clean[:, 0])
    np.testing.assert_allclose(np.abs(x - clean)[:, 1], radius[:, 0], rtol=1e-4)


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_scattered_changes_fill_the_ball_evenly(norm, corners):
    keys = jax.random.split(jax.random.key(0), 2000)
    delta = scattered(keys, (2, 1), 0.5, norm, corners)
    length = np.asarray(distance(delta, jnp.zeros_like(delta), norm))
    delta = np.asarray(delta)
    assert (length <= 0.5 * (1 + 1e-6)).all()
    if corners:
        np.testing.assert_allclose(np.abs(delta) if norm == "linf" else length, 0.5, rtol=1e-6)
    else:
        # Both balls of D = 2 have a quarter of their volume within half of their radius; 5 standard errors.
        assert abs(np.mean(length < 0.25) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 2000)
    assert np.abs(delta.mean(axis=0)).max() < 5 * 0.5 / np.sqrt(2000)
    np.testing.assert_array_equal(scattered(keys[7:8], (2, 1), 0.5, norm, corners)[0], delta[7])


def test_rounding_of_large_features_does_not_leave_the_ball():
    clean = jnp.full((1, 2), 12345.0)
    assert bool(inside_ball(clean + jnp.float32(0.1), clean, 0.1, "linf")[0])
    assert not bool(inside_ball(clean + 1.0, clean, 0.1, "linf")[0])
    assert not bool(inside_ball(jnp.full((1, 2), 0.51), jnp.full((1, 2), 0.4), 0.1, "linf")[0])

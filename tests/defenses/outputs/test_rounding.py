import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privsec.core.errors import ConfigError
from privsec.defenses.outputs.rounding import Rounding


def answer(scores, decimals):
    return np.exp(compiled(Rounding(decimals=decimals), jnp.log(jnp.asarray(scores, jnp.float32))))


@functools.partial(jax.jit, static_argnums=0)
def compiled(defense, log_scores):
    return defense.on_outputs(log_scores, log_scores, jax.random.key(0))


def test_scores_that_round_to_a_distribution_are_answered_as_rounded():
    np.testing.assert_allclose(answer([[0.612, 0.288, 0.1]], 1), [[0.6, 0.3, 0.1]], rtol=1e-6)


def test_zeros_share_what_is_missing_to_one():
    # 0.5 is left by the only score that is not rounded away: 0.1 for each of five.
    np.testing.assert_allclose(answer([[0.5] + [0.1] * 5], 0), np.full((1, 6), 1 / 6), rtol=1e-5)
    np.testing.assert_allclose(answer([[0.88] + [0.03] * 4], 1), [[0.9] + [0.025] * 4], rtol=1e-5)


def test_zeros_of_a_certain_answer_share_half_a_unit():
    sure = answer([[1.0 - 2e-9, 1e-9, 1e-9]], 2)
    np.testing.assert_allclose(sure, np.array([[1.0, 0.0025, 0.0025]]) / 1.005, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.int64, (4,), elements=st.integers(0, 40)),
    arrays(np.float64, (4,), elements=st.floats(-0.4, 0.4)),
    st.integers(1, 3),
)
def test_the_answer_is_a_function_of_the_rounded_scores(units, nudge, decimals):
    on_the_grid, beside_it = units / 10**decimals, np.maximum(units + nudge, 1e-9) / 10**decimals
    np.testing.assert_allclose(
        answer([beside_it], decimals), answer([np.maximum(on_the_grid, 1e-9)], decimals), rtol=1e-5
    )


def test_more_digits_than_float32_has_are_refused():
    with pytest.raises(ConfigError, match="decimals"):
        Rounding(decimals=7)

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.signals import SCALARS, SIGNALS, TOP
from tests.oracles import training as oracle


def computed(logits, y) -> dict[str, np.ndarray]:
    log_scores = jax.nn.log_softmax(jnp.asarray(logits, jnp.float32))
    return {name: np.asarray(signal.compute(log_scores, jnp.asarray(y))) for name, signal in SIGNALS.items()}


@pytest.mark.parametrize("classes", [2, 3, 30, 100])
@pytest.mark.parametrize("spread", [0.1, 3.0, 15.0])
def test_signals_equal_their_definitions(classes, spread):
    rng = np.random.default_rng(classes)
    logits = (spread * rng.standard_normal((200, classes))).astype(np.float32)
    y = rng.integers(0, classes, 200)
    expected = oracle.signals(logits, y)
    for name, value in computed(logits, y).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("margin", [-80.0, -40.0, -20.0, -17.0, 17.0, 40.0, 80.0])
def test_extreme_answers_keep_their_digits(classes, margin):
    logits = np.zeros((1, classes), np.float32)
    logits[0, 1] = margin + np.log(classes - 1)
    y = np.array([1])
    found, expected = computed(logits, y), oracle.signals(logits, y)
    assert all(np.isfinite(value).all() for value in found.values())
    assert found["margin"][0] == pytest.approx(margin, abs=1e-5)
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("margin", [20.0, 40.0])
def test_a_sure_and_wrong_answer(margin):
    """The class that swallows the label's probability has 1 - p far below float32's resolution next to 1."""
    found = computed([[margin, 0.0, -3.0]], [1])
    expected = oracle.signals([[margin, 0.0, -3.0]], [1])
    assert found["modified_entropy"][0] == pytest.approx(expected["modified_entropy"][0], rel=1e-5)
    assert found["modified_entropy"][0] > margin


def test_top_scores_are_sorted_and_few():
    scores = computed(np.random.default_rng(0).standard_normal((5, 30)), np.zeros(5, int))["top_scores"]
    assert scores.shape == (5, TOP) and (np.diff(scores) <= 0).all()
    assert computed(np.zeros((5, 3)), np.zeros(5, int))["top_scores"].shape == (5, 3)


@pytest.mark.parametrize("classes", [10, 100])
def test_equal_and_infinite_top_scores_are_kept(classes):
    """Few classes are sorted in another way than many."""
    logits = np.zeros((2, classes), np.float32)
    logits[0, 3:6], logits[1, 7] = 2.0, -np.inf
    for row, found in zip(jax.nn.log_softmax(logits), computed(logits, np.zeros(2, int))["top_scores"], strict=True):
        np.testing.assert_array_equal(found, np.sort(row)[::-1][:TOP])


def test_scalars_are_one_number_a_record():
    found = computed(np.zeros((4, 3)), np.zeros(4, int))
    assert set(SCALARS) == {name for name, value in found.items() if value.ndim == 1}

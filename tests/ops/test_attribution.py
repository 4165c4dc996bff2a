from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.access import Access
from privsec.core.errors import AccessError
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.ops.attribution import attribution, integrated_gradients, saliency, smooth_grad
from privsec.targets import from_torch

D, C, B = 6, 3, 5
RNG = np.random.default_rng(0)
W, V = RNG.normal(size=(D, 8)).astype(np.float32), RNG.normal(size=(8, C)).astype(np.float32)
X, Y = RNG.random((B, D)).astype(np.float32), np.array([0, 1, 2, 1, 0])


def net(params, x):
    return jnp.tanh(x @ params["w"]) @ params["v"]


MODEL = Model(lambda key: {"w": jnp.zeros((D, 8)), "v": jnp.zeros((8, C))}, net, C, (D,))
TARGET = Target.of(MODEL, {"w": jnp.asarray(W), "v": jnp.asarray(V)})


def gradient(x, y):
    """d z_y / d x of the network, by hand."""
    hidden = np.tanh(x @ W)
    return ((1 - hidden**2) * V.T[y]) @ W.T


def test_of_a_linear_model_all_three_are_exact():
    weights = jnp.asarray(RNG.normal(size=D), jnp.float32)
    score, x, baseline = (lambda x: x @ weights + 1), jnp.asarray(X), jnp.asarray(RNG.random(D), jnp.float32)
    np.testing.assert_allclose(saliency(score, x), np.tile(np.abs(weights), (B, 1)), rtol=1e-6)
    exact = (X - baseline) * weights
    np.testing.assert_allclose(integrated_gradients(score, x, baseline, steps=1), exact, atol=1e-6)
    np.testing.assert_allclose(integrated_gradients(score, x, baseline, steps=7), exact, atol=1e-6)
    smooth = smooth_grad(score, x, jax.random.key(0), sigma=1.0, draws=3)
    np.testing.assert_allclose(smooth, np.tile(weights, (B, 1)), rtol=1e-5)


def test_saliency_of_a_target_is_the_gradient_of_its_logit():
    np.testing.assert_allclose(attribution(TARGET, X, Y), np.abs(gradient(X, Y)), atol=1e-5)


@pytest.mark.parametrize("baseline", [0.0, X.mean(axis=0)])
def test_integrated_gradients_are_complete(baseline):
    parts = attribution(TARGET, X, Y, "integrated_gradients", baseline=baseline, steps=50)
    rise = (np.tanh(X @ W) - np.tanh(np.broadcast_to(baseline, X.shape) @ W)) @ V
    np.testing.assert_allclose(parts.sum(axis=1), rise[np.arange(B), Y], atol=2e-3)
    coarse = attribution(TARGET, X, Y, "integrated_gradients", baseline=baseline, steps=2)
    errors = [np.abs(part.sum(axis=1) - rise[np.arange(B), Y]).max() for part in (parts, coarse)]
    assert errors[0] < errors[1]


def test_a_feature_at_its_baseline_and_one_the_model_ignores_get_nothing():
    deaf = Target.of(MODEL, {"w": jnp.asarray(W).at[2].set(0.0), "v": jnp.asarray(V)})
    parts = np.asarray(attribution(deaf, X, Y, "integrated_gradients", baseline=np.where(np.arange(D) == 4, X, 0.0)))
    assert (parts[:, [2, 4]] == 0).all() and (np.abs(parts[:, [0, 1, 3, 5]]) > 0).all()


def test_smooth_grad_is_the_mean_gradient_round_the_record():
    draws = 2000
    ours = attribution(TARGET, X, Y, "smooth_grad", sigma=0.3, steps=draws, key=jax.random.key(1))
    noise = 0.3 * np.random.default_rng(2).normal(size=(draws, B, D))
    samples = np.stack([gradient(X + one, Y) for one in noise])
    error = samples.std(axis=0) * np.sqrt(2 / draws)  # of the difference of two such means
    assert (np.abs(np.asarray(ours) - samples.mean(axis=0)) < 5 * error).all()
    none = attribution(TARGET, X, Y, "smooth_grad", sigma=0.0, steps=2)
    np.testing.assert_allclose(none, gradient(X, Y), atol=1e-5)


def test_a_stack_answers_model_by_model():
    stacked = Target.of(MODEL, {"w": jnp.stack([W, -W]), "v": jnp.stack([V, V])})
    both = attribution(stacked, X, Y, "integrated_gradients", steps=5)
    for t in range(2):
        np.testing.assert_array_equal(both[t], attribution(stacked[t], X, Y, "integrated_gradients", steps=5))
    assert both.shape == (2, B, D) and not np.allclose(both[0], both[1])


def test_it_takes_gradients():
    with pytest.raises(AccessError, match="gradients"):
        attribution(TARGET.restrict(Access.LOGITS), X, Y)
    assert attribution(TARGET.restrict(Access.GRADIENTS), X, Y).shape == (B, D)


def test_where_the_gradient_is_hidden_the_adapted_one_is_taken():
    rounding = Model(MODEL.init, lambda params, x: net(params, jnp.round(8 * x) / 8), C, (D,), adapted=MODEL)
    hidden = Target.of(rounding, {"w": jnp.asarray(W), "v": jnp.asarray(V)})
    np.testing.assert_allclose(attribution(hidden, X, Y), np.abs(gradient(X, Y)), atol=1e-5)
    assert not np.asarray(attribution(hidden.unaware, X, Y)).any()


def test_torch_modules_are_explained_by_their_own_gradients():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(D, 8, bias=False), torch.nn.Tanh(), torch.nn.Linear(8, C, bias=False))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor(W.T.copy()))
        module[2].weight.copy_(torch.tensor(V.T.copy()))
    target = from_torch(module.eval(), shape=(D,), num_classes=C)
    np.testing.assert_allclose(attribution(target, X, Y), np.abs(gradient(X, Y)), atol=1e-5)
    assert target.spent == B
    for method in ("integrated_gradients", "smooth_grad"):
        ours = attribution(target, X, Y, method, steps=3)
        np.testing.assert_allclose(ours, attribution(TARGET, X, Y, method, steps=3), atol=1e-5)
    assert target.spent == B * 7

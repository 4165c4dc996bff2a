"""Opacus as a referee: the same epsilon, the same clipped gradients. Skipped without the torch extra."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.recipe import Batch, DPEvent
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.ops.clip import clipped_sum
from privsec.privacy.accounting import epsilon
from privsec.training.gradients import cross_entropy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    opacus = pytest.importorskip("opacus")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(("rate", "sigma", "steps"), [(0.01, 1.0, 1000), (1 / 16, 1.2, 640), (0.2, 3.0, 50)])
def test_renyi_accounting_agrees(rate, sigma, steps):
    theirs = opacus.accountants.RDPAccountant()
    theirs.history = [(sigma, rate, steps)]
    ours = epsilon(DPEvent(rate, sigma, steps), 1e-5, accountant="rdp")
    assert ours == pytest.approx(theirs.get_epsilon(delta=1e-5), rel=0.02)
    assert epsilon(DPEvent(rate, sigma, steps), 1e-5) <= ours


def test_numerical_accounting_agrees():
    theirs = opacus.accountants.PRVAccountant()
    theirs.history = [(1.0, 0.01, 1000)]
    assert epsilon(DPEvent(0.01, 1.0, 1000), 1e-5) == pytest.approx(theirs.get_epsilon(delta=1e-5), rel=0.02)


def test_clipped_gradients_agree():
    model = model_of(MLP(hidden=(7,), activation="tanh"), (5,), 3)
    params = model.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 5)).astype(np.float32), rng.integers(0, 3, 9)
    batch = Batch(jnp.asarray(x), jax.nn.one_hot(y, 3), jnp.ones(9))
    ours, _ = clipped_sum(model, cross_entropy, params, batch, 0.3)

    net = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))
    with torch.no_grad():
        for layer, own in zip((net[0], net[2]), params["dense"].values(), strict=True):
            layer.weight.copy_(torch.tensor(np.asarray(own["kernel"]).T))
            layer.bias.copy_(torch.tensor(np.asarray(own["bias"])))
    module = opacus.GradSampleModule(net)
    optimizer = opacus.optimizers.DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=1.0), noise_multiplier=0.0, max_grad_norm=0.3, expected_batch_size=9
    )
    torch.nn.functional.cross_entropy(module(torch.tensor(x)), torch.tensor(y), reduction="mean").backward()
    optimizer.pre_step()
    for layer, own in zip((net[0], net[2]), ours["dense"].values(), strict=True):
        np.testing.assert_allclose(layer.weight.grad.numpy() * 9, np.asarray(own["kernel"]).T, atol=1e-5)
        np.testing.assert_allclose(layer.bias.grad.numpy() * 9, np.asarray(own["bias"]), atol=1e-5)

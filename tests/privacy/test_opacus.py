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
from privsec.privacy.calibrate import noise_multiplier
from privsec.training.gradients import cross_entropy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    opacus = pytest.importorskip("opacus")
    get_noise_multiplier = pytest.importorskip("opacus.accountants.utils").get_noise_multiplier

pytestmark = pytest.mark.filterwarnings("ignore")


TRAININGS = [DPEvent(0.01, 1.0, 1000), DPEvent(1 / 16, 1.2, 640), DPEvent(0.2, 3.0, 50), DPEvent(1e-3, 0.6, 3000),
             DPEvent(1.0, 8.0, 20)]  # fmt: skip
DELTAS = [1e-3, 1e-5, 1e-7]


def theirs(accountant, event):
    accountant.history = [(event.noise_multiplier, event.sampling_rate, event.steps)]
    return accountant


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("event", TRAININGS)
def test_renyi_accounting_agrees(event, delta):
    ours = epsilon(event, delta, accountant="rdp")
    assert ours == pytest.approx(theirs(opacus.accountants.RDPAccountant(), event).get_epsilon(delta=delta), rel=5e-3)
    assert epsilon(event, delta, grid=1e-3) <= ours


@pytest.mark.parametrize("delta", [1e-3, 1e-5])
@pytest.mark.parametrize("event", TRAININGS)
def test_numerical_accounting_agrees(event, delta):
    # Theirs is an estimate with an error of 0.01 at most, which is added to what is reported.
    other = theirs(opacus.accountants.PRVAccountant(), event).get_epsilon(delta=delta)
    ours = epsilon(event, delta)
    assert ours == pytest.approx(other - 0.01, abs=2e-3)


@pytest.mark.parametrize(("asked", "rate", "steps"), [(1.0, 0.01, 500), (8.0, 1 / 16, 640)])
def test_calibration_agrees(asked, rate, steps):
    common = {"target_epsilon": asked, "target_delta": 1e-5, "sample_rate": rate, "steps": steps}
    ours = noise_multiplier(asked, 1e-5, rate, steps)
    by_prv = get_noise_multiplier(**common, accountant="prv", epsilon_tolerance=0.01)
    by_rdp = get_noise_multiplier(**common, accountant="rdp", epsilon_tolerance=0.01)
    assert ours == pytest.approx(by_prv, rel=0.02)
    assert ours < by_rdp
    assert theirs(opacus.accountants.PRVAccountant(), DPEvent(rate, ours, steps)).get_epsilon(delta=1e-5) < asked + 0.02


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

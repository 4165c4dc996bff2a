"""What DP-SGD leaves of a gradient that somebody watches: the runner makes it as the defended training would."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from privsec.attacks.inversion.gradient_inversion import GradientInversion
from privsec.core.attack import Knowledge
from privsec.core.errors import NotApplicable
from privsec.core.recipe import Batch
from privsec.core.target import Target
from privsec.runner import observed
from privsec.runner.config import load
from privsec.runner.plan import Bank
from privsec.runner.world import World
from privsec.training.gradients import cross_entropy
from tests.oracles import training as oracle

CLIP, SIGMA, BATCHES = 0.5, 1.0, 4
NONE, CLIPPED, NOISY = (), {"clip_norm": CLIP, "noise_multiplier": 0.0}, {"clip_norm": CLIP, "noise_multiplier": SIGMA}


@functools.cache
def start(model):
    return jax.jit(jax.vmap(model.init))(jax.random.split(jax.random.key(0), 2))


def watched(batch, dp_sgd, others=()):
    """The world, the attack, its target and what it observes of a training in batches of `batch`."""
    experiment = load(
        {
            "title": "Watched",
            "data": {"name": "digits", "limit": 200},
            "net": {"name": "mlp", "hidden": [16], "activation": "softplus"},
            "training": {"epochs": 1, "batch_size": batch},
            "population": {"models": 2, "size": 40},
            "defenses": {"it": [*([{"name": "dp_sgd", **dp_sgd}] if dp_sgd else []), *others]},
            "attacks": [{"name": "gradient_inversion", "method": "analytic"}],
        }
    )
    world = World.of(experiment, experiment.data.load(), 0)
    attack = GradientInversion(method="analytic", batch=batch, batches=BATCHES, targets=2, moment="end")
    bank = Bank(experiment, "any", 0, experiment.defenses["it"])
    params = start(world.model)
    target = Target.of(world.model, params, checkpoints=[params])
    return world, attack, target, observed.updates(attack, bank, world, target)


def difference(a, b):
    return np.concatenate([np.ravel(x - y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)])


def test_it_is_the_mean_of_clipped_gradients_and_noise():
    batch = 3
    world, attack, _, clipped = watched(batch, CLIPPED)
    rows = observed.batches(attack, world)
    x, y = world.candidates.x[rows[1]], np.eye(10, dtype=np.float32)[world.candidates.y[rows[1]]]
    first = jax.tree.map(lambda leaf: leaf[0], clipped.start)
    stacked = oracle.gradients(world.model, cross_entropy, first, Batch(jnp.asarray(x), jnp.asarray(y), np.ones(batch)))
    assert (oracle.norms(stacked) > CLIP).all()
    expected = oracle.clipped_sum(stacked, np.ones(batch), CLIP)
    found = jax.tree.map(lambda leaf: leaf[0, 1], clipped.gradients)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b / batch, atol=1e-5), found, expected)

    noise = difference(watched(batch, NOISY)[3].gradients, clipped.gradients) * batch / (SIGMA * CLIP)
    assert 1e-4 < stats.chi2.cdf(np.sum(noise**2), noise.size) < 1 - 1e-4
    assert stats.kstest(noise, "norm").pvalue > 1e-4  # of every model and batch its own


def test_clipping_alone_hides_no_record_and_noise_does():
    """A clipped gradient is shorter and tells as much: the record is a ratio of its entries."""

    def errors(dp_sgd):
        world, attack, target, updates = watched(1, dp_sgd)
        x = world.candidates.x
        knowledge = Knowledge(num_classes=10, box=(jnp.asarray(x.min()), jnp.asarray(x.max())), updates=updates)
        found = np.asarray(attack.run(target, knowledge, jax.random.key(1)).x)
        truth = x[observed.batches(attack, world).ravel()]
        return [np.sqrt(np.mean((guess - truth) ** 2)) for guess in (found, x.mean(axis=0))]

    for known in (NONE, CLIPPED):
        assert errors(known)[0] < 1e-3
    found, guessed = errors(NOISY)
    assert found > guessed


def test_a_training_in_parts_has_no_gradient_of_a_batch():
    with pytest.raises(NotApplicable, match="partition_aggregation"):
        watched(4, NONE, [{"name": "partition_aggregation", "partitions": 2}])

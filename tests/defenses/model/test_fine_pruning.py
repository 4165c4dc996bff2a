import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core import keys
from privsec.core.data import Examples
from privsec.core.errors import ConfigError
from privsec.core.target import Target
from privsec.defenses.model.fine_pruning import FinePruning, activity, least_active, pruned_layer, silenced
from privsec.defenses.model.mahalanobis import Mahalanobis
from privsec.defenses.training.ensemble import Ensemble
from privsec.nets.base import model_of
from privsec.nets.cnn import CNN
from privsec.nets.mlp import MLP
from privsec.nets.wide_resnet import WideResNet
from tests.defenses.data.poisoned import MODEL, accuracy, backdoored, success

KEY = jax.random.key(0)
TANH = model_of(MLP(hidden=(6, 5), activation="tanh"), (3,), 4)
CONVOLUTIONAL = model_of(CNN(channels=(4, 6), dense=(8,)), (8, 8, 1), 10)


@pytest.mark.parametrize(
    ("net", "shape", "name"),
    [
        (CNN(), (8, 8, 1), "conv/1"),
        (MLP(hidden=(8, 4)), (5,), "dense/1"),
        (WideResNet(depth=10, width=1), (16, 16, 3), "blocks/2/second"),
    ],
)
def test_the_last_convolution_or_the_last_hidden_layer(net, shape, name):
    assert pruned_layer(model_of(net, shape, 10)).name == name


def test_activity_is_the_mean_of_what_a_rectifier_lets_through():
    x = np.random.default_rng(0).uniform(size=(300, 8, 8, 1)).astype(np.float32)
    params, layer = CONVOLUTIONAL.init(KEY), pruned_layer(CONVOLUTIONAL)
    z = np.asarray(CONVOLUTIONAL.tapped(params, x, None)[1][layer.name].outputs)
    expected = [np.mean([max(v, 0) for v in z[..., unit].ravel()]) for unit in range(6)]
    np.testing.assert_allclose(activity(CONVOLUTIONAL, params, x, layer), expected, rtol=1e-4)
    assert least_active(np.array(expected), 1 / 3).sum() == 2


@pytest.mark.parametrize("model", [TANH, CONVOLUTIONAL, MODEL], ids=["tanh", "convolutional", "mlp"])
def test_silenced_units_stay_silent_when_the_rest_is_trained_further(model):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(80, *model.shape)).astype(np.float32)
    public = Examples(x, rng.integers(0, model.num_classes, 80).astype(np.int32))
    params, layer = model.init(KEY), pruned_layer(model)
    made = FinePruning(share=0.4, epochs=2, learning_rate=0.01).on_params(model, params, public, KEY)
    idle = least_active(activity(model, params, x, layer), 0.4)
    z = np.asarray(model.tapped(made, x, None)[1][layer.name].outputs)
    assert (z[..., idle] == 0).all() and (z[..., ~idle] != 0).any()
    pruned_only = silenced(params, layer, jnp.asarray(~idle))
    changed = jax.tree.map(lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b))), made, pruned_only)
    assert all(jax.tree.leaves(changed))
    alone = FinePruning(share=0.4, epochs=0).on_params(model, params, public, KEY)
    jax.tree.map(np.testing.assert_array_equal, alone, pruned_only)


def test_it_halves_a_backdoor_which_neither_part_of_it_does_alone_and_keeps_the_accuracy():
    both, further, pruned = (
        FinePruning(epochs=30, learning_rate=0.01, share=share) if epochs else FinePruning(epochs=0)
        for share, epochs in ((0.3, 30), (1e-9, 30), (0.3, 0))
    )
    left = []
    for seed in range(4):
        world = backdoored(0.05, seed)
        bad = world.fit(world.data.y, np.ones(1000, bool), keys.root(5))
        made = [
            Target.of(MODEL, each.on_params(MODEL, bad._params, world.public, KEY)) for each in (both, further, pruned)
        ]
        left.append([success(target, seed) for target in (bad, *made)])
        assert accuracy(made[0]) > accuracy(bad) - 0.01
    before, after, without_pruning, without_training = np.mean(left, axis=0)
    assert before > 0.95 and after < 0.5
    assert after < min(without_pruning, without_training) - 0.15


def test_it_goes_before_what_stands_round_a_network():
    for model in (Mahalanobis().on_model(MODEL), Ensemble().on_model(MODEL)):
        with pytest.raises(ConfigError, match="fine_pruning"):
            FinePruning().on_model(model)
        assert FinePruning(share=0).on_model(model) is model
    with pytest.raises(ConfigError, match="hidden layer"):
        FinePruning().on_model(model_of(MLP(hidden=()), (3,), 4))

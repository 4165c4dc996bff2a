from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from privsec.core.errors import ConfigError
from privsec.core.spec import SpecError
from privsec.nets.adapt import from_nnx
from privsec.nets.base import ACTIVATIONS, model_of, parameter_count
from privsec.nets.cnn import CNN
from privsec.nets.convolutions import max_pool, patches
from privsec.nets.layers import Dense
from privsec.nets.mlp import MLP
from privsec.nets.wide_resnet import WideResNet

CASES = {
    "mlp": (MLP(hidden=(5, 4)), (6,)),
    "softmax regression": (MLP(hidden=()), (6,)),
    "mlp of images": (MLP(hidden=(5,), activation="tanh"), (3, 3, 2)),
    "cnn": (CNN(channels=(3, 4), dense=(5,)), (9, 8, 1)),
    "cnn too small to pool twice": (CNN(channels=(3, 4, 4), dense=()), (7, 4, 2)),
    "wide_resnet": (WideResNet(depth=10, groups=4), (9, 8, 3)),
}
CLASSES = 3
every_net = pytest.mark.parametrize("case", CASES)


@functools.cache
def built(case):
    net, shape = CASES[case]
    model = model_of(net, shape, CLASSES)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, *shape)), jnp.float32)
    return model, initialized(case, 0), x


@functools.cache
def initialized(case, seed):
    return program(case, "init")(jax.random.key(seed))


@functools.cache
def program(case, function):
    net, shape = CASES[case]
    return jax.jit(getattr(model_of(net, shape, CLASSES), function))


@functools.cache
def seen(case):
    _, params, x = built(case)
    return program(case, "tapped")(params, x, None)


@every_net
def test_logits_have_a_row_a_record_and_a_column_a_class(case):
    model, params, _ = built(case)
    logits, _ = seen(case)
    assert logits.shape == (4, CLASSES) and np.isfinite(logits).all() and logits.dtype == jnp.float32
    assert (model.shape, model.num_classes) == (CASES[case][1], CLASSES)
    assert parameter_count(model) == sum(leaf.size for leaf in jax.tree.leaves(params))


@every_net
def test_initialization_follows_its_key(case):
    same, other = program(case, "init")(jax.random.key(0)), initialized(case, 1)
    jax.tree.map(np.testing.assert_array_equal, same, initialized(case, 0))
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(other), strict=True))


@every_net
def test_every_parameter_belongs_to_exactly_one_tapped_layer(case):
    model, params, _ = built(case)
    owned = [
        (*layer.path, leaf)
        for layer in model.layers
        for leaf in ({"dense": "kernel", "scale": "scale"}[layer.kind], "bias")
    ]
    paths = [tuple(step.key for step in path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    assert sorted(map(str, owned)) == sorted(map(str, paths)) and len(set(owned)) == len(owned)
    assert set(seen(case)[1]) == {layer.name for layer in model.layers}


@every_net
def test_no_record_looks_at_another(case):
    _, params, x = built(case)
    moved, _ = program(case, "tapped")(params, x.at[1].set(1e2), None)
    others = np.array([0, 2, 3])
    np.testing.assert_array_equal(moved[others], seen(case)[0][others])
    assert np.abs(moved[1] - seen(case)[0][1]).max() > 1e-3


@every_net
def test_a_pre_activation_is_its_layers_linear_map_of_its_input(case):
    model, params, _ = built(case)
    for layer in model.layers:
        own = functools.reduce(lambda tree, step: tree[step], layer.path, params)
        inputs, outputs = seen(case)[1][layer.name]
        made = inputs @ own["kernel"] if layer.kind == "dense" else inputs * own["scale"]
        np.testing.assert_allclose(made + own["bias"], outputs, atol=1e-5)


@every_net
def test_who_looks_changes_no_answer(case):
    _, params, x = built(case)
    np.testing.assert_allclose(program(case, "apply")(params, x), seen(case)[0], atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pooling_follows_the_activation_whichever_is_computed_first(activation):
    model = model_of(CNN(channels=(3, 4), dense=(), activation=activation), (9, 8, 1), CLASSES)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 9, 8, 1)), jnp.float32)
    _, taps = model.tapped(model.init(jax.random.key(0)), x, None)
    pooled = max_pool(ACTIVATIONS[activation](taps["conv/0"].outputs))
    np.testing.assert_allclose(taps["conv/1"].inputs, patches(pooled, 3), atol=1e-6)


def test_a_cnn_is_differentiated_twice_in_either_mode():
    """By x the gradient by the parameters, as gradient inversion does; smooth, so that differences tell the truth."""
    model = model_of(CNN(channels=(2,), dense=(), activation="tanh"), (5, 4, 1), CLASSES)
    params = model.init(jax.random.key(0))
    x, direction = (
        jnp.asarray(part, jnp.float32) for part in np.random.default_rng(1).standard_normal((2, 1, 5, 4, 1))
    )

    @jax.jit
    def leaked(x):
        by_params = jax.grad(lambda params: jnp.sum(jax.nn.log_softmax(model.apply(params, x))[:, 0]))(params)
        return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(by_params))

    step = 1e-2
    slope = (leaked(x + step * direction) - leaked(x - step * direction)) / (2 * step)
    np.testing.assert_allclose(jnp.vdot(jax.grad(leaked)(x), direction), slope, rtol=2e-2)
    np.testing.assert_allclose(jax.jvp(leaked, (x,), (direction,))[1], slope, rtol=2e-2)


@pytest.mark.parametrize("net", [CNN(), WideResNet()], ids=lambda net: net.name)
@pytest.mark.parametrize("shape", [(64,), (3, 3, 1), (8, 8)])
def test_records_a_net_cannot_read_are_an_error(net, shape):
    with pytest.raises(ConfigError, match=rf"net '{net.name}' reads images .* shape \[{shape[0]}.*mlp"):
        model_of(net, shape, CLASSES)


@pytest.mark.parametrize(
    "call",
    [lambda: WideResNet(depth=12), lambda: WideResNet(depth=4), lambda: MLP(hidden=(0,)), lambda: CNN(channels=())],
)
def test_impossible_architectures_are_errors(call):
    with pytest.raises(SpecError):
        call()


def test_equal_specs_are_one_model_and_compile_once():
    model = model_of(MLP(hidden=(5,)), (6,), CLASSES)
    assert model_of(MLP(hidden=[5]), (6,), CLASSES) is model
    assert model_of(MLP(hidden=(6,)), (6,), CLASSES) is not model
    assert model_of(MLP(hidden=(5,)), (7,), CLASSES) is not model


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_mlp_is_what_it_says(activation):
    model = model_of(MLP(hidden=(5,), activation=activation), (6,), CLASSES)
    params, x = (
        model.init(jax.random.key(0)),
        jnp.asarray(np.random.default_rng(0).standard_normal((4, 6)), jnp.float32),
    )
    first, last = params["dense"][0], params["dense"][1]
    hidden = ACTIVATIONS[activation](x @ first["kernel"] + first["bias"])
    np.testing.assert_allclose(model.apply(params, x), hidden @ last["kernel"] + last["bias"], atol=1e-6)


def test_an_own_module_becomes_a_model():
    class Twins(nnx.Module):
        def __init__(self, rngs):
            self.left, self.right = Dense(2, 3, rngs=rngs), Dense(2, 3, rngs=rngs)

        def __call__(self, x, tap):
            return self.left(x, tap) * self.right(x, tap)

    model = from_nnx(Twins, (2,), 3)
    assert [layer.name for layer in model.layers] == ["left", "right"]
    params = model.init(jax.random.key(0))
    x = jnp.ones((1, 2))
    expected = (x @ params["left"]["kernel"]) * (x @ params["right"]["kernel"])
    np.testing.assert_allclose(model.apply(params, x), expected, atol=1e-6)

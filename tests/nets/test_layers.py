from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from privsec.nets.convolutions import max_pool, patches, trained_convolution
from privsec.nets.layers import Conv, Dense, GroupNorm, Taps

SIZES = [(6, 6), (7, 5), (1, 1), (2, 9)]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("width", [1, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_patches_make_a_convolution(size, width, stride):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *size, 3)).astype(np.float32)
    kernel = rng.standard_normal((width, width, 3, 4)).astype(np.float32)
    expected = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    found = patches(jnp.asarray(x), width, stride) @ kernel.reshape(-1, 4)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("width", "stride"), [(1, 2), (3, 1), (4, 2)])
def test_an_accelerators_convolution_is_that_over_patches(width, stride, monkeypatch):
    layer = Conv(3, 4, width=width, stride=stride, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 7, 6, 3)), jnp.float32)
    seen = layer(x, Taps())
    np.testing.assert_allclose(layer(x, Taps(watching=False)), seen, atol=1e-5)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    np.testing.assert_allclose(layer(x, Taps()), seen, atol=1e-6)
    unwatched = Taps(watching=False)
    np.testing.assert_allclose(layer(x, unwatched), seen, atol=1e-5)
    assert not unwatched.seen


@pytest.mark.parametrize(("width", "stride"), [(1, 2), (3, 1), (4, 2), (5, 1)])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_a_training_convolves_as_over_patches_with_all_derivatives(channels, width, stride):
    rng = np.random.default_rng(0)
    shapes = (2, 7, 6, channels), (width * width * channels, 4)
    point, along = ([jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes] for _ in range(2))

    def over_patches(x, kernel):
        return patches(x, width, stride) @ kernel

    def trained(x, kernel):
        return trained_convolution(x, kernel, width, stride)

    for of in (0, 1, (0, 1)):  # what is not differentiated takes another way

        def derivatives(function, of=of):
            def bent(x, kernel):
                return jnp.sum(jnp.sin(function(x, kernel)))

            def forward(*moved):
                whole = dict(enumerate(point)) | dict(zip(np.atleast_1d(of).tolist(), moved, strict=True))
                return function(*whole.values())

            mine = [(point[i], along[i]) for i in np.atleast_1d(of)]
            gradient = jax.grad(bent, argnums=of)
            return (
                function(*point),
                jax.jvp(forward, *zip(*mine, strict=True))[1],
                gradient(*point),
                jax.jvp(gradient, tuple(point), tuple(along))[1],
                jax.vmap(gradient, in_axes=(None, 0))(point[0], jnp.stack([point[1], along[1]])),
            )

        for found, expected in zip(*map(jax.tree.leaves, map(derivatives, (trained, over_patches))), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(("width", "stride"), [(1, 2), (3, 1), (4, 2)])
@pytest.mark.parametrize("channels", [1, 6])
@pytest.mark.parametrize("size", SIZES[1:3])
def test_where_nobody_looks_it_is_the_same_with_the_gradients_of_patches(size, channels, width, stride):
    layer = Conv(channels, 4, width=width, stride=stride, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    x, along = (jnp.asarray(rng.standard_normal((2, *size, channels)), jnp.float32) for _ in range(2))
    for of in (Conv.__call__, Conv.pooled):
        value, tangent = jax.jvp(lambda x, of=of: of(layer, x, Taps()), (x,), (along,))
        found, forward = jax.jvp(lambda x, of=of: of(layer, x, Taps(watching=False)), (x,), (along,))
        np.testing.assert_allclose(of(layer, x, Taps(watching=False)), value, atol=1e-5)
        np.testing.assert_allclose(found, value, atol=1e-5)
        np.testing.assert_allclose(forward, tangent, atol=1e-5)
        seen, unseen = (
            jax.grad(lambda x, of=of, watching=watching: jnp.sum(of(layer, x, Taps(watching=watching)) ** 2))(x)
            for watching in (True, False)
        )
        np.testing.assert_allclose(unseen, seen, atol=1e-4)


@pytest.mark.parametrize("size", SIZES[:2])
def test_max_pool(size):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, *size, 3)), jnp.float32)

    def reduced(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    np.testing.assert_array_equal(max_pool(x), reduced(x))
    weight = jnp.asarray(np.random.default_rng(1).standard_normal(reduced(x).shape), jnp.float32)
    by_slices, by_window = (jax.grad(lambda x, pool=pool: (pool(x) * weight).sum())(x) for pool in (max_pool, reduced))
    np.testing.assert_array_equal(by_slices, by_window)


@pytest.mark.parametrize(("channels", "groups", "expected"), [(16, 8, 8), (6, 8, 6), (6, 4, 3), (7, 4, 1)])
def test_group_norm_normalizes_each_group_of_each_record(channels, groups, expected):
    layer = GroupNorm(channels, groups=groups, rngs=nnx.Rngs(0))
    assert layer.groups == expected
    x = 5 + 3 * np.random.default_rng(0).standard_normal((2, 8, 8, channels)).astype(np.float32)
    grouped = np.asarray(layer(jnp.asarray(x), Taps())).reshape(2, 64, expected, -1)
    np.testing.assert_allclose(grouped.mean((1, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(grouped.std((1, 3)), 1, atol=1e-4)


def test_taps_see_inputs_and_pre_activations_and_add_deltas():
    layer = Dense(3, 2, rngs=nnx.Rngs(0))
    layer.label = "only"
    x, delta = jnp.ones((4, 3)), jnp.full((4, 2), 0.5)
    plain, moved = Taps(), Taps({"only": delta})
    output = layer(x, plain)
    np.testing.assert_allclose(layer(x, moved), output + delta)
    for taps in (plain, moved):
        np.testing.assert_array_equal(taps.seen["only"].inputs, x)
        np.testing.assert_array_equal(taps.seen["only"].outputs, output)


def test_a_layer_used_twice_is_an_error():
    layer, taps = Conv(2, 2, rngs=nnx.Rngs(0)), Taps()
    layer.label = "conv"
    once = layer(jnp.ones((1, 4, 4, 2)), taps)
    with pytest.raises(ValueError, match="'conv' is used twice"):
        layer(once, taps)

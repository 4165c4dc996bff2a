from __future__ import annotations

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from privsec.core.data import Examples
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.nets.adapt import from_nnx
from privsec.nets.linen import from_linen
from privsec.ops.clip import clipped_sum
from privsec.training.gradients import cross_entropy
from privsec.training.many import train_many
from privsec.training.sampling import Poisson
from privsec.training.standard import Training
from tests.oracles import training as oracle

CLASSES, SIZE = 3, 5
TABLE, SEQUENCE, IMAGE = (6,), (7, 2), (7, 6, 2)


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(5, use_bias=False, dtype=jnp.float32)(x))
        return nn.Dense(CLASSES)(nn.RMSNorm()(nn.LayerNorm(use_scale=False)(x)))


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        assert not train
        x = nn.tanh(nn.Conv(4, (3, 2), strides=(2, 1), padding="VALID")(x))
        x = nn.tanh(nn.Conv(3, (2, 3), padding=((1, 0), (2, 2)), kernel_dilation=(1, 2), use_bias=False)(x))
        return nn.Dense(CLASSES)(x.reshape(x.shape[0], -1))


class Block(nn.Module):
    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        y = nn.Conv(self.features, (3, 3), self.stride, use_bias=False)(nn.relu(nn.GroupNorm(2)(x)))
        y = nn.Conv(self.features, (3, 3))(nn.relu(nn.LayerNorm(use_bias=False)(y)))
        if x.shape != y.shape:
            x = nn.Conv(self.features, (1, 1), self.stride, use_bias=False)(x)
        return x + y


class ResNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = Block(6, stride=2)(nn.Conv(4, (3, 3))(x))
        last = nn.Dense(CLASSES, kernel_init=nn.initializers.zeros)  # nothing below has a gradient at first
        return last(jnp.mean(nn.InstanceNorm()(nn.GroupNorm(None, group_size=3)(x)) ** 2, axis=(1, 2)))


class Sequence(nn.Module):
    """Of several positions; layers named and made in setup."""

    def setup(self):
        self.conv, self.mix, self.last = nn.Conv(4, 3, 2, padding=1), nn.Dense(4), nn.Dense(CLASSES)

    def __call__(self, x):
        return self.last(jnp.max(nn.gelu(self.mix(nn.gelu(self.conv(x)))), axis=1))


TAPPED = {
    "mlp": (MLP(), TABLE),
    "cnn": (CNN(), IMAGE),
    "resnet": (ResNet(), IMAGE),
    "sequence": (Sequence(), SEQUENCE),
    "one layer": (nn.Dense(CLASSES), TABLE),
}


class Shared(nn.Module):
    @nn.compact
    def __call__(self, x):
        twice = nn.Dense(6)
        return nn.Dense(CLASSES)(nn.tanh(twice(nn.tanh(twice(x)))))


class Own(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(CLASSES)(x * self.param("temperature", nn.initializers.ones, (6,)))


class Standardized(nn.Conv):
    def param(self, name, *args, **kwargs):
        value = super().param(name, *args, **kwargs)
        return value - value.mean() if name == "kernel" else value


class Subclass(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(CLASSES)(jnp.mean(nn.tanh(Standardized(4, (3, 3))(x)), axis=(1, 2)))


class Heads(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(CLASSES)(jnp.sum(nn.tanh(nn.DenseGeneral((2, 4))(x)), axis=-1))


class Tied(nn.Module):
    """The first layer's kernel is used a second time, past the layer."""

    @nn.compact
    def __call__(self, x):
        first = nn.Dense(6)
        hidden = nn.tanh(first(x))
        return nn.Dense(CLASSES)(hidden @ first.variables["params"]["kernel"].T)


class Rows(nn.Module):
    """Puts positions before records."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(CLASSES)(jnp.mean(nn.tanh(nn.Dense(4)(jnp.swapaxes(x, 0, 1))), axis=0))


class Flat(nn.Module):
    """Makes positions records."""

    @nn.compact
    def __call__(self, x):
        rows = nn.tanh(nn.Dense(4)(x.reshape(-1, x.shape[-1])))
        return nn.Dense(CLASSES)(jnp.mean(rows.reshape(*x.shape[:2], -1), axis=1))


class Grouped(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(CLASSES)(jnp.mean(nn.tanh(nn.Conv(4, (3, 3), feature_group_count=2)(x)), axis=(1, 2)))


class Remat(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(CLASSES)(nn.tanh(nn.remat(nn.Dense)(5)(x)))


UNTAPPED = {
    "shared": (Shared(), TABLE, "'Dense_0' is used twice"),
    "own parameter": (Own(), TABLE, "no known layer holds temperature"),
    "subclass": (Subclass(), IMAGE, "no known layer holds Standardized_0/bias, Standardized_0/kernel"),
    "heads": (Heads(), TABLE, "no known layer holds DenseGeneral_0/bias"),
    "groups": (Grouped(), IMAGE, "no known layer holds Conv_0/bias"),
    "tied": (Tied(), TABLE, "what its layers see does not make its gradient"),
    "rows": (Rows(), (3, 4), "what its layers see does not make its gradient"),
    "positions as records": (Flat(), SEQUENCE, "what its layers see does not make its gradient"),
    "remat": (Remat(), TABLE, r"a transform \(nn.remat, nn.scan\) stands round it"),
}


def batch_of(shape) -> Batch:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((SIZE, *shape)), jnp.float32)
    y = 0.9 * jax.nn.one_hot(rng.integers(0, CLASSES, SIZE), CLASSES) + 0.1 / CLASSES
    return Batch(x, y, jnp.asarray([1.0, 0.5, 0, 1, 1]))


def params_of(model):
    """Nowhere zero, so that every layer has a gradient."""
    params = jax.jit(model.init)(jax.random.key(0))
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.2 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, moved)


def assert_clips(model, apply):
    """Against one gradient a record of the module as flax evaluates it."""
    params, batch = params_of(model), batch_of(model.shape)
    np.testing.assert_allclose(*(jax.jit(of)(params, batch.x) for of in (model.apply, apply)), atol=1e-5)
    each = oracle.gradients(replace(model, apply=apply), cross_entropy, params, batch)
    norms = oracle.norms(each)
    clip = jax.jit(lambda clip_norm: clipped_sum(model, cross_entropy, params, batch, clip_norm))
    for clip_norm in (np.inf, float(np.median(norms)), 0.01):
        found, found_norms = clip(clip_norm)
        expected = oracle.clipped_sum(each, batch.weight, clip_norm)
        scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
        for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * scale)
        np.testing.assert_allclose(found_norms, norms, rtol=1e-5)


def applied(module, **arguments):
    return lambda params, x: module.apply({"params": params}, x, **arguments)


@pytest.mark.parametrize("case", TAPPED)
def test_a_module_of_known_layers_is_tapped_and_clips_like_one_gradient_a_record(case):
    module, shape = TAPPED[case]
    model = from_linen(module, shape, CLASSES)
    assert model.tapped is not None and from_linen(module, shape, CLASSES) is model
    assert_clips(model, applied(module, **({"train": False} if case == "cnn" else {})))


@pytest.mark.parametrize("case", UNTAPPED)
def test_any_other_says_so_and_clips_alike(case):
    module, shape, reason = UNTAPPED[case]
    with pytest.warns(UserWarning, match=f"{type(module).__name__} has no taps: .*{reason}"):
        model = from_linen(module, shape, CLASSES)
    assert model.tapped is None and model.layers == ()
    assert_clips(model, applied(module))


class Normalized(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        return nn.Dense(CLASSES)(nn.BatchNorm(use_running_average=not train)(nn.Dense(4)(x)))


class Mixing(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(CLASSES)(x - jnp.mean(x, axis=0))


class Dropping(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic: bool):
        return nn.Dense(CLASSES)(nn.Dropout(0.5)(x, deterministic=deterministic))


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (Normalized(), {}, "Normalized keeps batch_stats beside its parameters.*GroupNorm"),
        (Mixing(), {}, "logits of Mixing change with the other records"),
        (nn.LayerNorm(reduction_axes=0), {"shape": (CLASSES,)}, "logits of LayerNorm change with the other records"),
        (nn.Dense(4), {}, r"Dense returns \(3, 4\) for 3 records, not \(3, 3\)"),
        (Dropping(), {"arguments": {}}, "Dropping cannot be called .*pass `arguments`"),
        (Dropping(), {"arguments": {"deterministic": False}}, "what draws random numbers must be off"),
    ],
)
def test_what_is_no_model_is_refused(module, options, message):
    with pytest.raises(ConfigError, match=message):
        from_linen(module, **{"shape": TABLE, "num_classes": CLASSES, **options})


def test_dropout_is_off_and_that_is_said():
    with pytest.warns(UserWarning, match="Dropping has dropout, which is off"):
        model = from_linen(Dropping(), TABLE, CLASSES)
    assert model.tapped is not None
    assert_clips(model, applied(Dropping(), deterministic=True))


class Plain(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.conv, self.norm = nnx.Conv(2, 4, (3, 3), rngs=rngs), nnx.GroupNorm(4, 2, rngs=rngs)
        self.last = nnx.Linear(4, CLASSES, rngs=rngs)

    def __call__(self, x):
        return self.last(jnp.mean(nnx.relu(self.norm(self.conv(x))), axis=(1, 2)))


class Statistics(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.norm, self.last = nnx.BatchNorm(6, rngs=rngs), nnx.Linear(6, CLASSES, rngs=rngs)

    def __call__(self, x):
        return self.last(self.norm(x))


def test_a_plain_nnx_module_clips_alike_without_taps():
    with pytest.warns(UserWarning, match="Plain has no taps: only layers of privsec.nets.layers"):
        model = from_nnx(Plain, IMAGE, CLASSES)
    assert model.tapped is None
    module = Plain(nnx.Rngs(0))

    def apply(params, x):
        return nnx.merge(nnx.split(module)[0], params)(x)

    assert_clips(model, apply)
    with pytest.raises(ConfigError, match="Statistics keeps BatchStat"):
        from_nnx(Statistics, TABLE, CLASSES)


RECORDS, MODELS = 24, 3
RNG = np.random.default_rng(0)
Y = np.arange(2 * RECORDS) % CLASSES
DATA = Examples((RNG.standard_normal((2 * RECORDS, 6)) + 2 * np.eye(6)[Y]).astype(np.float32), Y.astype(np.int32))
INCLUDE = np.stack([RNG.permutation(2 * RECORDS) < RECORDS for _ in range(MODELS)])


@functools.cache
def population(tapped: bool, placement: str):
    model = from_linen(MLP(), TABLE, CLASSES)
    model = model if tapped else replace(model, tapped=None, layers=())
    plain = Training(batch_size=8, epochs=40, learning_rate=0.05).recipe(RECORDS)
    recipe = DPSGD(noise_multiplier=0.3, clip_norm=1.0).on_recipe(plain)
    assert isinstance(recipe.sampling, Poisson)
    found = train_many(model, recipe, DATA, INCLUDE, jax.random.key(0), placement=placement)  # type: ignore[arg-type]
    return {m: trained.params for m, trained in found}


def test_a_population_trains_with_dp_sgd_under_poisson_sampling():
    together = population(True, "threads")
    assert sorted(together) == list(range(MODELS))
    logits = [MLP().apply({"params": together[m]}, DATA.x) for m in range(MODELS)]
    assert np.mean([np.argmax(z, axis=1) == DATA.y for z in logits]) > 0.7
    for other in (population(False, "threads"), population(True, "vmap")):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), together, other)

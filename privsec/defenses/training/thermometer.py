"""Inputs encoded as thermometers, and a network trained to read them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float
from pydantic import Field

from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Layer, Model, Params, Recipe, Tap
from privsec.defenses.training.ensemble import MembersGradient

READOUT = "thermometer"
"""Name of the layer that reads the code."""


class Thermometer(TrainingDefense):
    """Encodes every feature as a thermometer - which of so many thresholds it exceeds - and trains the network on that.

    The code is a step function of the input, so its gradient is zero: an exhibit of gradient masking. The adapted model
    replaces each step by a ramp on the way back.

    In the paper the first layer has weights of its own for every bit of every feature's code. Here a network of any
    kind is kept as it is, and one trained read-out of the code, the same for all features, stands before it: the first
    layer's weight for a bit is the product of the feature's weight and the bit's. It starts as plain rounding.

    References: Buckman et al. 2018, ICLR; Athalye et al. 2018, arXiv 1802.00420 (how it falls).
    """

    name: Literal["thermometer"] = "thermometer"
    paper = "Buckman et al. 2018, ICLR"
    levels: int | None = Field(default=16, ge=2)
    """Values between 0 and 1, both included, that are told apart; null encodes nothing."""

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.levels is not None and (isinstance(recipe.gradient, MembersGradient) or recipe.partitions > 1):
            raise ConfigError(
                "thermometer after ensemble or partition_aggregation: each member reads the code by weights of its "
                "own. Write the thermometer before it."
            )
        return recipe

    def on_model(self, model: Model) -> Model:
        return model if self.levels is None else _encoded(model, self.levels)


def code(x: Float[jax.Array, " *shape"], levels: int) -> Float[jax.Array, " *shape {levels}-1"]:
    """1 where a feature exceeds threshold (k - 1/2) / (levels - 1), k = 1..levels - 1, else 0; its gradient is zero.

    >>> code(jnp.array([0.1, 0.4, 0.9]), 3).astype(int).tolist()
    [[0, 0], [1, 0], [1, 1]]
    """
    thresholds = (jnp.arange(levels - 1) + 0.5) / (levels - 1)
    return (x[..., None] > thresholds).astype(x.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def ramped_code(x: Float[jax.Array, " *shape"], levels: int) -> Float[jax.Array, " *shape {levels}-1"]:
    """`code` with the derivative of ramps: each bit rises evenly over one level, round its threshold.

    A read-out of it then has the slope of the straight lines between what it reads at neighboring levels. Below 0 and
    above 1 the first and the last go on.
    """
    return code(x, levels)


@ramped_code.defjvp
def _ramps(levels: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (x,), (tangent,) = primals, tangents
    nearest = jnp.clip(jnp.floor(x * (levels - 1)), 0, levels - 2).astype(jnp.int32)
    slope = jax.nn.one_hot(nearest, levels - 1, dtype=x.dtype) * (levels - 1)
    return code(x, levels), slope * tangent[..., None]


@functools.lru_cache(maxsize=64)
def _encoded(model: Model, levels: int) -> Model:
    def reading(inner: Model, encode) -> Model:
        def tapped(
            params: Params, x: jax.Array, deltas: Mapping[str, jax.Array] | None = None
        ) -> tuple[jax.Array, dict[str, Tap]]:
            assert inner.tapped is not None
            bits = encode(x, levels)
            read = bits @ params[READOUT]["kernel"] + params[READOUT]["bias"]
            read = read if deltas is None else read + deltas[READOUT]
            logits, taps = inner.tapped(params["inner"], read[..., 0], deltas)
            return logits, {READOUT: Tap(bits, read), **taps}

        def apply(params: Params, x: jax.Array) -> jax.Array:
            read = encode(x, levels) @ params[READOUT]["kernel"] + params[READOUT]["bias"]
            return inner.apply(params["inner"], read[..., 0])

        readout = Layer(READOUT, "dense", (READOUT,))
        below = tuple(layer._replace(path=("inner", *layer.path)) for layer in inner.layers)
        open_layers = inner.tapped is not None
        return replace(
            inner,
            init=init,
            apply=apply,
            tapped=tapped if open_layers else None,
            layers=(readout, *below) if open_layers else (),
            adapted=None,
        )

    def init(key: jax.Array) -> Params:
        kernel = jnp.full((levels - 1, 1), 1 / (levels - 1))
        return {"inner": model.init(key), READOUT: {"kernel": kernel, "bias": jnp.zeros(1)}}

    return replace(reading(model, code), adapted=reading(model.adapted or model, ramped_code))

"""The multilayer perceptron."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import jax
from flax import nnx
from pydantic import Field, PositiveInt

from privsec.nets.base import ACTIVATIONS, Activation, Net
from privsec.nets.layers import Dense, Taps


class MLP(Net):
    """Fully connected layers over the flattened record; `hidden: []` is softmax regression."""

    name: Literal["mlp"] = "mlp"
    hidden: tuple[PositiveInt, ...] = Field(default=(128,))
    """Width of each hidden layer."""
    activation: Activation = "relu"
    """Nonlinearity between the layers."""

    def module(self, shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs) -> nnx.Module:
        return _MLP((math.prod(shape), *self.hidden, num_classes), self.activation, rngs)


class _MLP(nnx.Module):
    def __init__(self, widths: tuple[int, ...], activation: str, rngs: nnx.Rngs) -> None:
        self.activation = activation
        self.dense = nnx.List([Dense(i, o, rngs=rngs) for i, o in itertools.pairwise(widths)])

    def __call__(self, x: jax.Array, tap: Taps) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        *hidden, last = self.dense
        for layer in hidden:
            x = ACTIVATIONS[self.activation](layer(x, tap))
        return last(x, tap)

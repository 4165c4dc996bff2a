"""A small convolutional network."""

from __future__ import annotations

import itertools
from typing import Literal

import jax
from flax import nnx
from pydantic import Field, PositiveInt

from privsec.nets.base import ACTIVATIONS, Activation, Net
from privsec.nets.convolutions import max_pool
from privsec.nets.layers import Conv, Dense, Taps

RISING = {"relu", "tanh", "softplus"}
"""Activations that commute with a maximum: after pooling, a quarter of the values is left to them."""


class CNN(Net):
    """3 x 3 convolutions, each followed by 2 x 2 max-pooling, then fully connected layers."""

    name: Literal["cnn"] = "cnn"
    images = True
    smallest = 4
    channels: tuple[PositiveInt, ...] = Field(default=(16, 32), min_length=1)
    """Channels of each convolution. Pooling halves the image after each one, down to 2 x 2 pixels."""
    dense: tuple[PositiveInt, ...] = Field(default=(64,))
    """Width of each fully connected layer before the last."""
    activation: Activation = "relu"
    """Nonlinearity between the layers."""

    def module(self, shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs) -> nnx.Module:
        return _CNN(self, shape, num_classes, rngs)


class _CNN(nnx.Module):
    def __init__(self, net: CNN, shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs) -> None:
        self.activation = net.activation
        rows, columns, inputs = shape
        convolutions = []
        for outputs in net.channels:
            convolutions.append(Conv(inputs, outputs, rngs=rngs))
            rows, columns, inputs = *_pooled(rows, columns), outputs
        self.conv = nnx.List(convolutions)
        widths = (rows * columns * inputs, *net.dense, num_classes)
        self.dense = nnx.List([Dense(i, o, rngs=rngs) for i, o in itertools.pairwise(widths)])

    def __call__(self, x: jax.Array, tap: Taps) -> jax.Array:
        activation = ACTIVATIONS[self.activation]
        for layer in self.conv:
            pools = _pooled(*x.shape[1:3]) != x.shape[1:3]
            if pools and self.activation in RISING:
                x = activation(layer.pooled(x, tap))
            else:
                x = activation(layer(x, tap))
                x = max_pool(x) if pools else x
        x = x.reshape(x.shape[0], -1)
        *hidden, last = self.dense
        for layer in hidden:
            x = activation(layer(x, tap))
        return last(x, tap)


def _pooled(rows: int, columns: int) -> tuple[int, int]:
    """The size after pooling; images of fewer than 4 pixels a side are left as they are."""
    return (rows // 2, columns // 2) if min(rows, columns) >= 4 else (rows, columns)

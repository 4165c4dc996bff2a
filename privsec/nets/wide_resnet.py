"""The wide residual network with group normalization."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import Field, PositiveInt, field_validator

from privsec.nets.base import Net
from privsec.nets.layers import Conv, Dense, GroupNorm, Taps


class WideResNet(Net):
    """WRN-depth-width with GroupNorm in place of BatchNorm, so that one record's gradient is its own.

    References: Zagoruyko & Komodakis 2016, arXiv 1605.07146; group normalization under DP: De et al. 2022, arXiv
    2204.13650.
    """

    name: Literal["wide_resnet"] = "wide_resnet"
    images = True
    smallest = 8
    depth: int = Field(default=16, ge=10)
    """Number of layers, 6 n + 4: 10, 16, 22, 28, ..."""
    width: PositiveInt = 1
    """Factor on the 16, 32, 64 channels of the three stages."""
    groups: PositiveInt = 8
    """Groups of each normalization (the largest divisor of the channels that is not above it)."""

    @field_validator("depth")
    @classmethod
    def _six_n_plus_four(cls, depth: int) -> int:
        if (depth - 4) % 6:
            raise ValueError("the depth of a wide residual network is 6 n + 4: 10, 16, 22, 28, ...")
        return depth

    def module(self, shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs) -> nnx.Module:
        return _WideResNet(self, shape[-1], num_classes, rngs)


class _WideResNet(nnx.Module):
    def __init__(self, net: WideResNet, inputs: int, num_classes: int, rngs: nnx.Rngs) -> None:
        self.stem = Conv(inputs, 16, rngs=rngs)
        blocks, channels = [], 16
        for stage in range(3):
            for position in range((net.depth - 4) // 6):
                outputs = 16 * 2**stage * net.width
                stride = 2 if stage and not position else 1
                blocks.append(_Block(channels, outputs, stride, net.groups, rngs))
                channels = outputs
        self.blocks = nnx.List(blocks)
        self.norm = GroupNorm(channels, groups=net.groups, rngs=rngs)
        self.head = Dense(channels, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array, tap: Taps) -> jax.Array:
        x = self.stem(x, tap)
        for block in self.blocks:
            x = block(x, tap)
        return self.head(jnp.mean(jax.nn.relu(self.norm(x, tap)), axis=(1, 2)), tap)


class _Block(nnx.Module):
    """(norm, relu, 3 x 3 convolution) twice, added to the input or, where shapes change, to its 1 x 1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int, rngs: nnx.Rngs) -> None:
        self.first_norm = GroupNorm(inputs, groups=groups, rngs=rngs)
        self.first = Conv(inputs, outputs, stride=stride, rngs=rngs)
        self.second_norm = GroupNorm(outputs, groups=groups, rngs=rngs)
        self.second = Conv(outputs, outputs, rngs=rngs)
        changes = inputs != outputs or stride != 1
        self.shortcut = Conv(inputs, outputs, width=1, stride=stride, rngs=rngs) if changes else None

    def __call__(self, x: jax.Array, tap: Taps) -> jax.Array:
        h = jax.nn.relu(self.first_norm(x, tap))
        skipped = x if self.shortcut is None else self.shortcut(h, tap)
        h = jax.nn.relu(self.second_norm(self.first(h, tap), tap))
        return skipped + self.second(h, tap)

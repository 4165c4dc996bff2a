"""A Net is the Spec of an architecture; `model_of` turns it into functions, once per Spec and shape."""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

import jax

from privsec.core.errors import ConfigError
from privsec.core.recipe import Model
from privsec.core.spec import Spec

if TYPE_CHECKING:
    from flax import nnx

Activation = Literal["relu", "tanh", "gelu", "softplus"]
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "tanh": jax.numpy.tanh,
    "gelu": jax.nn.gelu,
    "softplus": jax.nn.softplus,
}


class Net(Spec):
    """Base of the built-in architectures."""

    images: ClassVar[bool] = False
    """Whether records must be images [H, W, C]."""
    smallest: ClassVar[int] = 1
    """Smallest height and width an image may have."""

    @abc.abstractmethod
    def module(self, shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs) -> nnx.Module:
        """The flax.nnx module: called with (x [B, ...], tap) it returns logits [B, C]."""

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises ConfigError where this architecture cannot read records of `shape` (without the batch axis)."""
        if self.images and (len(shape) != 3 or min(shape[:2]) < self.smallest):
            name, side = self.name, self.smallest  # type: ignore[attr-defined]
            raise ConfigError(
                f"net {name!r} reads images [height, width, channels] of at least {side} x {side} pixels, and these "
                f"records have shape {list(shape)}. Use {{name: mlp}} for tables."
            )


@functools.lru_cache(maxsize=64)
def model_of(net: Net, shape: tuple[int, ...], num_classes: int) -> Model:
    """The Model of a Net for records of `shape`; the same object for equal arguments, so that it is compiled once.

    Args:
        net: the architecture.
        shape: shape of one record.
        num_classes: C.

    Raises:
        ConfigError: the architecture cannot read such records.

    >>> from privsec.nets.mlp import MLP
    >>> model_of(MLP(hidden=(8,)), (4,), 2) is model_of(MLP(hidden=[8]), (4,), 2)
    True
    """
    from privsec.nets.adapt import from_nnx

    net.check(shape)
    return from_nnx(lambda rngs: net.module(shape, num_classes, rngs), shape, num_classes)


def parameter_count(model: Model) -> int:
    """How many numbers the model's parameters hold; nothing is computed."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))

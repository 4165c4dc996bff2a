"""From other ways of writing a network to a Model; those of flax.linen have a file of their own."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from privsec.core.errors import ConfigError
from privsec.core.recipe import Layer, Model, Params, Tap
from privsec.nets.layers import Tapped, Taps

EVALUATING = {
    "train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
    "use_running_average": True,
}
"""What arguments of a module's call that are known by these names are given."""


def from_nnx(factory: Callable[[nnx.Rngs], nnx.Module], shape: tuple[int, ...], num_classes: int) -> Model:
    """The Model of a flax.nnx module, which returns logits.

    A module built from `privsec.nets.layers` is called with (x, tap), and DP-SGD clips by what the taps see. Any other
    is called with x, in evaluation mode, and has no taps: clipping is then by per-example gradients, equal and slower,
    which a warning says.

    Args:
        factory: makes the module from `nnx.Rngs`; called once per initialization.
        shape: shape of one record.
        num_classes: C.

    Raises:
        ConfigError: the module keeps state beside its parameters, as batch normalization does.
    """

    def build(key: jax.Array) -> nnx.Module:
        module = factory(nnx.Rngs(key))
        for path, part in nnx.iter_modules(module):
            if isinstance(part, Tapped):
                part.label = "/".join(map(str, path))
        return module

    abstract = nnx.eval_shape(lambda: build(jax.random.key(0)))
    if not any(isinstance(part, Tapped) for _, part in nnx.iter_modules(abstract)):
        return _plain(factory, abstract, shape, num_classes)
    graph, _ = nnx.split(abstract)
    layers = tuple(
        Layer(part.label, part.kind, path)  # type: ignore[arg-type]
        for path, part in nnx.iter_modules(abstract)
        if isinstance(part, Tapped)
    )

    def init(key: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.state(build(key), nnx.Param))

    def tapped(
        params: Params, x: jax.Array, deltas: Mapping[str, jax.Array] | None = None
    ) -> tuple[jax.Array, dict[str, Tap]]:
        taps = Taps(deltas)
        logits = nnx.merge(graph, params)(jnp.asarray(x), taps)
        return logits, taps.seen

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return nnx.merge(graph, params)(jnp.asarray(x), Taps(watching=False))

    return Model(init=init, apply=apply, num_classes=num_classes, shape=shape, tapped=tapped, layers=layers)


def _plain(
    factory: Callable[[nnx.Rngs], nnx.Module], abstract: nnx.Module, shape: tuple[int, ...], num_classes: int
) -> Model:
    """The Model of a module whose layers are not ours."""
    name = type(abstract).__name__
    call = evaluation(abstract)
    if any(isinstance(part, nnx.Dropout) and part.rate > 0 for _, part in nnx.iter_modules(abstract)):
        without_dropout(name)
    abstract.eval()
    graph, _, _, kept = nnx.split(abstract, nnx.Param, nnx.RngState, ...)
    refuse_state(name, {type(leaf).__name__ for _, leaf in nnx.to_flat_state(kept)})
    without_taps(name, "only layers of privsec.nets.layers are tapped in a flax.nnx module")

    def init(key: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.state(factory(nnx.Rngs(key)), nnx.Param))

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return nnx.merge(graph, params)(jnp.asarray(x), **call)

    return Model(init=init, apply=apply, num_classes=num_classes, shape=shape)


def evaluation(module: Any) -> dict[str, bool]:
    """The arguments by which a module's call is told that it is evaluated."""
    known = inspect.signature(type(module).__call__).parameters
    return {name: value for name, value in EVALUATING.items() if name in known}


def refuse_state(name: str, kept: Iterable[str]) -> None:
    """Raises ConfigError where a module keeps anything beside its parameters."""
    if kept := sorted(kept):
        raise ConfigError(
            f"{name} keeps {', '.join(kept)} beside its parameters. A Model keeps parameters alone, and batch "
            "statistics mix records, so per-example gradients mean nothing: normalize by GroupNorm or LayerNorm. To "
            "attack a model that is trained already, use Target.from_flax."
        )


def without_taps(name: str, reason: str) -> None:
    """Warns that a Model has no taps."""
    warnings.warn(
        f"{name} has no taps: {reason}. DP-SGD clips it by per-example gradients, which are equal and slower; what "
        "looks into layers does not apply.",
        stacklevel=4,
    )


def without_dropout(name: str) -> None:
    """Warns that a Model draws nothing."""
    warnings.warn(f"{name} has dropout, which is off in a Model, in training too: a Model draws nothing.", stacklevel=4)

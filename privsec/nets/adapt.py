"""From other ways of writing a network to a Model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from privsec.core.recipe import Layer, Model, Params, Tap
from privsec.nets.layers import Tapped, Taps


def from_nnx(factory: Callable[[nnx.Rngs], nnx.Module], shape: tuple[int, ...], num_classes: int) -> Model:
    """The Model of a flax.nnx module built from `privsec.nets.layers`: called with (x, tap), it returns logits.

    Args:
        factory: makes the module from `nnx.Rngs`; called once per initialization.
        shape: shape of one record.
        num_classes: C.
    """

    def build(key: jax.Array) -> nnx.Module:
        module = factory(nnx.Rngs(key))
        for path, part in nnx.iter_modules(module):
            if isinstance(part, Tapped):
                part.label = "/".join(map(str, path))
        return module

    abstract = nnx.eval_shape(lambda: build(jax.random.key(0)))
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

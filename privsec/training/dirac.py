"""Gradient (Dirac) canaries: gradients along directions of their own, carried through a training's real path.

The model gets two parameters a canary that no ordinary record moves, and each canary is a record whose loss is linear
in its own two. So the trainer's own sampling, clipping and noise act on it, whatever they are - nothing of them is
repeated here - and the gradients of all other records, hence the trained network, stay what they would be without it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from privsec.core.data import Examples
from privsec.core.errors import ConfigError
from privsec.core.recipe import Layer, Loss, Model, Params, Recipe, Tap

STRETCH = 10.0
"""A canary's gradient before clipping, in units of the clip norm: clipping must bring it down to one."""
NET, CANARY = "net", "canary"


class Extended(NamedTuple):
    """A training of N records that also sees m gradient canaries, as rows N to N + m - 1 of `data`."""

    model: Model
    recipe: Recipe
    data: Examples


def with_canaries(model: Model, recipe: Recipe, data: Examples, count: int) -> Extended:
    """The same training with `count` gradient canaries behind the records.

    Args:
        model: the architecture.
        recipe: how it is trained. The norm of the canaries' gradients is `STRETCH` times its rate `clip_norm` (times 1
            where it has none).
        data: the N ordinary records.
        count: m.

    Returns:
        Extended: its params are `{"net": the model's own, "canary": {"scale": [m], "bias": [m]}}`.

    Raises:
        ConfigError: the training mixes records.

    References: Nasr et al. 2023, arXiv 2302.07956 (Dirac canaries); Steinke et al. 2023, arXiv 2305.08846.
    """
    if any(getattr(transform, "mixes_records", False) for transform in recipe.transforms):
        raise ConfigError("a defense mixes records (mixup), which gradient canaries are not: plant another kind")
    size = STRETCH * recipe.rates.get("clip_norm", 1.0)
    # The network sees a real record in a canary's place: zeros may have no finite gradient, and zero times NaN is NaN.
    first = as_records(data.take(np.zeros(count, int)))
    first.x[:, -1] = np.arange(count)
    ordinary = as_records(data)
    everything = Examples(np.concatenate([ordinary.x, first.x]), np.concatenate([ordinary.y, first.y]))
    return Extended(_extended(model, count), replace(recipe, loss=_DiracLoss(recipe.loss, size)), everything)


def as_records(data: Examples) -> Examples:
    """Ordinary records as the extended model takes them: flat, with the number of no canary behind."""
    x = np.asarray(data.x, np.float32).reshape(data.size, -1)
    return Examples(np.pad(x, ((0, 0), (0, 1)), constant_values=-1), np.asarray(data.y))


def coordinates(gradient: Params) -> Float[jax.Array, " m"]:
    """What a gradient of the extended model has along each canary's unit direction."""
    return (gradient[CANARY]["scale"] + gradient[CANARY]["bias"]) / np.sqrt(2)


@dataclass(frozen=True)
class _DiracLoss:
    """`loss` of the network's logits for records; for canaries, size / sqrt(2) times the sum of their parameters."""

    loss: Loss
    size: float

    def __call__(self, logits: jax.Array, y: jax.Array) -> jax.Array:
        """[B], from [B, C + 2]: the network's logits, the canary's sum, and whether it is one."""
        own, of_canary, is_canary = logits[:, :-2], logits[:, -2], logits[:, -1]
        return jnp.where(is_canary > 0, self.size / np.sqrt(2) * of_canary, self.loss(own, y))


@functools.lru_cache(maxsize=16)
def _extended(model: Model, count: int) -> Model:
    """The model with the canaries' parameters beside its own, and their sum and mark behind its logits."""
    layer = Layer(CANARY, "scale", (CANARY,))

    def parts(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return x[:, :-1].reshape(-1, *model.shape), jax.nn.one_hot(x[:, -1].astype(jnp.int32), count)

    def joined(logits: jax.Array, which: jax.Array, z: jax.Array) -> jax.Array:
        sums = jnp.sum(which * z, axis=1, keepdims=True)
        return jnp.concatenate([logits, sums, jnp.sum(which, axis=1, keepdims=True)], axis=1)

    def init(key: jax.Array) -> Params:
        return {NET: model.init(key), CANARY: {"scale": jnp.zeros(count), "bias": jnp.zeros(count)}}

    def tapped(
        params: Params, x: jax.Array, deltas: Mapping[str, jax.Array] | None
    ) -> tuple[jax.Array, dict[str, Tap]]:
        own, which = parts(x)
        logits, taps = model.tapped(params[NET], own, deltas)  # type: ignore[misc]
        z = which * params[CANARY]["scale"] + params[CANARY]["bias"]
        z = z if deltas is None else z + deltas[CANARY]
        return joined(logits, which, z), {**taps, CANARY: Tap(which, z)}

    def apply(params: Params, x: jax.Array) -> jax.Array:
        own, which = parts(x)
        z = which * params[CANARY]["scale"] + params[CANARY]["bias"]
        return joined(model.apply(params[NET], own), which, z)

    below = tuple(layer._replace(path=(NET, *layer.path)) for layer in model.layers)
    return Model(
        init=init,
        apply=apply,
        num_classes=model.num_classes,
        shape=(int(np.prod(model.shape)) + 1,),
        tapped=tapped if model.tapped is not None else None,
        layers=(*below, layer),
    )

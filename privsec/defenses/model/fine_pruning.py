"""Units that clean records leave idle go, and the rest is trained further on clean records.

References: Liu, Dolan-Gavitt & Garg 2018, "Fine-pruning: defending against backdooring attacks on deep neural
networks", arXiv 1805.12185.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from pydantic import Field

from privsec.core import keys
from privsec.core.data import Examples
from privsec.core.defense import ModelDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch, Layer, Loss, Model, Params, Rates
from privsec.training import loop
from privsec.training.gradients import mean_gradient
from privsec.training.standard import Training

CHUNK = 256
"""Public records looked at in one call."""


class FinePruning(ModelDefense):
    """Silences the units that are least active on the defender's records, and trains the others further on these.

    A backdoor is kept where clean records do not go. Pruned are the channels of the last convolution, or the units of
    the last hidden layer of a net without one; what is left is fine-tuned with Adam. An attacker who foresees it plants
    the backdoor in units that are needed: then it is the further training that has to undo it.

    References: Liu et al. 2018, arXiv 1805.12185.
    """

    name: Literal["fine_pruning"] = "fine_pruning"
    paper = "Liu, Dolan-Gavitt & Garg 2018, arXiv 1805.12185"

    share: float = Field(default=0.3, ge=0, lt=1)
    """Which share of the layer's units goes (rounded to whole units); 0 for no defense."""
    epochs: int = Field(default=10, ge=0)
    """Passes over the defender's records afterwards; 0 for pruning alone."""
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    """Step size of these."""
    batch_size: int = Field(default=50, ge=1)
    """Records of a step of these, or all there are where that is fewer."""

    def on_model(self, model: Model) -> Model:
        if self.share:
            bare_network(model, "fine_pruning")
            pruned_layer(model)
        return model

    def on_params(self, model: Model, params: Params, public: Examples, key: jax.Array) -> Params:
        if self.share == 0:
            return params
        layer = pruned_layer(model)
        idle = least_active(activity(model, params, np.asarray(public.x), layer), self.share)
        params = silenced(params, layer, jnp.asarray(~idle))
        if not self.epochs:
            return params
        batch_size = min(self.batch_size, public.size)
        training = Training(learning_rate=self.learning_rate, batch_size=batch_size, epochs=self.epochs)
        recipe = replace(training.recipe(public.size), gradient=Unsilenced(layer))
        recipe = recipe.with_rates(alive=(~idle).astype(np.float32))  # type: ignore[arg-type]
        return loop.train(model, recipe, public, np.ones(public.size, bool), key, start=params).params


def bare_network(model: Model, name: str) -> None:
    """Raises ConfigError unless the model is a network in JAX without detectors, noise or several members."""
    if model.rejects or model.draw is not None or model.meter is not None or model.tapped is None:
        raise ConfigError(
            f"{name} looks into the network and trains it further, and another defense of the model stands round it, "
            f"or it does not show its layers. Write {name} before detectors and noise, and not with an ensemble."
        )


@functools.lru_cache(maxsize=64)
def pruned_layer(model: Model) -> Layer:
    """The last convolution; the last hidden layer of a network without one.

    Raises:
        ConfigError: there is no hidden layer.
    """
    shapes = tapped_shapes(model)
    hidden = [name for name, shape in shapes.items() if shape != (1, model.num_classes)]
    convolutions = [name for name in hidden if len(shapes[name]) == 4]
    if not hidden:
        raise ConfigError("fine_pruning prunes hidden units, and this net has none: give it a hidden layer.")
    return next(layer for layer in model.layers if layer.name == (convolutions or hidden)[-1])


def tapped_shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """The shape of what each dense layer makes of one record, in the order in which a record goes through them."""
    shapes: dict[str, tuple[int, ...]] = {}
    dense = {layer.name for layer in model.layers if layer.kind == "dense"}

    def look(params: Params, x: jax.Array) -> jax.Array:
        assert model.tapped is not None
        logits, taps = model.tapped(params, x, None)
        shapes.update({name: tap.outputs.shape for name, tap in taps.items() if name in dense})
        return logits

    record = jax.ShapeDtypeStruct((1, *model.shape), jnp.float32)
    jax.eval_shape(look, jax.eval_shape(model.init, keys.root(0)), record)
    return shapes


def activity(model: Model, params: Params, x: Float[np.ndarray, " N *features"], layer: Layer) -> np.ndarray:
    """The mean over records and positions of each unit's rectified pre-activation, float64 [U]."""
    total = 0.0
    for start in range(0, len(x), CHUNK):
        rows = np.arange(start, start + CHUNK)
        weight = (rows < len(x)).astype(np.float32)  # one shape, also for the last
        total = total + np.asarray(_active(model, layer, params, x[np.minimum(rows, len(x) - 1)], weight), np.float64)
    return np.asarray(total) / len(x)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _active(model: Model, layer: Layer, params: Params, x: jax.Array, weight: jax.Array) -> jax.Array:
    assert model.tapped is not None
    z = model.tapped(params, x, None)[1][layer.name].outputs
    each = jnp.mean(jax.nn.relu(z).reshape(len(x), -1, z.shape[-1]), axis=1)
    return weight @ each


def least_active(activity: Float[np.ndarray, " U"], share: float) -> np.ndarray:
    """bool [U]: the `share` of the units, rounded, that are least active; of equal ones the first.

    >>> least_active(np.array([0.5, 0.0, 2.0, 0.1]), 0.5).tolist()
    [False, True, False, True]
    """
    idle = np.zeros(len(activity), bool)
    idle[np.argsort(activity, kind="stable")[: round(share * len(activity))]] = True
    return idle


def silenced(params: Params, layer: Layer, alive: jax.Array) -> Params:
    """The parameters (or a gradient) with nothing on the way into the units that are not `alive`.

    Such a unit's pre-activation is zero whatever the record, so it tells nothing.
    """
    *path, last = layer.path

    def at(node: Params, steps: list) -> Params:
        if not steps:
            return {**node, last: {name: leaf * alive for name, leaf in node[last].items()}}
        return {**node, steps[0]: at(node[steps[0]], steps[1:])}

    return at(params, list(path))


@dataclass(frozen=True)
class Unsilenced:
    """The mean gradient, without what would wake silenced units. Rates: `alive` [U], 1 for a unit that is left."""

    layer: Layer

    def __call__(self, model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
        """The gradient, shaped like `params`."""
        return silenced(mean_gradient(model, loss, params, batch, rates, key), self.layer, jnp.asarray(rates["alive"]))

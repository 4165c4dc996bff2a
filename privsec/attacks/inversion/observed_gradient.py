"""What a gradient says by itself of its batch: the labels, and the record where the first layer is dense.

References:
    Phong et al. 2018, "Privacy-preserving deep learning via additively homomorphic encryption", IEEE TIFS 13.
    Zhao, Mopuri & Bilen 2020, "iDLG: improved deep leakage from gradients", arXiv 2001.02610.
    Geng et al. 2021, "Towards general deep leakage in federated learning", arXiv 2110.09074.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from privsec.core.data import Array
from privsec.core.errors import NotApplicable
from privsec.core.recipe import Layer, Model, Params
from privsec.training.gradients import cross_entropy


def gradient_at(
    model: Model, params: Params, x: Float[jax.Array, " B *features"], y: Float[jax.Array, "B C"]
) -> Params:
    """The gradient of the mean cross-entropy at a batch with soft labels."""
    return jax.grad(lambda at: jnp.mean(cross_entropy(model.apply(at, x), y)))(params)


def cosine(a: Params, b: Params) -> Float[jax.Array, ""]:
    """The cosine between two gradients, all their numbers in one vector; 0 where one of them is zero."""
    size = jnp.sqrt(_inner(a, a) * _inner(b, b))
    return jnp.where(size > 0, _inner(a, b) / jnp.where(size > 0, size, 1.0), 0.0)


def distance(a: Params, b: Params) -> Float[jax.Array, ""]:
    """The squared distance of two gradients in units of the second's square."""
    difference = jax.tree.map(jnp.subtract, a, b)
    return _inner(difference, difference) / jnp.maximum(_inner(b, b), jnp.finfo(jnp.float32).tiny)


def _inner(a: Params, b: Params) -> jax.Array:
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)), jnp.zeros(()))


def dense_input(kernel: Float[Array, "I O"], bias: Float[Array, " O"]) -> Float[jax.Array, " I"]:
    """The record that a dense layer saw, from the layer's gradient for that one record.

    `dL/dW = x outer dL/db`, so x is `(dL/dW)_i / (dL/db)_i` for any unit i whose bias has a gradient. All of them are
    used, `dL/dW dL/db / ||dL/db||^2`: the least squares where the gradient was clipped or noise was added to it. NaN
    where no unit has any.

    >>> delta = jnp.array([0.5, 0.0, -2.0])
    >>> dense_input(jnp.outer(jnp.array([0.25, 1.0]), delta), delta).tolist()
    [0.25, 1.0]
    """
    return jnp.asarray(kernel) @ bias / jnp.vdot(bias, bias)


def restored_labels(
    bias: Float[Array, " C"], batch: int, believed: Float[Array, " C"] | None = None
) -> Int[np.ndarray, " B"]:
    """The labels of a batch, in rising order, from the gradient of the output layer's bias.

    That gradient is `mean p_c - n_c / B`, where n_c records have the label c. Of a single record it is negative for its
    label and nowhere else. For more, the mean probabilities have to be believed, and the labels are counted off one by
    one where most of the gradient is left.

    Args:
        bias: gradient of the output layer's bias.
        batch: B.
        believed: mean probability of each class over records like these; not read for a single record.

    >>> restored_labels(np.array([0.1, 0.2, -0.3]), 1).tolist()
    [2]
    >>> restored_labels(np.array([-0.4, 0.2, 0.2]), 2, np.array([0.6, 0.2, 0.2])).tolist()
    [0, 0]
    """
    expected = np.zeros(len(bias)) if batch == 1 or believed is None else np.asarray(believed, np.float64)
    left = expected - np.asarray(bias, np.float64)
    found = []
    for _ in range(batch):
        found.append(int(np.argmax(left)))
        left[found[-1]] -= 1 / batch
    return np.sort(np.array(found)).astype(np.int32)


def weights_of(params: Params, layer: Layer) -> dict[str, Array]:
    """A layer's own part of the parameters, or of a gradient."""
    return functools.reduce(lambda tree, step: tree[step], layer.path, params)


def output_layer(model: Model) -> Layer:
    """The layer that makes the logits.

    Raises:
        NotApplicable: the model does not say what its layers are, or the last one is not dense.
    """
    last = list(_in_order(model))[-1]
    if last.kind != "dense" or "bias" in last.absent:
        raise NotApplicable(
            f"labels are read from the bias of a dense output layer, and the last layer is a {last.kind}"
            f"{' without bias' if last.absent else ''}: write method: dlg with labels: optimized"
        )
    return last


def input_layer(model: Model) -> Layer:
    """The first layer, if it is dense over a whole record.

    Raises:
        NotApplicable: it is not, or the model does not say what its layers are.
    """
    first, sees = next(iter(_in_order(model).items()))
    if first.kind != "dense" or "bias" in first.absent or sees != (math.prod(model.shape),):
        raise NotApplicable(
            f"a record is read off the gradient of a dense first layer with a bias, and {first.name!r} sees numbers of "
            f"shape {sees} of a record {model.shape}{' and has no bias' if 'bias' in first.absent else ''}: write "
            "method: invert_gradients"
        )
    return first


@functools.lru_cache(maxsize=64)
def _in_order(model: Model) -> dict[Layer, tuple[int, ...]]:
    """The tapped layers as a record passes them, and the shape of what each sees of it."""
    tapped = model.tapped
    if tapped is None:
        raise NotApplicable(
            "this model does not say what its layers are, so no single layer's gradient can be read: write method: dlg "
            "with labels: optimized, or adapt the network with privsec.nets"
        )
    seen: dict[str, tuple[int, ...]] = {}

    def pass_through(record: jax.Array) -> None:
        taps = tapped(model.init(jax.random.key(0)), record, None)[1]
        seen.update({name: tap.inputs.shape[1:] for name, tap in taps.items()})

    jax.eval_shape(pass_through, jax.ShapeDtypeStruct((1, *model.shape), jnp.float32))
    by_name = {layer.name: layer for layer in model.layers}
    return {by_name[name]: shape for name, shape in seen.items()}

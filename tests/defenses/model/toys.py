"""Models without training, whose answers can be computed by hand."""

import jax.numpy as jnp
import numpy as np

from privsec.core.data import Examples
from privsec.core.meter import Meter
from privsec.core.recipe import Layer, Model, Tap

CLASSES = 3


def linear(features=4, *, classes=CLASSES, tapped=True, shape=None, outside=False):
    """Softmax regression: logits x @ kernel + bias. Its last layer reads the record itself."""

    def see(params, x, deltas=None):
        x = jnp.asarray(x).reshape(len(x), -1)
        logits = x @ params["last"]["kernel"] + params["last"]["bias"]
        logits = logits if deltas is None else logits + deltas["last"]
        return logits, {"last": Tap(x, logits)}

    def answer(params, x):
        if not outside:
            return see(params, x)[0]
        assert isinstance(np.asarray(x), np.ndarray)  # fails where it is traced
        return jnp.asarray(np.asarray(x).reshape(len(x), -1) @ np.asarray(params["last"]["kernel"]))

    def init(key):
        del key
        return {"last": {"bias": jnp.zeros(classes), "kernel": jnp.zeros((features, classes))}}

    return Model(
        init=init,
        apply=answer,
        num_classes=classes,
        shape=shape or (features,),
        tapped=see if tapped and not outside else None,
        layers=(Layer("last", "dense", ("last",)),) if tapped and not outside else (),
        meter=Meter() if outside else None,
    )


def weights(features=4, *, classes=CLASSES, seed=0, scale=3.0):
    kernel = scale * np.random.default_rng(seed).normal(size=(features, classes))
    return {"last": {"bias": jnp.zeros(classes), "kernel": jnp.asarray(kernel, jnp.float32)}}


def records(count, features=4, *, seed=1):
    """Two thirds of the box [0, 1], labels of no meaning."""
    rng = np.random.default_rng(seed)
    x = 0.5 + rng.uniform(-1, 1, (count, features)) / 3
    return Examples(x.astype(np.float32), rng.integers(0, CLASSES, count).astype(np.int32))

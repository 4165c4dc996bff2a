"""Models whose weak points are known: linear ones, as one Model each so that their programs are shared."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.recipe import Model
from privsec.core.target import Target

D = 6
CLASSES = 3


def _linear(params, x):
    return jnp.reshape(x, (len(x), -1)) @ params["kernel"] + params["bias"]


def _model(classes):
    zero = {"kernel": jnp.zeros((D, classes)), "bias": jnp.zeros(classes)}
    return Model(init=lambda key: zero, apply=_linear, num_classes=classes, shape=(D,))


PLANE, PLANES = _model(2), _model(CLASSES)
WEIGHT = np.array([0.5, -1.0, 2.0, 0.25, -0.75, 1.5], np.float32)
KERNEL = np.random.default_rng(3).normal(size=(D, CLASSES)).astype(np.float32)


def plane(offset=0.0, weight=WEIGHT):
    """Class 1 where w x + b > 0, else class 0."""
    kernel = np.stack([np.zeros(D), weight], axis=1)
    return Target.of(PLANE, {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray([0.0, offset])})


def planes(model=PLANES, scale=1.0):
    return Target.of(model, {"kernel": jnp.asarray(scale * KERNEL), "bias": jnp.zeros(CLASSES)})


def points_of(target, count=12, low=-1.0, high=1.0, seed=0):
    """Records uniform in [low, high] with the labels that the target gives them."""
    x = np.random.default_rng(seed).uniform(low, high, size=(count, D)).astype(np.float32)
    return Examples(x, np.asarray(target.labels(x), np.int32))


def knowing(points, low=-4.0, high=4.0, **more):
    box = tuple(np.broadcast_to(np.float32(end), points.x.shape[1:]) for end in (low, high))
    classes = max(CLASSES, int(np.max(points.y)) + 1) if len(set(points.y.tolist())) > 2 else 2
    return Knowledge(**{"num_classes": classes, "points": points, "box": box, **more})


def attacked(attack, target, knowledge, key=0):
    """(evidence of one target without its leading axis, bool [N]: the target calls it what the attacker wants)."""
    found = attack.run(target.restrict(attack.needs), knowledge, jax.random.key(key))
    found = jax.tree.map(np.asarray, found)
    x = found.x[0]
    labels = np.asarray(target.labels(x))
    won = np.where(found.goal < 0, labels != found.y, labels == found.goal)
    return found._replace(x=x, queries=found.queries[0], gradients=found.gradients[0]), won


def sizes(x, clean, norm):
    delta = np.asarray(x, np.float64) - np.asarray(clean, np.float64)
    return np.abs(delta).max(axis=1) if norm == "linf" else np.sqrt((delta**2).sum(axis=1))


def hidden_gradient(scale):
    """(a model whose logits are so large that softmax saturates, the same knowing what to differentiate instead)."""
    masked = replace(PLANES, apply=lambda params, x: scale * _linear(params, x))
    return masked, replace(masked, adapted=PLANES)

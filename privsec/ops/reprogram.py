"""A model made to do another task: its records inside the model's input, a program around them, a map of labels.

Reference: Elsayed, Goodfellow & Sohl-Dickstein 2018, "Adversarial reprogramming of neural networks", arXiv 1806.11146.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Real

from privsec.core.data import Array
from privsec.core.errors import NotApplicable
from privsec.ops.ascend import Box

REFUSED = -1
"""The answer where the model refuses the record, or where its class stands for none of the task's."""


def default_side(shape: tuple[int, ...]) -> int:
    """How large a task's image is made where nobody says: half of the target's shorter side, so that 3/4 are frame.

    For a table, the largest square that fits into half of its features.
    """
    return max(min(shape[:2]) // 2 if len(shape) == 3 else int((shape[0] // 2) ** 0.5), 1)


def frame(task_shape: tuple[int, ...], side: int, shape: tuple[int, ...]) -> Bool[np.ndarray, " *features"]:
    """True where the program may write: everywhere in the target's input but where the task's record stands.

    A task's image stands in the middle of a target's image, resized to side x side; in a table it is laid out as a row
    of side^2 features, a task's row as it is, in the middle of the columns.

    Args:
        task_shape: shape of one record of the task.
        side: height and width that a task's image is resized to; not used for tables.
        shape: shape of one input of the target.

    Raises:
        NotApplicable: a table is put to a model of images, or the record leaves no room for a program.

    >>> frame((3,), 1, (5,)).tolist()
    [True, False, False, False, True]
    """
    if len(shape) == 3 and len(task_shape) != 3:
        raise NotApplicable(
            f"the target reads images {list(shape)}, and the task's records are rows of {task_shape[0]} numbers, in "
            "which no two are neighbors. Choose a task of images."
        )
    wanted = (side, side) if len(shape) == 3 else (side * side,) if len(task_shape) == 3 else task_shape[:1]
    room = shape[:2] if len(shape) == 3 else shape[:1]
    if any(inner > outer for inner, outer in zip(wanted, room, strict=True)) or wanted == room:
        raise NotApplicable(
            f"a record of {' x '.join(map(str, wanted))} leaves no room for a program in the target's input of "
            f"{' x '.join(map(str, room))}. Write a smaller `side`, or choose a task with smaller records."
        )
    mask = np.ones(shape, bool)
    mask[tuple(slice((o - i) // 2, (o - i) // 2 + i) for i, o in zip(wanted, room, strict=True))] = False
    return mask


def embedded(
    x: Real[Array, " B *task"], side: int, shape: tuple[int, ...], box: Box
) -> Float[jax.Array, " B *features"]:
    """The task's records inside the target's input, the middle of the box around them.

    Args:
        x: values in [0, 1], which become `low + x * (high - low)`; what is outside is cut off. Images are resized
            (bilinear, without aliasing); color becomes gray by the mean of its channels, gray all channels alike.
        side: as for `frame`.
        shape: shape of one input of the target.
        box: the target's.

    Raises:
        NotApplicable: as `frame`.
    """
    x = jnp.asarray(x, jnp.float32)
    mask = frame(x.shape[1:], side, shape)
    low, high = (jnp.broadcast_to(jnp.asarray(end, jnp.float32), shape) for end in box)
    if x.ndim == 4:
        x = jax.image.resize(x, (len(x), side, side, x.shape[-1]), "linear")
        channels = shape[2] if len(shape) == 3 else 1
        if x.shape[-1] != channels:
            x = jnp.repeat(jnp.mean(x, axis=-1, keepdims=True), channels, axis=-1)
    inside = jnp.zeros((len(x), int(np.prod(shape))))
    inside = inside.at[:, np.flatnonzero(~mask)].set(jnp.clip(x, 0.0, 1.0).reshape(len(x), -1))
    share = jnp.where(mask, 0.5, inside.reshape(-1, *shape))
    return low + share * (high - low)


def pattern_of(
    weights: Float[jax.Array, " *features"], mask: Bool[Array, " *features"], box: Box
) -> Float[jax.Array, " *features"]:
    """The program `tanh(W * M) * (high - low) / 2`: it reaches the whole box, and is 0 where the record stands.

    A sigmoid in place of tanh would be 1/2 there, and so move the record itself.
    """
    low, high = box
    return jnp.tanh(weights * mask) * (high - low) / 2


def reprogrammed(
    x: Real[Array, " B *task"],
    pattern: Real[Array, " *features"],
    side: int,
    shape: tuple[int, ...],
    box: Box,
) -> Float[jax.Array, " B *features"]:
    """What the target is asked: the task's records embedded, and the program added.

    Args:
        x: records of the task, in [0, 1].
        pattern: the program of one target.
        side: height and width of an embedded image.
        shape: shape of one input of the target.
        box: the target's.

    Returns:
        Inputs inside the box.

    Raises:
        NotApplicable: as `frame`.
    """
    return added(embedded(x, side, shape, box), pattern, box)


def added(
    plain: Float[Array, " B *features"], pattern: Real[Array, " *features"], box: Box
) -> Float[jax.Array, " B *features"]:
    """Embedded records with the program added, inside the box.

    The sum of the two leaves the box by rounding alone: a program is 0 where the record may reach the ends.
    """
    return jnp.clip(plain + pattern, *box)


def answers(scores: Float[Array, "B C"], mapping: Float[Array, "C G"]) -> Float[jax.Array, "B G"]:
    """How plausible each class of the task is: `sum_c P(c) * mapping[c, g]`.

    >>> answers(jnp.array([[0.25, 0.5, 0.25]]), jnp.array([[0.5, 0.0], [0.0, 1.0], [0.5, 0.0]])).tolist()
    [[0.25, 0.5]]
    """
    return jnp.asarray(scores) @ jnp.asarray(mapping)


def log_answers(log_scores: Float[Array, "B C"], mapping: Float[Array, "C G"]) -> Float[jax.Array, "B G"]:
    """The logarithm of `answers`, as exact as the log-scores or logits it is made of (up to what shifts them)."""
    weight = jnp.asarray(mapping)
    used = weight > 0
    log_weight = jnp.where(used, jnp.log(jnp.where(used, weight, 1.0)), -jnp.inf)
    return jax.nn.logsumexp(jnp.asarray(log_scores)[:, :, None] + log_weight, axis=1)


def decided(scores: Float[Array, "B C"], mapping: Float[Array, "C G"], rejects: bool = False) -> Int[jax.Array, " B"]:
    """The task's class that each answer stands for, or `REFUSED`.

    Args:
        scores: the target's; one-hot rows where it answers labels.
        mapping: of the program.
        rejects: whether the last source class means that the model refuses the record.
    """
    found = answers(scores, mapping)
    called = jnp.where(jnp.max(found, axis=1) > 0, jnp.argmax(found, axis=1), REFUSED)
    if not rejects:
        return called
    return jnp.where(jnp.argmax(jnp.asarray(scores), axis=1) == mapping.shape[0] - 1, REFUSED, called)


def first_classes(num_sources: int, classes: int, per_class: int) -> Float[jax.Array, "C G"]:
    """The map that takes the first source classes in order: task class g is the mean of classes g * m to g * m + m - 1.

    Args:
        num_sources: C.
        classes: G; C >= G * per_class.
        per_class: m, source classes for each class of the task.
    """
    owner = jnp.arange(num_sources) // per_class
    return (owner[:, None] == jnp.arange(classes)) / per_class


def frequent_classes(frequency: Float[jax.Array, "G C"], per_class: int) -> Float[jax.Array, "C G"]:
    """The map that gives each class of the task the `per_class` source classes most seen on its records.

    Greedy: the largest frequency that is left is served first, as long as both of its classes are free; a source class
    stands for one class of the task at most. A column of -inf is never taken.

    Args:
        frequency: how often (or how surely) the model answers c on records of g.
        per_class: m; C >= G * m.

    References: Tsai, Chen & Ho 2020, arXiv 2007.08714 (frequency mapping); Chen et al. 2023, arXiv 2211.11635.

    >>> frequent_classes(jnp.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]]), 1).T.tolist()  # both want class 0
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    goals, sources = frequency.shape

    def take(_: int | jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        left, mapping = state
        g, c = jnp.divmod(jnp.argmax(left), sources)
        mapping = mapping.at[c, g].set(1.0 / per_class)
        left = left.at[:, c].set(-jnp.inf)
        full = jnp.sum(mapping[:, g] > 0) >= per_class
        return left.at[g].set(jnp.where(full, -jnp.inf, left[g])), mapping

    start = (frequency, jnp.zeros((sources, goals)))
    return jax.lax.fori_loop(0, goals * per_class, take, start)[1]

"""What every reprogramming attack shares: the task, the map of labels, and the descent on the program.

References: Elsayed et al. 2018, arXiv 1806.11146; Tsai, Chen & Ho 2020, arXiv 2007.08714; Chen et al. 2023, arXiv
2211.11635 (iterative label mapping).
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int
from pydantic import Field

from privsec.core import axis
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.core.evidence import Program
from privsec.core.target import Target, compiled
from privsec.data import DATASETS
from privsec.ops import reprogram
from privsec.ops.ascend import Box

if TYPE_CHECKING:
    from privsec.data.base import Source as AnySource
else:
    AnySource = DATASETS.union

TOLERANCE = 1e-3
"""How far a task's values may leave [0, 1] before they are taken for something else."""


class Batch(NamedTuple):
    """B records of the task inside the target's input, for any program.

    Attributes:
        inputs: program weights [...features] -> what the target is asked, [B, ...features].
        y: int32 [B], classes of the task.
        mapping: float32 [C, G].
    """

    inputs: Callable[[jax.Array], jax.Array]
    y: jax.Array
    mapping: jax.Array


class Reprogramming(Attack):
    """Base: lowers the loss of the attacker's task over a program, `min_W mean CE(h(f(X + tanh(W M))), y) + l2 |W|^2`.

    X is the task's record inside the target's input and h the map of labels (`ops/reprogram.py`). A file adds one Spec
    with `slope`, the gradient or its estimate. A table's constraints are not looked at: any numbers inside the box are
    an input.
    """

    family: ClassVar[Family] = "reprogramming"
    requires: ClassVar[frozenset[Part]] = frozenset({"task"})

    task: AnySource = Field(default_factory=lambda: DATASETS.parse({"name": "squares"}))
    """What the model is made to do: a data set, part of which is the attacker's and the rest decides the success."""
    side: int | None = Field(default=None, ge=1)
    """Height and width of a task's image inside the target's input; half of the target's shorter side where absent."""
    label_map: Literal["fixed", "frequency", "iterative"] = "iterative"
    """Which source classes stand for a class of the task: the first ones in order; those most seen on its records
    before there is a program; or those most seen at the start of every epoch."""
    per_class: int | None = Field(default=None, ge=1)
    """Source classes for each class of the task, whose mean decides; as many as there are for all where absent."""
    epochs: int = Field(default=30, ge=1)
    """Passes over the attacker's records of the task."""
    batch_size: int = Field(default=50, ge=1)
    """Records of a step."""
    learning_rate: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    """Adam's first step size, in units of W; it goes down to zero along a half cosine."""
    l2: float = Field(default=1e-5, ge=0, allow_inf_nan=False)
    """Weight of the squared norm of W, which keeps the program from the ends of the box."""
    targets: int = Field(default=2, ge=1)
    """How many models of a stack are attacked, the first ones."""

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> Program:
        """Looks for a program and a map of labels, for each of the first `targets` models.

        Args:
            target: one model (then T = 1) or a stack.
            knowledge: its task is what the model is to do, with values in [0, 1]; its box bounds the inputs.
            key: one is derived for each target.

        Raises:
            AccessError: the target grants less than `needs`.
            NotApplicable: there is no task or no box, the task has more classes than the target, or its records do not
                fit into the target's input or leave [0, 1].
        """
        task, box, classes, per_class = self._setup(target, knowledge)
        shape = target.model.shape
        side = reprogram.default_side(shape) if self.side is None else self.side
        mask = reprogram.frame(task.x.shape[1:], side, shape)
        embedded = task._replace(x=reprogram.embedded(task.x, side, shape, box))
        stack = jax.tree.map(lambda leaf: leaf[None], target) if target.size is None else target[: self.targets]

        def of_model(t: int) -> tuple[np.ndarray, np.ndarray]:
            given = stack[t], self, embedded, box, jnp.asarray(mask), jax.random.fold_in(key, t)
            return jax.device_get(_programmed(*given, classes=classes, per_class=per_class))

        models = range(stack.size or 0)
        found = dict(axis.over_models(of_model, models)) if target.traceable else {t: of_model(t) for t in models}
        pattern, mapping = (np.stack([np.asarray(found[t][part]) for t in models]) for part in (0, 1))
        return Program(pattern, mapping, side, float(self._queries(task.size)))

    @property
    @abc.abstractmethod
    def queries_per_record(self) -> int:
        """Model queries about one record of a step; a gradient counts as one."""

    @abc.abstractmethod
    def slope(self, target: Target, batch: Batch, weights: jax.Array, key: jax.Array) -> jax.Array:
        """The gradient of the batch's mean loss in the program's weights, or an estimate of it."""

    def scores(self, target: Target, x: jax.Array) -> Float[jax.Array, "B C"]:
        """What the attacker sees of the target's answers when it counts which classes stand for which."""
        return target.scores(x)

    def steps(self, records: int) -> tuple[int, int]:
        """Steps of an epoch, and records of a step; the records left over wait for another epoch."""
        size = min(self.batch_size, records)
        return records // size, size

    def _queries(self, records: int) -> int:
        number, size = self.steps(records)
        counted = {"fixed": 0, "frequency": 1, "iterative": self.epochs}[self.label_map]
        return number * size * (self.epochs * self.queries_per_record + counted)

    def _setup(self, target: Target, knowledge: Knowledge) -> tuple[Examples, Box, int, int]:
        """The task, the box, the task's classes, and how many source classes stand for one of them."""
        task = knowledge.task
        if task is None or not task.size:
            raise NotApplicable(
                f"{self.title} makes the model do another task and was given none: give Knowledge(task=Examples(...))"
            )
        if knowledge.box is None:
            raise NotApplicable(
                f"{self.title} writes anywhere between the smallest and the largest value of each feature, and these "
                "are not known: give Knowledge(box=(low, high))"
            )
        x, y = np.asarray(task.x, np.float32), np.asarray(task.y)
        if x.min() < -TOLERANCE or x.max() > 1 + TOLERANCE:
            raise NotApplicable(
                f"{self.title}: the task's values run from {x.min():g} to {x.max():g}; they are mapped to the target's "
                "box as values in [0, 1]. Scale them first."
            )
        classes, sources = int(y.max()) + 1, target.model.num_classes - int(target.model.rejects)
        if classes < 2:
            raise NotApplicable(f"{self.title}: all records of the task have one class, so there is nothing to do")
        most = sources // classes
        if most < (self.per_class or 1):
            raise NotApplicable(
                f"{self.title}: the target has {sources} classes and the task {classes}, so that at most {most} can "
                f"stand for each; asked for {self.per_class or 1}. Choose a task of fewer classes, or a smaller "
                "`per_class`."
            )
        low, high = (jnp.broadcast_to(jnp.asarray(end, jnp.float32), target.model.shape) for end in knowledge.box)
        given = Examples(jnp.asarray(x), jnp.asarray(y, jnp.int32))
        return given, (low, high), classes, self.per_class or most


def misfit(
    log_scores: Float[jax.Array, "B C"],
    mapping: Float[jax.Array, "C G"],
    y: Int[jax.Array, " B"],
    rejects: bool,
) -> Float[jax.Array, " B"]:
    """Cross-entropy of the task, `-log P(y) / sum_g P(g)` with P(g) the mean score of its source classes.

    Where the target may refuse a record, that counts among the classes of the sum, so a program learns not to be
    refused. Logits may stand for log-scores.
    """
    found = reprogram.log_answers(log_scores, mapping)
    if rejects:
        found = jnp.concatenate([found, log_scores[:, -1:]], axis=1)
    return optax.losses.softmax_cross_entropy_with_integer_labels(found, y)


@functools.partial(compiled, static=("attack", "classes", "per_class"))
def _programmed(
    target: Target,
    attack: Reprogramming,
    task: Examples,
    box: Box,
    mask: jax.Array,
    key: jax.Array,
    classes: int,
    per_class: int,
) -> tuple[jax.Array, jax.Array]:
    """The program's pattern [...features] and the map [C, G] of one model; the task is embedded already."""
    model = target.model
    number, size = attack.steps(task.size)
    optimizer = optax.adam(optax.cosine_decay_schedule(attack.learning_rate, attack.epochs * number))

    def inputs_of(rows: jax.Array) -> Callable[[jax.Array], jax.Array]:
        return lambda weights: reprogram.added(task.x[rows], reprogram.pattern_of(weights, mask, box), box)

    def frequent(weights: jax.Array, order: jax.Array) -> jax.Array:
        def add(total: jax.Array, rows: jax.Array) -> tuple[jax.Array, None]:
            seen = attack.scores(target, inputs_of(rows)(weights))
            return total + jax.nn.one_hot(task.y[rows], classes).T @ seen, None  # type: ignore[index]

        total, _ = jax.lax.scan(add, jnp.zeros((classes, model.num_classes)), order)
        count = jnp.sum(jax.nn.one_hot(task.y[order.reshape(-1)], classes), axis=0)  # type: ignore[index]
        frequency = total / jnp.maximum(count, 1.0)[:, None]
        frequency = frequency.at[:, -1].set(-jnp.inf) if model.rejects else frequency
        return reprogram.frequent_classes(frequency, per_class)

    def step(state: tuple, given: tuple[jax.Array, jax.Array]) -> tuple[tuple, None]:
        (weights, memory, mapping), (rows, own_key) = state, given
        batch = Batch(inputs_of(rows), task.y[rows], mapping)  # type: ignore[index]
        slope = attack.slope(target, batch, weights, own_key) + 2 * attack.l2 * weights
        update, memory = optimizer.update(slope, memory, weights)
        return (weights + update, memory, mapping), None  # type: ignore[operator]

    def shuffled(own_key: jax.Array) -> jax.Array:
        return jax.random.permutation(own_key, task.size)[: number * size].reshape(number, size)

    def epoch(state: tuple, own_key: jax.Array) -> tuple[tuple, None]:
        weights, memory, mapping = state
        order_key, step_key = jax.random.split(own_key)
        order = shuffled(order_key)
        mapping = frequent(weights, order) if attack.label_map == "iterative" else mapping
        return jax.lax.scan(step, (weights, memory, mapping), (order, jax.random.split(step_key, number)))

    first_key, epochs_key = jax.random.split(key)
    weights = jnp.zeros(model.shape)
    if attack.label_map == "frequency":
        mapping = frequent(weights, shuffled(first_key))
    else:
        mapping = reprogram.first_classes(model.num_classes, classes, per_class)
    start = (weights, optimizer.init(weights), mapping)
    (weights, _, mapping), _ = jax.lax.scan(epoch, start, jax.random.split(epochs_key, attack.epochs))
    return reprogram.pattern_of(weights, mask, box), mapping

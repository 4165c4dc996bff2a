"""A model and how it is trained: plain functions and numbers, nothing that runs by itself.

Everything in a Recipe but `rates` and `dp_event` is part of the compiled program; `rates` are arguments of it. Two
Recipes that differ only in numbers (learning rate, clip norm, noise) therefore share one compilation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
import optax

from privsec.core.errors import ConfigError
from privsec.core.meter import Meter

Params = Any
"""A pytree of parameters."""
Rates = Mapping[str, jax.Array | float]
"""The numbers of a Recipe by name, traced."""


class Tap(NamedTuple):
    """What one layer saw and made: `inputs` a and `outputs` z (pre-activation), [B, ...]."""

    inputs: jax.Array
    outputs: jax.Array


class Layer(NamedTuple):
    """Where a tapped layer keeps its parameters, and which linear map it is.

    `kind` is `"dense"` (z = a @ kernel + bias, any positions between batch and features; a convolution is one over its
    patches) or `"scale"` (z = a * scale + bias). The kernel may be stored in any shape of the same order, such as
    [height, width, channels, features]; of these parameters the layer may lack those that `absent` names.
    """

    name: str
    kind: str
    path: tuple[str | int, ...]
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Model:
    """A classifier as functions of explicit parameters.

    Attributes:
        init: key -> params.
        apply: (params, x [B, ...]) -> logits [B, C].
        num_classes: C.
        shape: shape of one record.
        tapped: (params, x, deltas | None) -> (logits, {layer name: Tap}); adds `deltas[name]` to that layer's
            pre-activation, so that differentiating by a zero delta gives the layer's backpropagated signal. None for
            a model that does not expose its layers.
        layers: the tapped layers; they must cover every parameter exactly once.
        meter: for a model that answers outside of JAX (a NumPy function, another library, an endpoint): what counts its
            queries. Such a model is neither compiled nor differentiated, and its `params` say only which model of a
            stack is asked. None for a model written in JAX.
        differentiable: of a model outside of JAX: whether its own library gives gradients (`apply` then has a custom
            derivative that asks it, eagerly).
        draw: (params, x [B, ...], keys [B]) -> logits [B, C] of a model that answers at random, one fresh draw for each
            record from its own key; `apply` is then one fixed version of it. None for a model that answers alike.
        rejects: whether the last of the `num_classes` is no class but "refused": the record looked wrong.
        adapted: the same decisions with gradients worth following: what an attacker who knows how the model is
            defended attacks in its place, with the same params. None where the model itself will do.
        certify: (params, x [B, ...], key) -> (labels int32 [B], -1 for an abstention, radius float32 [B]): L2 balls in
            which the label provably does not change. None where nothing is claimed.
        member: of several models that answer as one: one of them, without its parameters. Every leaf of the params then
            has a leading [members]. None for a model that is one.
        votes: (params, x [B, ...]) -> int32 [B, C]: how many of the members, each trained on a part of the records
            whose training no other record enters, vote for each class; the class with most votes is the answer, the
            smaller one of equals. None where nothing is claimed.
    """

    init: Callable[[jax.Array], Params]
    apply: Callable[[Params, jax.Array], jax.Array]
    num_classes: int
    shape: tuple[int, ...]
    tapped: Callable[[Params, jax.Array, Mapping[str, jax.Array] | None], tuple[jax.Array, dict[str, Tap]]] | None = (
        None
    )
    layers: tuple[Layer, ...] = ()
    meter: Meter | None = None
    differentiable: bool = False
    draw: Callable[[Params, jax.Array, jax.Array], jax.Array] | None = None
    rejects: bool = False
    adapted: Model | None = None
    certify: Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]] | None = None
    member: Model | None = None
    votes: Callable[[Params, jax.Array], jax.Array] | None = None


class Batch(NamedTuple):
    """One step's records: `x` [B, ...], `y` soft targets [B, C], `weight` [B]: 1 for a record, 0 for padding."""

    x: jax.Array
    y: jax.Array
    weight: jax.Array


class Schedule(NamedTuple):
    """Which records each step sees: `index` int32 [steps, B], `weight` float32 [steps, B] (0 = padding)."""

    index: np.ndarray
    weight: np.ndarray


class Sampling(Protocol):
    """Draws a Schedule on the host. Hashable; equal samplings give programs of equal shape."""

    def draw(self, rng: np.random.Generator, include_row: np.ndarray) -> Schedule:
        """The schedule of a model trained on the records where `include_row` (bool [N]) holds."""
        ...


BatchTransform = Callable[[Batch, Rates, jax.Array], Batch]
"""(batch, rates, key) -> batch: augmentation, mixing, target smoothing. Hashable."""
Loss = Callable[[jax.Array, jax.Array], jax.Array]
"""(logits [B, C], soft targets [B, C]) -> loss [B]. Hashable."""
Gradient = Callable[[Model, Loss, Params, Batch, Rates, jax.Array], Params]
"""(model, loss, params, batch, rates, key) -> gradient. Hashable."""
Lesson = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""(a teacher's logits [N, C], labels [N], which records the model is trained on, bool [N]) -> (soft targets [N, C], how
much each record counts [N]). Hashable."""


class DPEvent(NamedTuple):
    """What a training does to its records' privacy: `steps` Gaussian mechanisms on Poisson samples (add/remove)."""

    sampling_rate: float
    noise_multiplier: float
    steps: int


@dataclass(frozen=True)
class Recipe:
    """How one model is trained.

    Attributes:
        records: how many records the model is trained on.
        steps: number of optimizer steps.
        batch_size: records a step sees (its expectation, under Poisson sampling).
        sampling: draws which records each step sees.
        transforms: applied to each batch in order.
        loss: per-record loss.
        gradient: how a batch becomes one gradient.
        optimizer: rates -> optax transformation. Hashable.
        rates: numbers by name, passed to the compiled program as arguments.
        patience: epochs without a better holdout loss after which training stops and the best parameters are kept; None
            keeps the last parameters.
        checkpoints: at how many earlier moments, evenly spaced, the parameters are kept beside the last ones.
        dp_event: what the training costs in privacy, None where there is no guarantee.
        teacher: how to train first, on the same records, a model to learn from: the same architecture from a key of
            its own, with the same rates and the first `teacher.steps` batches. None where records keep their labels.
        lesson: what the teacher's answers make of the labels.
        partitions: into how many parts the records are put by their contents. Each part alone trains a member of the
            model, by this very Recipe; `sampling` then draws for one part, of any size. 1 for one model of all records.
    """

    records: int
    steps: int
    batch_size: int
    sampling: Sampling
    loss: Loss
    gradient: Gradient
    optimizer: Callable[[Rates], optax.GradientTransformation]
    transforms: tuple[BatchTransform, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    patience: int | None = None
    checkpoints: int = 0
    dp_event: DPEvent | None = None
    teacher: Recipe | None = None
    lesson: Lesson | None = None
    partitions: int = 1

    def __post_init__(self) -> None:
        if self.partitions > 1 and self.teacher is not None:
            raise ConfigError(
                "a defense with a teacher (distillation, anti_backdoor_learning) and partition_aggregation in one "
                "list: a teacher looks at all records at once, so a member's numbers would hang on records outside its "
                "part, and the certificate breaks. Leave one of the two out."
            )
        if self.partitions > 1 and self.dp_event is not None:
            raise ConfigError(
                "dp_sgd and partition_aggregation in one list: the accountant counts batches drawn from all records, "
                "and each member draws from its own. Leave one of the two out."
            )
        if self.dp_event is not None and self.teacher is not None:
            raise ConfigError(
                "a defense with a teacher (distillation, anti_backdoor_learning) and dp_sgd in one list: what is "
                "taught tells of all records at once, so clipping a record's gradient no longer bounds what it does "
                "and the guarantee breaks. Leave one of the two out."
            )

    @property
    def program(self) -> Recipe:
        """The static part, hashable: what is compiled."""
        names, teacher = _Names(dict.fromkeys(sorted(self.rates), 0.0)), self.teacher
        return replace(self, rates=names, dp_event=None, teacher=teacher.program if teacher else None)

    def taught_by(self, teacher: Recipe, lesson: Lesson) -> Recipe:
        """The same Recipe, learning from a model that is trained by `teacher` first.

        Raises:
            ConfigError: there is a teacher already.
        """
        if self.teacher is not None:
            raise ConfigError(
                "the model learns from a teacher already: write one of distillation and anti_backdoor_learning."
            )
        return replace(self, teacher=replace(teacher, checkpoints=0), lesson=lesson)

    def with_rates(self, **rates: float) -> Recipe:
        """The same Recipe with these numbers added or replaced."""
        return replace(self, rates={**self.rates, **rates})


class _Names(dict):
    """A mapping that hashes by its keys."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self)))

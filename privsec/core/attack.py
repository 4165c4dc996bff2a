"""An Attack is a pure function and a declaration of what it needs."""

from __future__ import annotations

import abc
import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import jax
import numpy as np

from privsec.core.access import Access
from privsec.core.data import Array, Attribute, Constraints, Examples
from privsec.core.evidence import Evidence
from privsec.core.recipe import Params
from privsec.core.spec import Spec
from privsec.core.target import Target

Family = Literal["membership", "inversion", "evasion", "poisoning", "reprogramming", "extraction"]
Part = Literal["candidates", "population", "references", "points", "task", "hidden", "updates"]


class Updates(NamedTuple):
    """What an observer of the training saw: the gradients of S batches of B records each, at the target's parameters.

    Attributes:
        gradients: leaves [T, S, ...] shaped like the model's parameters: what the training's own rule makes of a batch,
            with whatever clipping and noise the defenses bring.
        start: leaves [T, ...]: the parameters at which they were taken.
        batch: B.
    """

    gradients: Params
    start: Params
    batch: int


class Hidden(NamedTuple):
    """K records of which one attribute is to be guessed.

    Attributes:
        attribute: which, and how its values are encoded.
        records: the K records, the attribute's columns set to zero, with their true labels.
    """

    attribute: Attribute
    records: Examples


class Poison(NamedTuple):
    """What an attacker puts among the records that models are trained on: A records of its own.

    Attributes:
        x: float32 [A, ...features].
        y: int32 [A].
        replaces: int32 [A]: the candidate whose place each one takes, in every training set that has that candidate; -1
            for one that is added to all of them.
        pair: int32 [A]: the complementary pair of models that it is meant for; -1 for all.
        counts: bool [A]: whether it is trained on at all; a record that does not only takes the place of another.
    """

    x: Array
    y: Array
    replaces: Array
    pair: Array
    counts: Array

    @classmethod
    def of(cls, x: Array, y: Array, replaces: Array, pair: Array | None = None, counts: bool = True) -> Poison:
        """The poison with its arrays on the host; for all models where no `pair` is named."""
        rows = np.asarray(replaces, np.int32)
        everyone = np.full(rows.shape, -1, np.int32)
        meant = everyone if pair is None else np.asarray(pair, np.int32)
        counted = np.full(rows.shape, counts)
        return cls(np.asarray(x, np.float32), np.asarray(y, np.int32), rows, meant, counted)


@dataclass(frozen=True)
class Knowledge:
    """All the attacker may have. There is no truth about the target in it.

    Attributes:
        num_classes: C.
        candidates: N records whose membership is asked.
        population: records from the same distribution that no target was trained on.
        references: M models stacked, trained by the attacker under the same defenses as the target.
        included: bool [M, N]: was candidate n in the training set of reference m?
        usable: bool [T, M]: which references the attacker on target t may use. When one bank of models serves as
            targets and references alike (leave-one-out), row t is False at t itself and at its complementary twin,
            so that nothing about target t's membership is ever read.
        box: smallest and largest value of each feature, float32 arrays that broadcast to one record.
        constraints: what a changed record must keep to beside the box.
        points: records no target was trained on, with their labels, that the attacker wants taken for something else.
        task: labelled records of another task, that the target is to be made to do.
        hidden: records of which an attribute is to be guessed.
        updates: gradients seen during the training.
        feature_names: names of a table's columns, where there are any.
    """

    num_classes: int
    candidates: Examples | None = None
    population: Examples | None = None
    references: Target | None = None
    included: Array | None = None
    usable: Array | None = None
    box: tuple[Array, Array] | None = None
    constraints: Constraints | None = None
    points: Examples | None = None
    task: Examples | None = None
    hidden: Hidden | None = None
    updates: Updates | None = None
    feature_names: tuple[str, ...] = ()


_STATIC = ("num_classes", "feature_names")
# Attacks that use `hidden` or `updates` are not compiled as a whole: names and numbers among the leaves do no harm.
jax.tree_util.register_dataclass(
    Knowledge,
    data_fields=[field.name for field in dataclasses.fields(Knowledge) if field.name not in _STATIC],
    meta_fields=list(_STATIC),
)


class Attack(Spec):
    """Base of all attacks: a Spec, an access level, the Knowledge it needs, and `run`."""

    unhashed: ClassVar[frozenset[str]] = frozenset({"label"})

    label: str | None = None
    """Names this variant in tables; the attack's own name where absent."""

    family: ClassVar[Family]
    needs: ClassVar[Access]
    """The weakest access the attack works with."""
    requires: ClassVar[frozenset[Part]]
    """The parts of Knowledge that the attack cannot do without."""
    paper: ClassVar[str]
    """Where the method comes from."""
    traceable: ClassVar[bool] = False
    """Whether `run` may be jitted. Attacks whose statistics are float64 NumPy on the host are not."""

    tampers: ClassVar[bool] = False
    """Whether it acts before the training, by `tamper`, and so on models of its own."""

    @property
    def title(self) -> str:
        """What the attack is called in tables."""
        return self.label or self.name  # type: ignore[attr-defined]

    @property
    def added(self) -> int:
        """How many records it adds to every training set, beside those that it replaces."""
        return 0

    @property
    def control(self) -> Attack | None:
        """The harmless tampering that its null is trained under; None where that is trained on clean records."""
        return None

    def tamper(self, data: Examples, knowledge: Knowledge, key: jax.Array) -> Poison | None:
        """What the attacker puts among the candidates `data` before models are trained on them; None for nothing.

        Args:
            data: N candidates, some of which the attacker may take the place of.
            knowledge: what it has; its references are models trained without the poison, under the same defenses.
            key: for what is drawn.
        """
        del data, knowledge, key
        return None

    def attacked(self, target: Target) -> Target:
        """Those models of a stack that `run` looks at; nothing else need be in memory."""
        return target

    @abc.abstractmethod
    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> Evidence:
        """Attacks `target` (one model or a stack of T) with what the attacker knows.

        Raises:
            AccessError: the target grants less than `needs`.
            NotApplicable: this attack cannot work on this target or with this knowledge; the text says why.
        """

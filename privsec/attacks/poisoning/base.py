"""What poisoning attacks share: which candidates are the attacker's, and what the trained models are asked."""

from __future__ import annotations

import abc
from dataclasses import replace
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from privsec.core import keys
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part, Poison
from privsec.core.data import Array, Examples
from privsec.core.errors import NotApplicable
from privsec.core.evidence import Triggered
from privsec.core.target import Target
from privsec.ops.ascend import Box


class Poisoning(Attack):
    """Base: a share of the candidates is the attacker's, who changes them before models are trained."""

    family: ClassVar[Family] = "poisoning"
    needs: ClassVar[Access] = Access.LABELS
    requires: ClassVar[frozenset[Part]] = frozenset({"points"})
    tampers: ClassVar[bool] = True
    rate: float = Field(default=0.05, gt=0, lt=1)
    """Which share of the training records is the attacker's, on average over models."""
    source: int | None = Field(default=None, ge=0)
    """Only records of this class are poisoned and asked about; those of any class where absent."""

    def chosen(self, allowed: np.ndarray, key: jax.Array, share: float | None = None) -> np.ndarray:
        """Rows of N candidates that are the attacker's: a random `rate` N of the `allowed` (bool [N]) ones, sorted.

        Raises:
            NotApplicable: there are not so many.
        """
        share = self.rate if share is None else share
        count, rows = max(round(share * len(allowed)), 1), np.flatnonzero(allowed)
        if count > len(rows):
            raise NotApplicable(
                f"{self.title}: a share of {share:.1%} is {count} of {len(allowed)} candidates, and only "
                f"{len(rows)} can be poisoned. Lower the rate."
            )
        return np.sort(keys.generator(key).permutation(rows)[:count])

    def of_source(self, y: np.ndarray) -> np.ndarray:
        """bool [N]: which records are of the class that is attacked."""
        return np.ones(len(y), bool) if self.source is None else y == self.source

    def check_classes(self, classes: int, **named: int | None) -> None:
        """Raises NotApplicable where the `source` or another class that is named does not exist."""
        for which, label in {"source": self.source, **named}.items():
            if label is not None and label >= classes:
                raise NotApplicable(
                    f"{self.title}: the {which} is class {label}, and there are the classes 0 to {classes - 1}"
                )


class LeftOut(Poisoning):
    """The null of attacks that spoil records: a random share of them is left out of every training.

    It is no attack and stands in no catalog.
    """

    kind: Literal["left_out"] = "left_out"
    paper: ClassVar[str] = ""

    spared: int | None = None
    """The class of which none is left out; none where absent."""

    @property
    def title(self) -> str:
        return "records left out"

    def tamper(self, data: Examples, knowledge: Knowledge, key: jax.Array) -> Poison:
        """The records that do not count."""
        del knowledge
        y = np.asarray(data.y)
        rows = self.chosen(self.of_source(y) & (y != self.spared), key)
        return Poison.of(np.asarray(data.x)[rows], y[rows], rows, counts=False)

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> Triggered:
        """Nothing is asked."""
        raise NotApplicable("records left out are a null, not an attack")


class Backdoor(Poisoning):
    """Base: records with a trigger are labeled as the goal's class, and the model learns to follow the trigger.

    A file adds one Spec with `triggered`. Asked about are the attacker's points whose class is not the goal's, with the
    trigger.
    """

    goal: int = Field(default=0, ge=0)
    """The class that a record with the trigger is to be taken for."""
    clean_label: ClassVar[bool] = False
    """Whether only records of the goal's class are changed, so that every label is right."""

    @property
    def covers(self) -> float:
        """For each poisoned record, how many more have the trigger, or one like it, and keep their own label."""
        return 0.0

    @abc.abstractmethod
    def triggered(self, x: jax.Array, knowledge: Knowledge, key: jax.Array | None) -> jax.Array:
        """The records [B, ...] with the trigger, inside the box.

        Args:
            x: the records.
            knowledge: with its `box`.
            key: for what is drawn for records that are planted; None for those that a model is asked about.
        """

    def covered(self, x: jax.Array, knowledge: Knowledge, key: jax.Array) -> jax.Array:
        """The records [B, ...] as they are planted with their own labels, where there are `covers`."""
        return self.triggered(x, knowledge, key)

    def tamper(self, data: Examples, knowledge: Knowledge, key: jax.Array) -> Poison:
        """The attacker's records in the place of those they were: with trigger and goal's label, and the covers.

        Raises:
            NotApplicable: the goal is no class, or too few records can be poisoned.
        """
        self.check_classes(knowledge.num_classes, goal=self.goal)
        x, y, known = jnp.asarray(data.x), np.asarray(data.y), boxed(knowledge, data)
        rows = self.chosen(y == self.goal if self.clean_label else self.of_source(y) & (y != self.goal), key)
        planted, labels = self.triggered(x[rows], known, keys.derive(key, "trigger")), np.full(len(rows), self.goal)
        if self.covers:
            free = ~np.isin(np.arange(len(y)), rows)
            more = self.chosen(free, keys.derive(key, "which covers"), self.covers * self.rate)
            planted = jnp.concatenate([planted, self.covered(x[more], known, keys.derive(key, "covers"))])
            rows, labels = np.concatenate([rows, more]), np.concatenate([labels, y[more]])
        return Poison.of(planted, labels, rows)

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> Triggered:
        """The attacker's points of other classes, with the trigger; the target is asked by the measures."""
        del key
        self.check_classes(knowledge.num_classes, goal=self.goal)
        points = points_of(self.title, knowledge)
        y = np.asarray(points.y)
        rows = np.flatnonzero(self.of_source(y) & (y != self.goal))
        if not len(rows):
            raise NotApplicable(f"{self.title}: all points are of the goal's class {self.goal}. Give others.")
        x = self.triggered(jnp.asarray(points.x)[rows], boxed(knowledge, points), None)
        return asked(target, x, y[rows], self.goal, rows)


def points_of(title: str, knowledge: Knowledge) -> Examples:
    """The records that trained models are asked about.

    Raises:
        NotApplicable: there are none.
    """
    if knowledge.points is None or not knowledge.points.size:
        raise NotApplicable(f"{title} needs records to ask trained models about: give Knowledge(points=Examples(...))")
    return knowledge.points


def asked(target: Target, x: Array, y: Array, goal: int | np.ndarray, rows: Array) -> Triggered:
    """The same records for every target of a stack, which has to answer with labels at least."""
    count = target.restrict(Access.LABELS).size or 1

    def for_all(part: Array | int) -> np.ndarray:
        part = np.asarray(part)
        return np.broadcast_to(part, (count, *part.shape))

    goals = np.broadcast_to(np.asarray(goal, np.int32), np.shape(y))
    return Triggered(for_all(x), for_all(y), for_all(goals), for_all(np.asarray(rows, np.int32)))


def boxed(knowledge: Knowledge, data: Examples) -> Knowledge:
    """The knowledge with the smallest and largest value of each feature: those known, or those seen."""
    if knowledge.box is not None:
        return knowledge
    x = np.asarray(data.x)
    return replace(knowledge, box=(x.min(axis=0), x.max(axis=0)))


def box_of(knowledge: Knowledge, shape: tuple[int, ...]) -> Box:
    """The ends of the box for records of `shape`."""
    assert knowledge.box is not None  # `boxed` made sure
    low, high = (jnp.broadcast_to(jnp.asarray(end, jnp.float32), shape) for end in knowledge.box)
    return low, high

"""What attacks on single test records share: rightly labeled records that make a retrained model misjudge a target.

Each complementary pair of models has targets of its own, which both of the pair are asked about: an experiment with 20
models has ten targets, or a multiple of that, each with two trainings from scratch.
"""

from __future__ import annotations

import abc
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from privsec.attacks.poisoning.base import Poisoning, asked, box_of, boxed, points_of
from privsec.core import keys
from privsec.core.attack import Knowledge, Part, Poison
from privsec.core.data import Array, Examples
from privsec.core.errors import NotApplicable
from privsec.core.evidence import Triggered
from privsec.core.target import Target
from privsec.ops.ascend import Box


class Aim(NamedTuple):
    """A record and what it is to be taken for.

    Attributes:
        x: float32 [...features].
        y: its true class.
        goal: another class.
    """

    x: Array
    y: Array
    goal: Array


class Targeted(Poisoning):
    """Base: records of the goal's class are changed a little, on clean models of the attacker's own, for one target.

    A file adds one Spec with `craft`. Success is a target that a model, trained from scratch with the changed records,
    takes for its goal. The attacker's models are references that are neither the victim nor its twin.
    """

    requires: ClassVar[frozenset[Part]] = frozenset({"points", "references"})
    rate: float = Field(default=0.02, gt=0, lt=1)
    """Which share of a model's training records is changed for each of its targets."""
    goal: int | None = Field(default=None, ge=0)
    """The class that targets are to be taken for; for each in turn another one where absent."""
    targets: int = Field(default=1, ge=1)
    """How many records each pair of models is made to misjudge, each by poison of its own."""
    surrogates: int = Field(default=2, ge=1)
    """On how many clean models the poison is worked out, all at once."""

    @abc.abstractmethod
    def craft(self, surrogates: Target, base: Examples, aim: Aim, box: Box, key: jax.Array) -> Array:
        """The changed records [B, ...].

        Args:
            surrogates: a stack of clean models, with their weights.
            base: B records of the goal's class.
            aim: the target.
            box: smallest and largest value of each feature.
            key: for what is drawn.
        """

    def aims(self, knowledge: Knowledge, pairs: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows of the points, goals), both int [pairs, targets]: the first points, which are a random sample.

        Raises:
            NotApplicable: there are too few points.
        """
        self.check_classes(knowledge.num_classes, goal=self.goal)
        y = np.asarray(points_of(self.title, knowledge).y)
        rows, count = np.flatnonzero(self.of_source(y) & (y != self.goal)), pairs * self.targets
        if len(rows) < count:
            raise NotApplicable(
                f"{self.title}: {pairs} pairs of models take {count} targets, and there are {len(rows)} points for it. "
                "Raise population.points or lower `targets`."
            )
        rows = rows[:count]
        other = (y[rows] + 1 + np.arange(count) % (knowledge.num_classes - 1)) % knowledge.num_classes
        goals = other if self.goal is None else np.full(count, self.goal)
        return rows.reshape(pairs, -1), goals.reshape(pairs, -1)

    def tamper(self, data: Examples, knowledge: Knowledge, key: jax.Array) -> Poison:
        """For each pair and target, changed records of the goal's class in the training sets of both models.

        Raises:
            NotApplicable: there are no clean models, or too few of them, or too few records of the goal's class.
        """
        references, included = knowledge.references, knowledge.included
        if references is None or references.size is None or included is None:
            raise NotApplicable(f"{self.title} works its records out on clean models of the attacker's own: give them")
        x, y, included = np.asarray(data.x), np.asarray(data.y), np.asarray(included, bool)
        points, box = points_of(self.title, knowledge), box_of(boxed(knowledge, data), x.shape[1:])
        rows, goals = self.aims(knowledge, len(included) // 2)
        crafted, replaces, pair = [], [], []
        for p, own_goals in enumerate(goals):
            free = np.ones(len(y), bool)
            for k, goal in enumerate(own_goals):
                aim = Aim(np.asarray(points.x)[rows[p, k]], np.asarray(points.y)[rows[p, k]], goal)
                for m in (2 * p, 2 * p + 1):
                    own = keys.derive(key, p, k, m)
                    base = self._base(free & included[m] & (y == goal), int(included[m].sum()), own)
                    free[base] = False
                    models = references[self._surrogates(knowledge, m, own)]
                    made = self.craft(models, data.take(base), aim, box, keys.derive(own, "craft"))
                    crafted.append(np.asarray(made))
                    replaces.append(base)
                    pair.append(np.full(len(base), p))
        places = np.concatenate(replaces)
        return Poison.of(np.concatenate(crafted), y[places], places, np.concatenate(pair))

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> Triggered:
        """Each model's own targets, as they are."""
        del key
        count = target.size or 1
        rows, goals = (np.repeat(part, 2, axis=0)[:count] for part in self.aims(knowledge, -(-count // 2)))
        points = points_of(self.title, knowledge)
        x, y = np.asarray(points.x)[rows], np.asarray(points.y)[rows]
        return asked(target, x[0], y[0], goals[0], rows[0])._replace(
            x=x, y=y, goal=goals.astype(np.int32), rows=rows.astype(np.int32)
        )

    def _base(self, allowed: np.ndarray, size: int, key: jax.Array) -> np.ndarray:
        """The records of one model that are changed for one target."""
        count, rows = max(round(self.rate * size), 1), np.flatnonzero(allowed)
        if count > len(rows):
            raise NotApplicable(
                f"{self.title}: a share of {self.rate:.1%} is {count} of a model's {size} records, and only "
                f"{len(rows)} of the goal's class are left. Lower the rate or `targets`."
            )
        return np.sort(keys.generator(keys.derive(key, "base")).permutation(rows)[:count])

    def _surrogates(self, knowledge: Knowledge, m: int, key: jax.Array) -> np.ndarray:
        """Which references stand for model m: none of its pair."""
        assert knowledge.included is not None
        strangers = np.arange(len(knowledge.included)) // 2 != m // 2
        if knowledge.usable is not None and len(knowledge.usable) > m:
            strangers &= np.asarray(knowledge.usable[m], bool)
        found = np.flatnonzero(strangers)
        if len(found) < self.surrogates:
            raise NotApplicable(
                f"{self.title} works its records out on {self.surrogates} clean models that are not the victim's, and "
                f"there are {len(found)}: write more population.models, or fewer `surrogates`."
            )
        return keys.generator(keys.derive(key, "surrogates")).permutation(found)[: self.surrogates]


def on_device(base: Examples, aim: Aim) -> tuple[jax.Array, jax.Array, Aim]:
    """The records, their labels and the target as arrays that a compiled function takes."""
    x, goal = jnp.asarray(aim.x, jnp.float32), jnp.asarray(aim.goal, jnp.int32)
    return jnp.asarray(base.x), jnp.asarray(base.y), Aim(x, jnp.asarray(aim.y, jnp.int32), goal)

"""Knockoff nets: a student trained on the scores that the model gives to the attacker's own records.

Reference: Orekondy, Schiele & Fritz 2019, "Knockoff nets: stealing functionality of black-box models", CVPR, arXiv
1812.02766.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from pydantic import Field, PositiveInt, field_validator

from privsec.attacks.extraction.student import students
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.errors import NotApplicable
from privsec.core.evidence import StolenModel
from privsec.core.keys import derive, generator
from privsec.core.target import Target, compiled
from privsec.nets import NETS
from privsec.nets.base import model_of
from privsec.training.standard import Training

if TYPE_CHECKING:
    from privsec.nets.base import Net as AnyNet
else:
    AnyNet = NETS.union

CHUNK = 256
"""Records of one question."""


class Knockoff(Attack):
    """A student that imitates the model, trained on its scores for the attacker's own records.

    `min_theta sum_x KL(f(x) || student_theta(x))` over the first b records of a random order, for every query budget b.
    Beside each student stands its null: the same initialization, batches and records, with the records' own labels in
    place of the model's answers. Which records are asked is drawn at random (the paper's "random" strategy).

    References: Orekondy et al. 2019, arXiv 1812.02766.
    """

    name: Literal["knockoff"] = "knockoff"
    family: ClassVar[Family] = "extraction"
    needs: ClassVar[Access] = Access.SCORES
    requires: ClassVar[frozenset[Part]] = frozenset({"population"})
    paper: ClassVar[str] = "Orekondy et al. 2019, arXiv 1812.02766"

    net: AnyNet = Field(default_factory=lambda: NETS.parse({"name": "mlp"}))
    """The student's architecture."""
    training: Training = Field(default_factory=Training)
    """How a student is trained; its batches are no larger than the budget."""
    budgets: tuple[PositiveInt, ...] = Field(default=(50, 150, 500), min_length=1)
    """Records that the model is asked about, one student for each; what the attacker has where that is less."""
    targets: int = Field(default=2, ge=1)
    """How many models of a stack are attacked, the first ones."""

    @field_validator("budgets")
    @classmethod
    def _rising(cls, budgets: tuple[int, ...]) -> tuple[int, ...]:
        if any(later <= earlier for earlier, later in itertools.pairwise(budgets)):
            raise ValueError("query budgets rise: write for example [50, 150, 500]")
        return budgets

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> StolenModel:
        """Trains students and nulls for each of the first `targets` models.

        Args:
            target: one model (then T = 1) or a stack; each is asked about the same records, each record once.
            knowledge: its population is asked about.
            key: which records are asked, initialization and batches, the same for all targets.

        Raises:
            AccessError: the target grants less than `needs`.
            NotApplicable: the attacker has no records.
            ConfigError: the student's architecture cannot read such records.
        """
        records = knowledge.population
        if records is None or not records.size:
            raise NotApplicable(
                f"{self.title} asks about the attacker's own records, and there are none: give "
                "Knowledge(population=Examples(...))"
            )
        budgets = sorted({min(budget, records.size) for budget in self.budgets})
        rows = generator(derive(key, "queries")).permutation(records.size)[: budgets[-1]]
        asked = records.take(rows)
        stack = jax.tree.map(lambda leaf: leaf[None], target) if target.size is None else target[: self.targets]
        x, classes = np.asarray(asked.x, np.float32), target.model.num_classes
        own = np.eye(classes, dtype=np.float32)[np.asarray(asked.y)]
        told = np.stack([*(self._ask(stack[t], x) for t in range(stack.size or 0)), own])
        model = model_of(self.net, target.model.shape, classes)
        copies = [self._students(model, x[:budget], told[:, :budget], derive(key, budget)) for budget in budgets]
        everyone = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *copies)
        null = jax.tree.map(lambda leaf: np.repeat(leaf[-1:], len(told) - 1, axis=0), everyone)
        return StolenModel(model, jax.tree.map(lambda leaf: leaf[:-1], everyone), null, np.asarray(budgets))

    def answers(self, target: Target, x: jax.Array) -> Float[jax.Array, "B C"]:
        """What the student is to say of `x`."""
        return target.scores(x)

    def _ask(self, target: Target, x: np.ndarray) -> np.ndarray:
        """The answers of one model, in chunks of one shape; outside of JAX each record is asked about once."""
        size, parts = min(CHUNK, len(x)), []
        for start in range(0, len(x), size):
            rows = np.arange(start, start + size)
            rows = np.minimum(rows, len(x) - 1) if target.traceable else rows[rows < len(x)]
            parts.append(np.asarray(_answers(target, self, jnp.asarray(x[rows]))))
        return np.concatenate(parts)[: len(x)]

    def _students(self, model, x: np.ndarray, told: np.ndarray, key: jax.Array):
        """Parameters [S, ...] of the students of S sets of answers."""
        size = min(self.training.batch_size, len(x))
        recipe = self.training.model_copy(update={"batch_size": size}).recipe(len(x))
        found = dict(students(model, recipe, x, told, key))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *(found[s] for s in range(len(told))))


@functools.partial(compiled, static=("attack",))
def _answers(target: Target, attack: Knockoff, x: jax.Array) -> jax.Array:
    return attack.answers(target, x)

"""Wrong labels, so that the model errs.

References: Biggio, Nelson & Laskov 2011, "Support vector machines under adversarial label noise", PMLR 20.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import numpy as np
from pydantic import Field, model_validator

from privsec.attacks.poisoning.base import LeftOut, Poisoning, asked, points_of
from privsec.core import keys
from privsec.core.attack import Attack, Knowledge, Poison
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.core.evidence import ANY, Triggered
from privsec.core.target import Target


class LabelFlip(Poisoning):
    """A share of the labels is wrong: random other ones, or all of one class's said to be another's.

    Success is a test record that the model gets wrong (or takes for the `goal`). The null leaves the same records out
    instead of mislabeling them: what is lost by that, the attacker did not bring about.

    References: Biggio et al. 2011, PMLR 20.
    """

    name: Literal["label_flip"] = "label_flip"
    paper: ClassVar[str] = "Biggio, Nelson & Laskov 2011, https://proceedings.mlr.press/v20/biggio11.html"

    goal: int | None = Field(default=None, ge=0)
    """The label they get; for each record a random other one where absent."""

    @model_validator(mode="after")
    def _goal_is_another_class(self) -> LabelFlip:
        if self.goal is not None and self.goal == self.source:
            raise ValueError(f"source and goal are both class {self.goal}: nothing would be flipped")
        return self

    @property
    def control(self) -> Attack:
        return LeftOut(rate=self.rate, source=self.source, spared=self.goal)

    def rows(self, data: Examples, classes: int, key: jax.Array) -> np.ndarray:
        """The candidates that are the attacker's."""
        self.check_classes(classes, goal=self.goal)
        y = np.asarray(data.y)
        return self.chosen(self.of_source(y) & (y != self.goal), key)

    def tamper(self, data: Examples, knowledge: Knowledge, key: jax.Array) -> Poison:
        """The attacker's records with their wrong labels."""
        rows = self.rows(data, knowledge.num_classes, key)
        y = np.asarray(data.y)[rows]
        other = y + keys.generator(keys.derive(key, "labels")).integers(1, knowledge.num_classes, len(rows))
        flipped = other % knowledge.num_classes if self.goal is None else np.full(len(rows), self.goal)
        return Poison.of(np.asarray(data.x)[rows], flipped, rows)

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> Triggered:
        """The attacker's points as they are, all or those of the `source`."""
        del key
        points = points_of(self.title, knowledge)
        y = np.asarray(points.y)
        rows = np.flatnonzero(self.of_source(y) & (y != self.goal))
        if not len(rows):
            raise NotApplicable(f"{self.title}: none of the {len(y)} points can be taken for the goal. Give others.")
        return asked(target, np.asarray(points.x)[rows], y[rows], ANY if self.goal is None else self.goal, rows)

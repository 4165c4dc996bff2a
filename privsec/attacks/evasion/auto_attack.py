"""AutoAttack: four attacks in turn, none of which has anything to tune.

Reference: Croce & Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks", ICML, arXiv 2003.01690.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar, Literal

import jax
import numpy as np
from pydantic import Field

from privsec.attacks.evasion.apgd import APGD
from privsec.attacks.evasion.base import Evasion, Found, Points
from privsec.attacks.evasion.best import Best, nothing, untouched
from privsec.attacks.evasion.component import Component
from privsec.attacks.evasion.fab import FAB
from privsec.attacks.evasion.gradients import step_keys
from privsec.attacks.evasion.square import Square
from privsec.attacks.evasion.stages import move_on
from privsec.core.access import Access
from privsec.core.target import Target, compiled
from privsec.ops.space import Space


class AutoAttack(Evasion):
    """The yardstick of robust accuracy: APGD on two losses, FAB and Square in turn, each on what the others left.

    `standard`: APGD on cross-entropy, APGD-T and FAB-T on the nine likeliest wrong classes, Square with 5,000 queries.
    `rand`, for models that answer at random: APGD on cross-entropy and on the difference of logits ratio, gradients
    averaged over 20 draws. A point is robust only if all fail, so robust accuracy is never above that of any component.

    Only with the default `steps`, `queries`, `classes` and `draws` is a number one of AutoAttack's; with less it is an
    upper bound on that. With a goal, APGD-T and FAB-T try the goal alone; with two or three classes, where the ratio is
    not defined, it is the margin (see `ops/margins.py`).

    References: Croce & Hein 2020, arXiv 2003.01690.
    """

    name: Literal["auto_attack"] = "auto_attack"
    needs: ClassVar[Access] = Access.GRADIENTS
    paper: ClassVar[str] = "Croce & Hein 2020, arXiv 2003.01690"

    version: Literal["standard", "rand"] = "standard"
    """Which components: those for models that always answer alike, or those for models that answer at random."""
    steps: int = Field(default=100, ge=1)
    """Steps of each run of APGD and FAB."""
    queries: int = Field(default=5000, ge=1)
    """Queries of Square."""
    classes: int = Field(default=9, ge=1)
    """Wrong classes that APGD-T and FAB-T try."""
    draws: int = Field(default=20, ge=1)
    """Gradients averaged at each step where the model answers at random."""

    @property
    def components(self) -> tuple[Component, ...]:
        """The attacks in turn; each is an attack of its own."""
        common: dict[str, Any] = {"norm": self.norm, "radius": self.radius, "goal": self.goal}
        climb: dict[str, Any] = {**common, "steps": self.steps, "draws": self.draws}
        if self.version == "rand":
            return APGD(**climb, loss="ce"), APGD(**climb, loss="dlr")
        return (
            APGD(**climb, loss="ce"),
            APGD(**climb, loss="dlr_targeted", classes=self.classes),
            FAB(**climb, classes=self.classes),
            Square(**common, queries=self.queries),
        )

    def assault(self, target: Target, points: Points, space: Space) -> Found:
        return self.in_turn(target, points, space)[0]

    def in_turn(self, target: Target, points: Points, space: Space) -> tuple[Found, np.ndarray]:
        """What was found, and int [B]: which component broke each point; 0 the clean record itself, -1 none.

        After each component the broken points are dropped on the host; chunks keep their shape, so that each component
        is compiled once. Where the model answers at random, a point is broken once it wins every answer, and else
        keeps the change that won most of them.
        """
        best: Best = jax.tree.map(np.array, nothing(points))
        broken_by = np.full(len(points.y), -1)
        for number in range(len(self.components) + 1):
            self._go_on(best, number, target, points, space)
            broken_by[(best.share > 0.5) & (broken_by < 0)] = number
        return best.found, broken_by

    def perturb(self, target: Target, points: Points, space: Space) -> Found:
        best = nothing(points)
        for number in range(len(self.components) + 1):
            best = _after(target, self, points, space, best, number=number)
        return best.found

    def _go_on(self, best: Best, number: int, target: Target, points: Points, space: Space) -> None:
        """Runs one component on what is left, and writes what it found into `best`, whose leaves are on the host."""
        left = np.flatnonzero(best.share < 1)
        if len(left):
            move_on(self, target, points, space, (best,), functools.partial(_after, number=number), left)


@functools.partial(compiled, static=("attack", "number"))
def _after(target: Target, attack: AutoAttack, points: Points, space: Space, best: Best, *, number: int) -> Best:
    """What is known after component `number`; 0 looks at the clean records."""
    points = points._replace(keys=step_keys(points, number))
    if number == 0:
        return untouched(attack, target, points, space)
    return attack.components[number - 1].improved(best, target, points, space)

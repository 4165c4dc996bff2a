"""An attack that goes on from what others found: what AutoAttack is put together from."""

from __future__ import annotations

import abc

from privsec.attacks.evasion.base import Evasion, Found, Points
from privsec.attacks.evasion.best import Best, untouched
from privsec.core.target import Target
from privsec.ops.space import Space


class Component(Evasion):
    """Base of attacks that can be given what is known of each point already; alone, they begin at the clean record."""

    def perturb(self, target: Target, points: Points, space: Space) -> Found:
        return self.improved(untouched(self, target, points, space), target, points, space).found

    @abc.abstractmethod
    def improved(self, best: Best, target: Target, points: Points, space: Space) -> Best:
        """`best`, or what is better inside the ball; the points it has settled are left as they are, at no cost."""

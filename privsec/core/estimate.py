"""A number with an interval, a size and a direction. Every number shown anywhere is one of these."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

Direction = Literal["higher_is_worse", "higher_is_better", "descriptive"]


class Estimate(NamedTuple):
    """A measured value and how far to trust it.

    `value` is NaN where the figure cannot be resolved from so few records or was not computed; `note` then says why.
    """

    value: float
    low: float
    """Lower end of the 95% interval."""
    high: float
    """Upper end of the 95% interval."""
    n: int
    """How many independent units the interval rests on (see `unit_of_n` in the measure that made it)."""
    unit: str = ""
    """What the value counts: `"share"`, `"AUC"`, `"epsilon"`, `"nats"`, ..."""
    direction: Direction = "descriptive"
    """Seen by the model's owner: does a higher value mean more leakage (worse) or more utility (better)?"""
    note: str = ""

    @property
    def resolved(self) -> bool:
        """Whether there is a value at all."""
        return not math.isnan(self.value)

    def __str__(self) -> str:
        if not self.resolved:
            return self.note or "not resolved"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def unresolved(n: int, unit: str, direction: Direction, note: str) -> Estimate:
    """An Estimate without a value, and the reason."""
    return Estimate(math.nan, math.nan, math.nan, n, unit, direction, note)

"""What an attack hands over. Only `measures` sees it together with the truth."""

from __future__ import annotations

from typing import NamedTuple

from privsec.core.data import Array


class MembershipScores(NamedTuple):
    """How strongly each candidate looks like a member of each target's training set.

    Attributes:
        scores: float64 [T, N]; higher = more likely a member; NaN = this candidate was not attacked (a query budget).
        queries: model queries spent per attacked candidate and target, a mean; those on the attacker's own population,
            which serve all candidates alike, are not counted.
    """

    scores: Array
    queries: float = 1.0


class Reconstructions(NamedTuple):
    """Inputs rebuilt from the model, one for each of K prompts (a class, a person), for each of T targets.

    Attributes:
        x: float32 [T, K, ...features], inside the data's box.
        y: int32 [K], the class each one is meant to show.
        confidence: float32 [T, K]: the target's own probability of `y` at `x`.
        queries: model queries (a gradient counts as one) spent per reconstruction, a mean.
    """

    x: Array
    y: Array
    confidence: Array
    queries: float | Array


Evidence = MembershipScores | Reconstructions

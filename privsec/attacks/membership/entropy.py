"""The entropy attack: members get surer answers, whether right or wrong.

References:
    Song & Mittal 2021, "Systematic evaluation of privacy risks of machine learning models", arXiv 2003.10595.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float, Float64

from privsec.attacks.membership.threshold import PerClassThresholdAttack
from privsec.core.access import Access

SMALLEST = 1e-30
"""Entropies below it, an underflow of float32, are equal."""


class Entropy(PerClassThresholdAttack):
    """A threshold for each class on the entropy of the answer; the score is the negative of its logarithm."""

    name: Literal["entropy"] = "entropy"

    needs: ClassVar[Access] = Access.SCORES
    paper: ClassVar[str] = "Song & Mittal 2021, arXiv 2003.10595"
    signal: ClassVar[str] = "entropy"

    def score(self, signal: Float[np.ndarray, "T N"]) -> Float64[np.ndarray, "T N"]:
        return -np.log(np.maximum(signal.astype(np.float64), SMALLEST))

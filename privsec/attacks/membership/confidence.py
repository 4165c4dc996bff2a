"""The confidence attack: members get a higher probability of their own class, by the standards of that class.

References:
    Song & Mittal 2021, "Systematic evaluation of privacy risks of machine learning models", arXiv 2003.10595.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from privsec.attacks.membership.threshold import PerClassThresholdAttack
from privsec.core.access import Access


class Confidence(PerClassThresholdAttack):
    """A threshold for each class on p_y; the score is its logit, which does not saturate at 1."""

    name: Literal["confidence"] = "confidence"

    needs: ClassVar[Access] = Access.SCORES
    paper: ClassVar[str] = "Song & Mittal 2021, arXiv 2003.10595"
    signal: ClassVar[str] = "margin"

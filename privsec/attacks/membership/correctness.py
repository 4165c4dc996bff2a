"""The gap attack: a record that the model gets right is called a member.

References:
    Yeom et al. 2018, "Privacy risk in machine learning: analyzing the connection to overfitting", arXiv 1709.01604.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from privsec.attacks.membership.threshold import ThresholdAttack
from privsec.core.access import Access


class Correctness(ThresholdAttack):
    """1 where the predicted label is right, else 0; what any attack must beat that looks at more than the label."""

    name: Literal["correctness"] = "correctness"

    needs: ClassVar[Access] = Access.LABELS
    paper: ClassVar[str] = "Yeom et al. 2018, arXiv 1709.01604"
    signal: ClassVar[str] = "correct"

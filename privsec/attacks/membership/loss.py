"""The loss attack: members have a lower loss.

References:
    Yeom et al. 2018, "Privacy risk in machine learning: analyzing the connection to overfitting", arXiv 1709.01604.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from privsec.attacks.membership.threshold import ThresholdAttack
from privsec.core.access import Access


class Loss(ThresholdAttack):
    """One threshold on the cross-entropy loss; the score is log p_y."""

    name: Literal["loss"] = "loss"

    needs: ClassVar[Access] = Access.SCORES
    paper: ClassVar[str] = "Yeom et al. 2018, arXiv 1709.01604"
    signal: ClassVar[str] = "log_confidence"

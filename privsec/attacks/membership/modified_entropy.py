"""The modified-entropy attack: members get answers both sure and right, by the standards of their class.

References:
    Song & Mittal 2021, "Systematic evaluation of privacy risks of machine learning models", arXiv 2003.10595, eq. 8.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from privsec.attacks.membership.entropy import Entropy


class ModifiedEntropy(Entropy):
    """A threshold for each class on an entropy that is low only for sure and right answers."""

    name: Literal["modified_entropy"] = "modified_entropy"  # type: ignore[assignment]

    signal: ClassVar[str] = "modified_entropy"

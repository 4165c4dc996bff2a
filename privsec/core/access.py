"""What an attacker may ask of a model."""

from __future__ import annotations

import enum


class Access(enum.Flag):
    """Access levels, each containing the weaker ones; `needs in grants` is the whole check.

    `NONE < LABELS < SCORES < LOGITS < GRADIENTS < WEIGHTS`. `UPDATES` (an observer of training gradients) stands apart.

    >>> Access.SCORES in Access.WEIGHTS, Access.LOGITS in Access.SCORES
    (True, False)
    """

    NONE = 0
    LABELS = 0b000001
    SCORES = 0b000011
    LOGITS = 0b000111
    GRADIENTS = 0b001111
    WEIGHTS = 0b011111
    UPDATES = 0b100000

    @property
    def title(self) -> str:
        """The level's name as configs and tables write it.

        >>> Access.SCORES.title, (Access.SCORES | Access.UPDATES).title
        ('scores', 'scores+updates')
        """
        chain = [level for level in (*_CHAIN, Access.UPDATES) if level in self]
        strongest = [level for level in chain if not any(level in other and level != other for other in chain)]
        return "+".join(str(level.name).lower() for level in strongest) or "none"


_CHAIN = (Access.LABELS, Access.SCORES, Access.LOGITS, Access.GRADIENTS, Access.WEIGHTS)

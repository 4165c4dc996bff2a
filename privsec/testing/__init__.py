"""The conformance exam, for whoever adds an attack, a defense, a data set or a net: one line of pytest each.

>>> from privsec.defenses.outputs.rounding import Rounding
>>> from privsec.testing import examine_defense
>>> examine_defense(Rounding(decimals=2))
"""

from privsec.testing.exam_attack import ATTACK_CHECKS, examine_attack
from privsec.testing.exam_defense import DEFENSE_CHECKS, examine_defense
from privsec.testing.exam_net import NET_CHECKS, examine_net
from privsec.testing.exam_source import SOURCE_CHECKS, examine_source

__all__ = [
    "ATTACK_CHECKS",
    "DEFENSE_CHECKS",
    "NET_CHECKS",
    "SOURCE_CHECKS",
    "examine_attack",
    "examine_defense",
    "examine_net",
    "examine_source",
]

"""Where an attack is examined: for each question, a world in which success is certain and one in which there is none.

A family without a line here is examined by whoever adds the line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from privsec.core.attack import Attack, Knowledge
from privsec.core.evidence import Evidence
from privsec.core.target import Target
from privsec.testing import (
    toy,
    toy_amplification,
    toy_attributes,
    toy_evasion,
    toy_extraction,
    toy_gradients,
    toy_informed,
    toy_poisoning,
    toy_reprogramming,
)
from privsec.testing.toy import Gain


class World(Protocol):
    """Models under attack, what an attacker may know, and the truth."""

    @property
    def bank(self) -> Target:
        """The models under attack, stacked."""
        ...

    @property
    def knowledge(self) -> Knowledge:
        """Every part of Knowledge that there is."""
        ...

    def known(self, attack: Attack, without: Iterable[str] = ()) -> Knowledge:
        """The parts of Knowledge that `attack` declares, less those named."""
        ...

    def gains(self, evidence: Evidence) -> Mapping[str, Gain]:
        """What the evidence is worth; the first of them is what power is judged by."""
        ...


class Worlds(NamedTuple):
    """Two worlds, which may depend on the attack's settings."""

    certain: Callable[[Attack], World]
    impossible: Callable[[Attack], World]


WORLDS: Mapping[str, Worlds] = {
    "membership": Worlds(lambda _: toy.leaking(), lambda _: toy.unrelated()),
    "inversion": Worlds(lambda _: toy.leaking(), lambda _: toy.unrelated()),
    "evasion": Worlds(toy_evasion.fooled, toy_evasion.immune),
    "poisoning": Worlds(toy_poisoning.poisoned, toy_poisoning.spared),
    "amplified": Worlds(toy_amplification.poisoned, toy_amplification.spared),
    "reprogramming": Worlds(toy_reprogramming.hijackable, toy_reprogramming.unrelated),
    "extraction": Worlds(toy_extraction.copyable, toy_extraction.unlearnable),
    "updates": Worlds(toy_gradients.observed, toy_gradients.others),
    "watched": Worlds(toy_informed.watched, toy_informed.elsewhere),
    "hidden": Worlds(toy_attributes.telling, toy_attributes.silent),
}
"""By what is asked: the family; `hidden`, `updates` or `watched` for inversion of an attribute, of a gradient, or among
the candidates of a watched training; `amplified` for membership asked after poisoning."""


def question(attack: Attack) -> str:
    """Which line of WORLDS an attack belongs to."""
    if {"updates", "candidates"} <= attack.requires:
        return "watched"
    if attack.tampers and "points" not in attack.requires:
        return "amplified"
    return next((part for part in ("hidden", "updates") if part in attack.requires), attack.family)


def certain(attack: Attack) -> World:
    """The world in which this attack must succeed."""
    return WORLDS[question(attack)].certain(attack)


def impossible(attack: Attack) -> World:
    """The world in which this attack must not."""
    return WORLDS[question(attack)].impossible(attack)

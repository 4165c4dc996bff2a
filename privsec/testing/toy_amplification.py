"""A world in which wrong copies of a record make its membership visible, and one in which there are no such copies.

The records are those of the exam of poisoning, and the models are trained in earnest, too briefly to tell who was there
without help. Where nothing can be gained, models and references were spared the poison, and so were those that
they are held against, from other random numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

from privsec.core import keys
from privsec.core.attack import Attack, Knowledge
from privsec.core.data import Examples
from privsec.core.evidence import Evidence, MembershipScores
from privsec.core.target import Target
from privsec.measures import amplification
from privsec.measures.intervals import cluster_mean
from privsec.testing import toy
from privsec.testing.toy import Gain
from privsec.testing.toy_poisoning import CLASSES, SHAPE, declared, halves, records, trained

CANDIDATES = 240
MODELS = 12


@dataclass(frozen=True)
class AmplificationWorld:
    """Models, who was trained on what, and the models that success is held against.

    Attributes:
        bank: the models under attack, which are each other's references.
        knowledge: every part of it.
        control: the models that were spared the poison.
        attack: who is examined.
    """

    bank: Target
    knowledge: Knowledge
    control: Target
    attack: Attack

    def known(self, attack: Attack, without: Iterable[str] = ()) -> Knowledge:
        """The parts of Knowledge that `attack` declares, less those named."""
        return declared(self.knowledge, self.bank, attack, without)

    def gains(self, evidence: Evidence) -> Mapping[str, Gain]:
        """What the attacker gains in AUC and in TPR over itself without the poison, tested over pairs."""
        assert isinstance(evidence, MembershipScores)
        spared = replace(self, bank=self.control)
        null = toy.run(self.attack, self.control.restrict(self.attack.needs), spared.known(self.attack))
        assert isinstance(null, MembershipScores) and self.knowledge.included is not None
        found = amplification.measure(evidence, null, np.asarray(self.knowledge.included))
        pairs = np.arange(MODELS) // 2
        gained = {"advantage": found["advantage"], "AUC": found["auc"] - found["unpoisoned_auc"]}
        means = {name: cluster_mean(values, pairs) for name, values in gained.items()}
        return {name: Gain(mean.value, mean.p_value) for name, mean in means.items()}


@functools.lru_cache(maxsize=4)
def poisoned(attack: Attack) -> AmplificationWorld:
    """The world with the copies."""
    data, include = _candidates(), _include()
    poison = attack.tamper(data, _knowledge(), keys.derive(keys.root(2), "tamper"))
    bank = trained(data, include, poison, "target")
    return AmplificationWorld(bank, _knowledge(), _clean("target"), attack)


def spared(attack: Attack) -> AmplificationWorld:
    """The world without."""
    return AmplificationWorld(_clean("target"), _knowledge(), _clean("other"), attack)


@functools.cache
def _knowledge() -> Knowledge:
    pair = np.arange(MODELS) // 2
    return Knowledge(
        num_classes=CLASSES,
        candidates=_candidates(),
        references=_clean("target"),
        included=_include(),
        usable=pair[:, None] != pair,
        box=(jnp.zeros(SHAPE), jnp.ones(SHAPE)),
    )


@functools.cache
def _clean(name: str) -> Target:
    return trained(_candidates(), _include(), None, name)


@functools.cache
def _candidates() -> Examples:
    return records(CANDIDATES, 4)


@functools.cache
def _include() -> np.ndarray:
    return halves(MODELS, CANDIDATES, 5)

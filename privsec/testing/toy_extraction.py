"""A world in which a model can be copied for certain, and one in which there is nothing to be learnt from its answers.

The models are next to linear (certain), or answer by a function that oscillates so fast that answers to some records
say nothing of the next one (impossible). The attacker's own labels are coins: a student who never asked learns nothing
of either. Nothing is trained but the students.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.attack import Attack, Knowledge
from privsec.core.data import Examples
from privsec.core.evidence import Evidence, StolenModel
from privsec.core.recipe import Model, Params
from privsec.core.target import Target
from privsec.measures import extraction
from privsec.testing.toy import Gain

FEATURES = 4
CLASSES = 3
RECORDS = 300
MODELS = 2
SURE = 10.0
SLOW, FAST = 0.3, 500.0
"""Frequency of the answers: next to linear in the box, or beyond all learning."""


@dataclass(frozen=True)
class ExtractionWorld:
    """Models, the attacker's records, and others on which copies are compared.

    Attributes:
        bank: the models.
        knowledge: the attacker's own records.
        test: others.
    """

    bank: Target
    knowledge: Knowledge
    test: Examples

    def known(self, attack: Attack, without: Iterable[str] = ()) -> Knowledge:
        """The parts of Knowledge that `attack` declares, less those named."""
        population = self.knowledge.population if "population" in attack.requires - set(without) else None
        return Knowledge(num_classes=CLASSES, box=self.knowledge.box, population=population)

    def gains(self, evidence: Evidence) -> Mapping[str, Gain]:
        """The advantage in fidelity over students who never asked, tested by its interval over records."""
        assert isinstance(evidence, StolenModel)
        x = jnp.asarray(self.test.x)

        def labels(students: Params) -> np.ndarray:
            each = jax.vmap(jax.vmap(lambda params: evidence.model.apply(params, x)))(students)
            return np.argmax(np.asarray(each), axis=-1)

        student = labels(evidence.params)
        truth = extraction.ExtractionTruth(
            y=np.asarray(self.test.y),
            victim=np.asarray(self.bank[: len(student)].labels(x)),
            student=student,
            null=labels(evidence.null),
        )
        return {"advantage": Gain.of(extraction.estimates(extraction.measure(evidence, truth))["advantage"])}


def copyable(_: Attack) -> ExtractionWorld:
    """The world of linear models."""
    return _world(SLOW)


def unlearnable(_: Attack) -> ExtractionWorld:
    """The world of models whose answers say nothing of their next ones."""
    return _world(FAST)


@functools.cache
def _world(frequency: float) -> ExtractionWorld:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(FEATURES, CLASSES)) + 0.02 * rng.normal(size=(MODELS, FEATURES, CLASSES))
    bank = {"weights": jnp.asarray(weights, jnp.float32), "frequency": jnp.full(MODELS, frequency, jnp.float32)}

    def records() -> Examples:
        x = rng.uniform(size=(RECORDS, FEATURES)).astype(np.float32)
        return Examples(x, rng.integers(0, CLASSES, RECORDS).astype(np.int32))

    box = (jnp.zeros(FEATURES), jnp.ones(FEATURES))
    knowledge = Knowledge(num_classes=CLASSES, box=box, population=records())
    return ExtractionWorld(Target.of(wave_model(), bank), knowledge, records())


@functools.cache
def wave_model() -> Model:
    """logits(x) = SURE * sin(frequency * (x - 1/2) @ weights)."""

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return SURE * jnp.sin(params["frequency"] * ((x - 0.5) @ params["weights"]))

    def init(key: jax.Array) -> Params:
        return {"weights": jax.random.normal(key, (FEATURES, CLASSES)), "frequency": jnp.ones(())}

    return Model(init=init, apply=apply, num_classes=CLASSES, shape=(FEATURES,))

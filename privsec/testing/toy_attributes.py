"""A world in which a model gives a hidden attribute away, and one whose model does not look at it.

The label is a secret function of the rest of the record, negated where the attribute is 1 (certain), or that function
alone (impossible): it oscillates too fast to be learnt from a few records, so there is nothing to impute, and the model
knows it exactly. Nothing is trained.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.attack import Attack, Hidden, Knowledge
from privsec.core.data import Attribute, Examples
from privsec.core.estimate import Estimate
from privsec.core.evidence import Evidence, Predictions
from privsec.core.recipe import Model, Params
from privsec.core.target import Target
from privsec.measures import attributes
from privsec.measures.advantage import over_points
from privsec.testing.toy import Gain

FEATURES = 5
"""The last one is the attribute, 0 or 1."""
RECORDS, POPULATION = 300, 300
MODELS = 2
FREQUENCY = 40.0
SURE = 4.0
"""The margin of every answer."""


@dataclass(frozen=True)
class AttributeWorld:
    """Models, records of which an attribute is hidden, and the attribute.

    Attributes:
        bank: the models.
        knowledge: the records, the attribute's column zero, and the attacker's own records.
        values: the hidden ones.
    """

    bank: Target
    knowledge: Knowledge
    values: np.ndarray

    def known(self, attack: Attack, without: Iterable[str] = ()) -> Knowledge:
        """The parts of Knowledge that `attack` declares, less those named."""
        parts, given = attack.requires - set(without), self.knowledge
        return Knowledge(
            num_classes=2,
            box=given.box,
            hidden=given.hidden if "hidden" in parts else None,
            population=given.population if "population" in parts else None,
        )

    def gains(self, evidence: Evidence) -> Mapping[str, Gain]:
        """What the surest guesses gain over imputation, tested by the interval over records."""
        assert isinstance(evidence, Predictions)
        member = np.zeros((len(evidence.scores), len(self.values)), bool)
        found = attributes.measure(evidence, attributes.AttributeTruth(self.values, member))
        ppv, null = (float(np.mean(found[name])) for name in ("ppv", "ppv_imputed"))
        judged = round(attributes.SUREST * len(self.values))
        ends = over_points(ppv, null, judged)
        return {"advantage": Gain.of(Estimate(float(np.mean(found["advantage"])), *ends, judged))}


def telling(_: Attack) -> AttributeWorld:
    """The world whose models depend on the attribute."""
    return _world(1.0)


def silent(_: Attack) -> AttributeWorld:
    """The world whose models do not."""
    return _world(0.0)


@functools.cache
def _world(depends: float) -> AttributeWorld:
    rng = np.random.default_rng(0)
    model = secret_model()
    secret = np.append(rng.normal(size=FEATURES - 1), 0.0)
    params = {
        "secret": jnp.asarray(np.tile(secret, (MODELS, 1)), jnp.float32),
        "depends": jnp.asarray(np.full(MODELS, depends), jnp.float32),
        "sure": jnp.asarray(SURE + 0.1 * rng.normal(size=MODELS), jnp.float32),
    }
    bank = Target.of(model, params)

    def records(size: int) -> Examples:
        x = np.append(rng.uniform(size=(size, FEATURES - 1)), rng.integers(0, 2, (size, 1)), axis=1).astype(np.float32)
        return Examples(x, np.asarray(bank[0].labels(x), np.int32))

    attribute = Attribute(np.array([FEATURES - 1]), np.array([[0.0], [1.0]], np.float32), ("no", "yes"))
    given, population = records(RECORDS), records(POPULATION)
    hidden = np.array(given.x)
    hidden[:, -1] = 0
    return AttributeWorld(
        bank=bank,
        knowledge=Knowledge(
            num_classes=2,
            population=population,
            hidden=Hidden(attribute, Examples(hidden, given.y)),
            box=(jnp.zeros(FEATURES), jnp.ones(FEATURES)),
        ),
        values=np.asarray(given.x)[:, -1].astype(np.int64),
    )


@functools.cache
def secret_model() -> Model:
    """The margin of class 1 is `sure * sign(sin(FREQUENCY <x, secret>))`, negated where the attribute is 1."""

    def apply(params: Params, x: jax.Array) -> jax.Array:
        side = jnp.sign(jnp.sin(FREQUENCY * (x @ params["secret"])))
        margin = params["sure"] * side * (1 - 2 * params["depends"] * x[:, -1])
        return jnp.stack([-margin / 2, margin / 2], axis=1)

    def init(key: jax.Array) -> Params:
        return {"secret": jax.random.normal(key, (FEATURES,)), "depends": jnp.zeros(()), "sure": jnp.ones(())}

    return Model(init=init, apply=apply, num_classes=2, shape=(FEATURES,))

"""A world in which leakage is certain: models that store their training records, and everything an attacker may know.

A toy model adds, to a weak opinion that all models share but for noise, one bump of the record's label round each
record it was "trained" on. Labels are chosen against that opinion, so a record is classified rightly where it was
stored and wrongly elsewhere, and the input that a model is surest of lies at the records it stored. Nothing is trained.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from privsec.core.attack import Attack, Knowledge
from privsec.core.data import Examples
from privsec.core.estimate import Estimate
from privsec.core.evidence import Evidence, MembershipScores, Reconstructions
from privsec.core.recipe import Model, Params
from privsec.core.target import Target
from privsec.measures import inversion, membership
from privsec.measures.intervals import cluster_mean

SHAPE = (6, 6, 1)
CLASSES = 10
CANDIDATES = 200
POPULATION = 200
MODELS = 12
WIDTH = 0.65
"""Standard deviation of a bump: at the box's center, half way between records, there is still a slope to follow."""
HEIGHT = 8.0
"""What a stored record adds to the logit of its label."""
LEARNED = (0.2, 0.6)
"""Which share of that it adds at the checkpoints."""


class Gain(NamedTuple):
    """What an attack gained over its null, and the p-value of "nothing"."""

    value: float
    p_value: float

    @classmethod
    def of(cls, estimate: Estimate) -> Gain:
        """The p-value that goes with a 95% interval, whose lower part stands for 1.96 standard errors."""
        half = estimate.value - estimate.low
        return cls(estimate.value, float(2 * ndtr(-1.96 * abs(estimate.value) / half)) if half > 0 else 1.0)

    @classmethod
    def of_the_impossible(cls, value: float) -> Gain:
        """Where no guess ever succeeds, a single success proves that there was something."""
        return cls(value, 0.0 if value > 0 else 1.0)


@dataclass(frozen=True)
class Toy:
    """A bank of models, who was trained on what, and the attacker's view of it.

    Attributes:
        bank: M models, complementary pairs, and what they were at two checkpoints.
        member: bool [M, N], the truth.
        knowledge: every part of Knowledge; references are the bank, each target without itself and its twin.
        evaluators: two models that stored every candidate.
    """

    bank: Target
    member: np.ndarray
    knowledge: Knowledge
    evaluators: Target

    def known(self, attack: Attack, without: Iterable[str] = ()) -> Knowledge:
        """The parts of Knowledge that `attack` declares, less those named."""
        parts = attack.requires - set(without)
        shares = "references" in parts
        return replace(
            self.knowledge,
            candidates=self.knowledge.candidates if "candidates" in parts else None,
            population=self.knowledge.population if "population" in parts else None,
            references=self.bank.restrict(attack.needs) if shares else None,
            included=self.knowledge.included if shares else None,
            usable=self.knowledge.usable if shares else None,
        )

    def run(self, attack: Attack) -> Evidence:
        """The attack's evidence on the whole bank, behind the access it declares."""
        return run(attack, self.bank.restrict(attack.needs), self.known(attack))

    def gains(self, evidence: Evidence) -> Mapping[str, Gain]:
        """The advantage, and for membership the AUC rescaled; the first is what power is judged by.

        A query budget may leave too few records for a low false-positive rate, and hence for an advantage.
        """
        values, found = self.judge(evidence), {}
        pairs = np.arange(len(values["advantage"])) // 2
        if not np.isnan(values["advantage"]).any():
            found["advantage"] = cluster_mean(values["advantage"], pairs)
        if "auc" in values:
            found["AUC"] = cluster_mean(2 * values["auc"] - 1, pairs)
        return {name: Gain(mean.value, mean.p_value) for name, mean in found.items()}

    def judge(self, evidence: Evidence) -> dict[str, np.ndarray]:
        """The family's measures, values [T]."""
        if isinstance(evidence, MembershipScores):
            return membership.measure(evidence, self.member)
        assert isinstance(evidence, Reconstructions)
        count, prompts = evidence.x.shape[:2]
        assert self.knowledge.candidates is not None
        x, y = (np.asarray(part) for part in self.knowledge.candidates)
        of_class = np.asarray(evidence.y)
        means = np.stack([x[y == label].mean(axis=0) for label in of_class])
        calls = np.asarray(self.evaluators.labels(jnp.asarray(evidence.x).reshape(-1, *SHAPE)))
        truth = inversion.InversionTruth(
            x=x,
            y=y,
            member=self.member[:count],
            labels=calls.reshape(-1, count, prompts),
            class_means=means,
            class_mean_labels=np.asarray(self.evaluators.labels(jnp.asarray(means))),
        )
        return inversion.measure(evidence._replace(x=np.asarray(evidence.x), y=of_class), truth)


def key() -> jax.Array:
    """The key of every attack in an exam."""
    return jax.random.key(1)


def run(attack: Attack, target: Target, known: Knowledge) -> Evidence:
    """The attack's evidence as a runner gets it: compiled where the attack is traceable."""
    return _compiled(attack, target, known, key()) if attack.traceable else attack.run(target, known, key())


@functools.partial(jax.jit, static_argnums=0)
def _compiled(attack: Attack, target: Target, known: Knowledge, key: jax.Array) -> Evidence:
    return attack.run(target, known, key)


@functools.cache
def leaking() -> Toy:
    """The world in which `included` is the truth."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(int(np.prod(SHAPE)), CLASSES)) / 2
    candidates, population = (_records(rng, base, size) for size in (CANDIDATES, POPULATION))
    member = _pairs(rng)
    model = memorizing_model(candidates)
    usable = np.arange(MODELS)[:, None] // 2 != np.arange(MODELS) // 2
    params = _stored(rng, base, member)
    everything = _stored(rng, base, np.ones((2, CANDIDATES), bool))
    history = [_stored(rng, base, learned * member) for learned in LEARNED]
    bank = Target.of(model, params, jax.random.split(jax.random.key(0), MODELS), checkpoints=history)
    return Toy(
        bank=bank,
        member=member,
        knowledge=Knowledge(
            num_classes=CLASSES,
            candidates=candidates,
            population=population,
            references=bank,
            included=member,
            usable=usable,
            box=(jnp.zeros(SHAPE), jnp.ones(SHAPE)),
        ),
        evaluators=Target.of(model, everything, jax.random.split(jax.random.key(0), 2)),
    )


@functools.cache
def unrelated() -> Toy:
    """The same models in a world whose membership has nothing to do with what they stored.

    Both the attacker's `included` and the truth are drawn anew: an attack finds something only by reading the answer.
    """
    toy = leaking()
    member = _pairs(np.random.default_rng(1))
    return replace(toy, member=member, knowledge=replace(toy.knowledge, included=member))


def memorizing_model(candidates: Examples) -> Model:
    """logits(x) = opinion(x) + sum_n strength_n exp(-|x - x_n|^2 / 2 w^2) onehot(y_n)."""
    stored = jnp.reshape(jnp.asarray(candidates.x), (CANDIDATES, -1))
    labels = jax.nn.one_hot(jnp.asarray(candidates.y), CLASSES)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        x = jnp.reshape(x, (len(x), -1))
        squares = jnp.sum(x**2, 1)[:, None] + jnp.sum(stored**2, 1) - 2 * x @ stored.T
        bumps = jnp.exp(-jnp.maximum(squares, 0.0) / (2 * WIDTH**2))
        return (x - 0.5) @ params["base"] + (bumps * params["strength"]) @ labels

    def init(key: jax.Array) -> Params:
        return {"base": jax.random.normal(key, (stored.shape[1], CLASSES)), "strength": jnp.zeros(CANDIDATES)}

    return Model(init=init, apply=apply, num_classes=CLASSES, shape=SHAPE)


def _records(rng: np.random.Generator, base: np.ndarray, size: int) -> Examples:
    """Records uniform in the box, labelled as the shared opinion holds least likely (one of its five last)."""
    x = rng.uniform(size=(size, *SHAPE)).astype(np.float32)
    order = np.argsort((x.reshape(size, -1) - 0.5) @ base, axis=1)
    return Examples(x, order[np.arange(size), rng.integers(0, CLASSES // 2, size)].astype(np.int32))


def _pairs(rng: np.random.Generator) -> np.ndarray:
    """Bool [M, N]: exact random halves, rows 2p and 2p + 1 complements."""
    halves = rng.permuted(np.tile(np.arange(CANDIDATES) % 2 == 0, (MODELS // 2, 1)), axis=1)
    return np.stack([halves, ~halves], axis=1).reshape(MODELS, CANDIDATES)


def _stored(rng: np.random.Generator, base: np.ndarray, stored: np.ndarray) -> Params:
    """Parameters [M] of models that hold each record in a share `stored` [M, N]."""
    models = len(stored)
    opinion = base + 0.05 * rng.normal(size=(models, *base.shape))
    strength = stored * (HEIGHT + rng.normal(size=stored.shape))
    return {"base": jnp.asarray(opinion, jnp.float32), "strength": jnp.asarray(strength, jnp.float32)}

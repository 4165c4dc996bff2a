"""A world in which models are trained on what an attacker left among their records, and one in which they were not.

Classes are the bright quadrant of a small picture; a few hundred records and a perceptron, trained in earnest. What an
attacker gained is counted over the same models trained without the poison. In the world where nothing can be gained,
the models under attack are such ones too, from other random numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

from privsec.core import keys
from privsec.core.attack import Attack, Knowledge, Poison
from privsec.core.data import Examples
from privsec.core.evidence import Evidence, Triggered
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.measures.advantage import advantage
from privsec.measures.intervals import cluster_mean
from privsec.measures.outcomes import wins
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.testing.exam import require
from privsec.testing.toy import Gain
from privsec.training.many import train_stack
from privsec.training.standard import Training

SHAPE = (6, 6, 1)
CLASSES = 4
CANDIDATES, POINTS, POPULATION = 400, 60, 60
MODELS = 4
NOISE = 0.4
"""Standard deviation of a pixel; the quadrants differ by 0.3."""
TRAINING = Training(learning_rate=3e-3, batch_size=25, epochs=40)
NAMES = tuple(f"pixel {number}" for number in range(36))


@dataclass(frozen=True)
class PoisoningWorld:
    """Models, what an attacker may know, and the models that its success is held against.

    Attributes:
        bank: the models under attack.
        knowledge: every part of it; references are clean models.
        control: the models that were spared the poison.
    """

    bank: Target
    knowledge: Knowledge
    control: Target

    def known(self, attack: Attack, without: Iterable[str] = ()) -> Knowledge:
        """The parts of Knowledge that `attack` declares, less those named."""
        return declared(self.knowledge, self.bank, attack, without)

    def gains(self, evidence: Evidence) -> Mapping[str, Gain]:
        """What the models do for the attacker that the spared ones do not, tested over the records asked about."""
        assert isinstance(evidence, Triggered)
        x = np.asarray(evidence.x)
        won, null = (wins(called(models, x), evidence, None) for models in (self.bank, self.control))
        count = x.shape[1]
        value = float(advantage(won.mean(axis=1), null.mean(axis=1), count).mean())
        mean = cluster_mean((won.astype(float) - null).ravel(), np.asarray(evidence.rows).ravel())
        return {"advantage": Gain(value, mean.p_value)}


def declared(given: Knowledge, bank: Target, attack: Attack, without: Iterable[str]) -> Knowledge:
    """The parts of Knowledge that `attack` declares, less those named; its references are the bank's models."""
    parts = attack.requires - set(without)
    shares = "references" in parts
    return replace(
        given,
        candidates=given.candidates if "candidates" in parts else None,
        population=given.population if "population" in parts else None,
        points=given.points if "points" in parts else None,
        references=bank.restrict(attack.needs) if shares else None,
        included=given.included if shares else None,
        usable=given.usable if shares else None,
    )


def halves(models: int, candidates: int, seed: int) -> np.ndarray:
    """Who is trained on what, bool [M, N]: a random half of the candidates, and for the twin the others."""
    rng = np.random.default_rng(seed)
    drawn = rng.permuted(np.tile(np.arange(candidates) % 2 == 0, (models // 2, 1)), axis=1)
    return np.stack([drawn, ~drawn], axis=1).reshape(models, candidates)


def called(models: Target, x: np.ndarray) -> np.ndarray:
    """What each of T models calls its own records [T, N, ...]."""
    return np.stack([np.asarray(models[t].labels(jnp.asarray(own))) for t, own in enumerate(x)])


@functools.lru_cache(maxsize=8)
def poisoned(attack: Attack) -> PoisoningWorld:
    """The world in which the attacker was there before the training."""
    world = spared(attack)
    data, include, known = _candidates(), _include(), world.knowledge
    poison = attack.tamper(data, known, keys.derive(keys.root(2), "tamper"))
    require(poison is not None, "`tamper` gives None: an attack with `tampers = True` plants something")
    bank = trained(data, include, poison, "target")
    lesser = attack.control
    harmless = lesser.tamper(data, known, keys.derive(keys.root(2), "control")) if lesser else None
    return replace(world, bank=bank, control=trained(data, include, harmless, "target"))


def spared(_: Attack) -> PoisoningWorld:
    """The world in which nobody was."""
    return _spared()


@functools.cache
def _spared() -> PoisoningWorld:
    data, include = _candidates(), _include()
    clean = trained(data, include, None, "target")
    pair = np.arange(MODELS) // 2
    knowledge = Knowledge(
        num_classes=CLASSES,
        candidates=data,
        population=records(POPULATION, 1),
        points=records(POINTS, 2),
        references=clean,
        included=include,
        usable=pair[:, None] != pair,
        box=(jnp.zeros(SHAPE), jnp.ones(SHAPE)),
    )
    return PoisoningWorld(clean, knowledge, trained(data, include, None, "other"))


def trained(data: Examples, include: np.ndarray, poison: Poison | None, name: str) -> Target:
    """One model for each row of `include` [M, N], on its records with the poison in their place or beside them.

    A record that is left out is replaced by another of the model's own, so that all train on as many.
    """
    rows = [_given(data, row, m // 2, poison) for m, row in enumerate(include)]
    x, y = (np.stack(parts) for parts in zip(*rows, strict=True))
    count = len(y[0])
    own = np.repeat(np.eye(len(y), dtype=bool), count, axis=1)
    recipe = TRAINING.recipe(count)
    flat = Examples(x.reshape(-1, *SHAPE), y.reshape(-1))
    return Target.of(toy_model(), train_stack(toy_model(), recipe, flat, own, keys.derive(keys.root(1), name)))


def _given(data: Examples, row: np.ndarray, pair: int, poison: Poison | None) -> tuple[np.ndarray, np.ndarray]:
    """The records of one model of a pair."""
    x, y = np.asarray(data.x)[row], np.asarray(data.y)[row]
    if poison is None:
        return x, y
    place = np.cumsum(row) - 1
    added = []
    for a, (instead, meant) in enumerate(zip(poison.replaces, poison.pair, strict=True)):
        if meant not in (-1, pair) or (instead >= 0 and not row[instead]):
            continue
        if instead < 0:
            added.append(a)
        elif poison.counts[a]:
            x[place[instead]], y[place[instead]] = poison.x[a], poison.y[a]
        else:
            other = (place[instead] + 1) % len(y)
            x[place[instead]], y[place[instead]] = x[other], y[other]
    extra = np.array(added, int)
    return np.concatenate([x, np.asarray(poison.x)[extra]]), np.concatenate([y, np.asarray(poison.y)[extra]])


def records(count: int, seed: int) -> Examples:
    """Pictures of which one quadrant is brighter than the others: their class."""
    rng = np.random.default_rng(seed)
    y = (np.arange(count) % CLASSES).astype(np.int32)
    bright = np.zeros((count, 2, 2))
    bright[np.arange(count), y // 2, y % 2] = 1
    quadrants = bright.repeat(3, axis=1).repeat(3, axis=2)
    x = np.clip(0.35 + 0.3 * quadrants + NOISE * rng.normal(size=quadrants.shape), 0, 1)
    return Examples(x.astype(np.float32)[..., None], y)


@functools.cache
def _candidates() -> Examples:
    return records(CANDIDATES, 0)


@functools.cache
def _include() -> np.ndarray:
    return halves(MODELS, CANDIDATES, 3)


@functools.cache
def toy_model() -> Model:
    """The perceptron."""
    return model_of(MLP(hidden=(32,)), SHAPE, CLASSES)

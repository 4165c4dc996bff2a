"""A world in which fooling a model is certain, and one in which it is impossible: the same models, other points.

A toy model is linear: one direction of +-1 a class, any two of which differ in half of the features. Points lie at the
middle of the box, moved so far towards their class that the boundaries to all others are 0.4 radii away, or 2. A tenth
of them carries a wrong label, which no attack may take for its own success. Nothing is trained.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.attack import Attack, Knowledge
from privsec.core.data import Examples
from privsec.core.evidence import Evidence, Perturbed
from privsec.core.recipe import Model, Params
from privsec.core.target import Target
from privsec.measures import evasion
from privsec.ops.ascend import Norm
from privsec.targets.host import from_callable
from privsec.testing.toy import Gain

if TYPE_CHECKING:
    from privsec.attacks.evasion.base import Evasion

SHAPE = (6, 6, 1)
FEATURES = 36
CLASSES = 4
POINTS, POPULATION = 40, 200
MODELS = 4
"""Two are attacked; the others are what an attacker may have trained of its own."""
NEAR, FAR = 0.4, 2.0
"""Distance of the points from the nearest boundary, in radii."""
MARGIN = 4.0
"""By how much the logit of a near point's class exceeds the others."""
NOISES = 3


@dataclass(frozen=True)
class EvasionWorld:
    """Models, points, and the attacker's view of both.

    Attributes:
        bank: the two models under attack.
        knowledge: every part of it that an evasion attack may declare; references are these two and two more.
        norm: of the ball that counts.
        radius: of it.
        bounded: whether the attack promises to stay within it.
    """

    bank: Target
    knowledge: Knowledge
    norm: Norm
    radius: float
    bounded: bool

    def known(self, attack: Attack, without: Iterable[str] = ()) -> Knowledge:
        """The parts of Knowledge that `attack` declares, less those named."""
        parts = attack.requires - set(without)
        shares, given = "references" in parts, self.knowledge
        return Knowledge(
            num_classes=CLASSES,
            box=given.box,
            points=given.points if "points" in parts else None,
            population=given.population if "population" in parts else None,
            candidates=given.candidates if "candidates" in parts else None,
            references=given.references.restrict(attack.needs) if shares and given.references else None,
            included=given.included if shares else None,
            usable=given.usable if shares else None,
        )

    def judge(self, evidence: Evidence) -> dict[str, np.ndarray]:
        """The family's measures, values [T]."""
        assert isinstance(evidence, Perturbed)
        return evasion.measure(evidence, self.truth(evidence))

    def gains(self, evidence: Evidence) -> Mapping[str, Gain]:
        """The attack's advantage: nothing but a boundary within the radius brings one."""
        return {"advantage": Gain.of_the_impossible(float(self.judge(evidence)["advantage"].mean()))}

    def truth(self, evidence: Perturbed) -> evasion.EvasionTruth:
        """The models' answers, asked for again."""
        assert self.knowledge.points is not None and self.knowledge.box is not None
        x = np.asarray(self.knowledge.points.x)[np.asarray(evidence.rows)]
        low, high = (np.asarray(end) for end in self.knowledge.box)
        rng = np.random.default_rng(2)
        towards = np.sign(rng.normal(size=(NOISES, *x.shape)))
        size = self.radius if self.norm == "linf" else self.radius / FEATURES**0.5
        noisy = np.clip(x + size * towards, low, high).astype(np.float32)
        count = len(evidence.x)

        def called(images: np.ndarray) -> np.ndarray:
            return np.stack([np.asarray(self.bank[t].labels(jnp.asarray(images[t]))) for t in range(count)])

        def all_called(images: np.ndarray) -> np.ndarray:
            return called(np.broadcast_to(images, (count, *images.shape)))

        return evasion.EvasionTruth(
            x=x,
            called_clean=all_called(x),
            called=called(np.asarray(evidence.x))[None],
            called_noise=np.stack([all_called(images) for images in noisy]),
            norm=self.norm,
            radius=self.radius,
            low=low,
            high=high,
        )

    def metered(self) -> Target:
        """The first model outside of JAX, where every question is counted."""
        weights = np.asarray(self.bank[0]._params["directions"])

        def predict(x: np.ndarray) -> np.ndarray:
            return x.reshape(len(x), -1) @ weights

        def pull_back(x: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
            return (cotangent @ weights.T).reshape(x.shape)

        return from_callable(predict, num_classes=CLASSES, shape=SHAPE, answers="logits", pull_back=pull_back)


def fooled(attack: Attack) -> EvasionWorld:
    """The world in which every point is next to a boundary."""
    return _of(attack, NEAR)


def immune(attack: Attack) -> EvasionWorld:
    """The world in which no point has a boundary within the radius."""
    return _of(attack, FAR)


def _of(attack: Attack, far: float) -> EvasionWorld:
    evader = cast("Evasion", attack)
    return _world(evader.norm, evader.radius, evader.bounded, far)


@functools.cache
def _world(norm: Norm, radius: float, bounded: bool, far: float) -> EvasionWorld:
    rng = np.random.default_rng(0)
    directions = _directions()
    # Two directions differ by 2 in 18 of 36 features: a point moved by a along its own has margin 36 a, and moving
    # every feature by a, or by a * 36 / sqrt(72) in all, undoes it.
    unit = radius if norm == "linf" else radius * np.sqrt(72) / FEATURES
    width = max(1.0, 2.5 * FAR * unit)

    def records(count: int, far: float) -> Examples:
        y = np.arange(count) % CLASSES
        moved = far * unit * (directions.T[y] + rng.uniform(-0.2, 0.2, (count, FEATURES)))
        return Examples((width / 2 + moved).astype(np.float32).reshape(count, *SHAPE), y.astype(np.int32))

    points, population = records(POINTS, far), records(POPULATION, FAR)
    wrong = np.arange(POINTS) % 10 == 9
    points = points._replace(y=np.where(wrong, (points.y + 1) % CLASSES, points.y).astype(np.int32))
    scale = MARGIN / (FEATURES * NEAR * unit)
    own = scale * (directions + 0.02 * rng.normal(size=(MODELS, *directions.shape)))
    own -= own.mean(axis=1, keepdims=True)  # the middle of the box is nobody's
    models = Target.of(linear_model(), {"directions": jnp.asarray(own, jnp.float32)})
    knowledge = Knowledge(
        num_classes=CLASSES,
        box=(jnp.zeros(SHAPE), jnp.full(SHAPE, width)),
        points=points,
        population=population,
        candidates=population,
        references=models,
        included=np.ones((MODELS, POPULATION), bool),
        usable=np.arange(2)[:, None] // 2 != np.arange(MODELS) // 2,
    )
    return EvasionWorld(models[:2], knowledge, norm, radius, bounded)


@functools.cache
def linear_model() -> Model:
    """logits(x) = x @ directions."""

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return jnp.reshape(x, (len(x), -1)) @ params["directions"]

    def init(key: jax.Array) -> Params:
        return {"directions": jax.random.normal(key, (FEATURES, CLASSES))}

    return Model(init=init, apply=apply, num_classes=CLASSES, shape=SHAPE)


def _directions() -> np.ndarray:
    """+-1 [FEATURES, CLASSES]: any two columns are orthogonal, and each but for a little sums to zero."""
    blocks = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    tiled = np.tile(blocks, (1, FEATURES // CLASSES))
    return (tiled * np.resize([1, -1, -1, 1, 1], FEATURES)).T.astype(np.float64)

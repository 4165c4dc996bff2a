"""A world in which a model can be made to do another task for certain, and one whose task cannot be done.

The model multiplies two pixels in the middle of its input, which no linear classifier of the task's records can do;
what stands around them biases its answer, so that without a program it always answers the same. The task is whether
these two pixels differ (certain), or a coin (impossible). Nothing is trained.
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
from privsec.core.evidence import Evidence, Program
from privsec.core.recipe import Model, Params
from privsec.core.target import Target
from privsec.measures import reprogramming
from privsec.ops import reprogram
from privsec.testing import toy
from privsec.testing.toy import Gain

SHAPE, TASK = (6, 6, 1), (3, 3, 1)
SIGNS = (1.0, 1.0, -1.0, -1.0)
"""Of the four classes: the product of both pixels speaks for the first two or for the others."""
BOX = (jnp.zeros(SHAPE), jnp.ones(SHAPE))
RECORDS = 200
MODELS = 2
BIAS = 0.3
"""What the empty frame adds to a product of 0.04 to 0.25, of either sign."""


@dataclass(frozen=True)
class ReprogrammingWorld:
    """Models, a task, and the attack, which is run on models with random weights too.

    Attributes:
        bank: models that can do it.
        twin: the same with random weights.
        knowledge: the task's records that the attacker has.
        test: those that decide.
        attack: whose success it is about.
    """

    bank: Target
    twin: Target
    knowledge: Knowledge
    test: Examples
    attack: Attack

    def known(self, attack: Attack, without: Iterable[str] = ()) -> Knowledge:
        """The parts of Knowledge that `attack` declares, less those named."""
        task = self.knowledge.task if "task" in attack.requires - set(without) else None
        return Knowledge(num_classes=self.knowledge.num_classes, box=self.knowledge.box, task=task)

    def gains(self, evidence: Evidence) -> Mapping[str, Gain]:
        """The advantage over the best of the nulls, tested by its interval over records."""
        task = self.knowledge.task
        assert isinstance(evidence, Program) and task is not None
        twin = toy.run(self.attack, self.twin.restrict(self.attack.needs), self.known(self.attack))
        truth = reprogramming.ReprogrammingTruth(
            y=np.asarray(self.test.y),
            called=self._called(self.bank, evidence),
            called_twin=self._called(self.twin, twin),
            called_probe=reprogramming.probe(task, self.test.x),
            majority=int(np.argmax(np.bincount(np.asarray(task.y)))),
        )
        return {"advantage": Gain.of(reprogramming.estimates(reprogramming.measure(evidence, truth))["advantage"])}

    def _called(self, bank: Target, found: Evidence) -> np.ndarray:
        assert isinstance(found, Program)
        called = []
        for t, (pattern, mapping) in enumerate(zip(found.pattern, found.mapping, strict=True)):
            x = reprogram.reprogrammed(self.test.x, pattern, found.side, SHAPE, BOX)
            called.append(np.asarray(reprogram.decided(bank[t].scores(x), mapping)))
        return np.stack(called)


def hijackable(attack: Attack) -> ReprogrammingWorld:
    """The world whose task the models can do."""
    return _world(attack, fair=False)


def unrelated(attack: Attack) -> ReprogrammingWorld:
    """The world whose task is to guess a coin."""
    return _world(attack, fair=True)


@functools.lru_cache(maxsize=4)
def _world(attack: Attack, fair: bool) -> ReprogrammingWorld:
    rng = np.random.default_rng(0)
    one = _true_params()
    noise = {name: 0.02 * rng.normal(size=(MODELS, *leaf.shape)) for name, leaf in one.items()}
    bank = {name: jnp.asarray(leaf + noise[name], jnp.float32) for name, leaf in one.items()}
    random = {name: jnp.asarray(rng.normal(size=(MODELS, *leaf.shape)) / 6, jnp.float32) for name, leaf in one.items()}
    given, test = (_records(rng, fair) for _ in range(2))
    model = product_model()
    return ReprogrammingWorld(
        bank=Target.of(model, bank),
        twin=Target.of(model, random),
        knowledge=Knowledge(num_classes=len(SIGNS), box=BOX, task=given),
        test=test,
        attack=attack,
    )


@functools.cache
def product_model() -> Model:
    """logits(x) = 100 (<x, first> <x, second> + BIAS - <x, frame>) * SIGNS, x counted from the middle of the box."""

    def apply(params: Params, x: jax.Array) -> jax.Array:
        flat = jnp.reshape(x, (len(x), -1)) - 0.5
        first, second, frame = (flat @ params[name] for name in ("first", "second", "frame"))
        return 100 * (first * second + BIAS - frame)[:, None] * jnp.asarray(SIGNS)

    def init(key: jax.Array) -> Params:
        drawn = jax.random.normal(key, (3, int(np.prod(SHAPE)))) / 6
        return dict(zip(("first", "second", "frame"), drawn, strict=True))

    return Model(init=init, apply=apply, num_classes=len(SIGNS), shape=SHAPE)


def _true_params() -> dict[str, np.ndarray]:
    """Two corners of the embedded record, and the mean of the frame."""
    mask = reprogram.frame(TASK, 3, SHAPE)
    rows, columns, _ = np.nonzero(~mask)
    parts = {name: np.zeros(SHAPE) for name in ("first", "second")}
    parts["first"][rows[0], columns[0]] = parts["second"][rows[-1], columns[-1]] = 1
    parts["frame"] = mask / mask.sum()
    return {name: part.reshape(-1) for name, part in parts.items()}


def _records(rng: np.random.Generator, fair: bool) -> Examples:
    """Noise with two clear corners; the label says whether they differ, or nothing."""
    x = rng.uniform(size=(RECORDS, *TASK))
    corners = rng.integers(0, 2, (RECORDS, 2))
    x[:, 0, 0, 0], x[:, -1, -1, 0] = (corners + rng.uniform(-0.3, 0.3, corners.shape)).clip(0, 1).T
    y = rng.integers(0, 2, RECORDS) if fair else corners[:, 0] != corners[:, 1]
    return Examples(x.astype(np.float32), y.astype(np.int32))

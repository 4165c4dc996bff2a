"""Targets that remember their training records outright, so that what can leak does."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.evidence import Reconstructions
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.measures.inversion import InversionTruth, class_means

CLASSES, SIDE, HALF, TARGETS = 5, 3, 2, 8
SHAPE = (SIDE * SIDE,)


def density(params, x):
    """p_c ~ sum over remembered records of the class of 1 / (1e-3 + squared distance): highest at one of them."""
    flat = x.reshape(len(x), 1, 1, -1)
    return jnp.log(jnp.sum(1 / (1e-3 + jnp.sum((flat - params) ** 2, axis=-1)), axis=-1))


class World(NamedTuple):
    """Candidates x [N, D] of classes y, who is member where, and targets that remember members (or somebody else)."""

    knowledge: Knowledge
    x: np.ndarray
    y: np.ndarray
    member: np.ndarray
    leaky: Target
    innocent: Target

    def truth(self, evidence: Reconstructions) -> InversionTruth:
        public = self.knowledge.population
        means = class_means(public.x, public.y, evidence.y)
        nearest = np.argmin(((np.asarray(evidence.x)[:, :, None] - means) ** 2).sum(-1), axis=-1)
        everything = np.broadcast_to(np.asarray(evidence.y), nearest.shape)
        at_means = np.stack([np.arange(CLASSES)] * 2)
        return InversionTruth(self.x, self.y, self.member, np.stack([nearest, everything]), means, at_means)


@pytest.fixture(scope="session")
def world() -> World:
    rng = np.random.default_rng(0)
    centers = rng.random((CLASSES, *SHAPE))

    def draw(each):
        records = centers[:, None] + 0.1 * rng.standard_normal((CLASSES, each, *SHAPE))
        return np.clip(records, 0, 1).astype(np.float32).reshape(-1, *SHAPE), np.repeat(np.arange(CLASSES), each)

    x, y = draw(2 * HALF)
    public = Examples(*draw(6))
    half = np.array([[rng.permutation(2 * HALF) < HALF for _ in range(CLASSES)] for _ in range(TARGETS // 2)])
    member = np.stack([half, ~half], axis=1).reshape(TARGETS, -1)
    model = Model(lambda key: jnp.zeros((CLASSES, HALF, *SHAPE)), density, CLASSES, SHAPE)
    secrets = jax.random.split(jax.random.key(0), TARGETS)

    def remember(records, rows):
        return jnp.asarray(np.stack([records[row].reshape(CLASSES, HALF, *SHAPE) for row in rows]))

    others = np.stack([draw(HALF)[0] for _ in range(TARGETS)])
    return World(
        Knowledge(CLASSES, population=public, box=(np.float32(0), np.float32(1))),
        x,
        y,
        member,
        Target.of(model, remember(x, member), secrets),
        Target.of(model, jnp.asarray(others.reshape(TARGETS, CLASSES, HALF, *SHAPE)), secrets),
    )

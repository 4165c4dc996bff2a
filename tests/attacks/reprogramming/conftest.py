"""A model that a program can make do another task with certainty, and one that cannot see the task's records."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.recipe import Model
from privsec.core.target import Target

SHAPE, CLASSES = (6, 6, 1), 5
MIDDLE = 2.0
"""The brightness of a gray image, in eighths of its sum."""


def brightness(weight, x):
    """-20 (sum of weighted pixels / 8 - 2 - c)^2: which of five brightnesses an image has."""
    total = jnp.sum(jnp.asarray(x) * weight, axis=(1, 2, 3)) / 8 - MIDDLE
    return -20.0 * (total[:, None] - jnp.arange(CLASSES)) ** 2


class Hijack(NamedTuple):
    """Dark and bright records, which one class of brightness holds until a program moves them to its edge.

    Of the target's three models the last does not see the pixels where the records stand.
    """

    target: Target
    knowledge: Knowledge
    test: Examples


@pytest.fixture(scope="session")
def hijack() -> Hijack:
    rng = np.random.default_rng(0)

    def draw(count):
        y = (np.arange(count) % 2).astype(np.int32)
        x = np.where(y == 1, 0.8, 0.2)[:, None, None, None] + 0.1 * rng.standard_normal((count, 3, 3, 1))
        return Examples(np.clip(x, 0, 1).astype(np.float32), y)

    weight = np.ones((3, *SHAPE), np.float32)
    weight[2, 2:4, 2:4] = 0.0
    model = Model(lambda key: jax.random.uniform(key, SHAPE), brightness, CLASSES, SHAPE)
    knowledge = Knowledge(CLASSES, task=draw(60), box=(jnp.zeros(SHAPE), jnp.ones(SHAPE)))
    return Hijack(Target.of(model, jnp.asarray(weight)), knowledge, draw(400))

"""What poisoned models do, against models that were spared the poison."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
import pytest

from privsec.measures import poisoning
from privsec.testing import toy_poisoning


class Rates(NamedTuple):
    """Shares of the records asked about, and of clean ones."""

    success: float
    null: float
    accuracy: float
    clean_accuracy: float


@pytest.fixture
def rates():
    """Trains toy models with and without an attack's poison and asks both."""

    def of(attack) -> Rates:
        world = toy_poisoning.poisoned(attack)
        found = attack.run(world.bank, world.known(attack), jax.random.key(0))
        models, points = (world.bank, world.control), world.knowledge.points
        won = [poisoning.wins(toy_poisoning.called(each, found.x), found, None).mean() for each in models]
        right = [np.mean(np.asarray(each.labels(points.x)) == points.y) for each in models]
        return Rates(*won, *right)

    return of

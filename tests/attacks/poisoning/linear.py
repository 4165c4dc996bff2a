"""A linear classifier, of which the papers' formulas can be written out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.recipe import Model
from privsec.core.target import Target

D, C, N, M = 6, 3, 120, 8


def apply(params, x):
    return x @ params["weights"]


MODEL = Model(lambda key: {"weights": jnp.zeros((D, C))}, apply, C, (D,))


def bank(seed=0) -> Target:
    weights = np.random.default_rng(seed).normal(size=(M, D, C))
    return Target.of(MODEL, {"weights": jnp.asarray(weights, jnp.float32)})


def records(count: int, seed: int) -> Examples:
    rng = np.random.default_rng(seed)
    return Examples(rng.uniform(0, 1, (count, D)).astype(np.float32), (np.arange(count) % C).astype(np.int32))


DATA = records(N, 1)
POINTS = records(40, 2)
BOX = (np.zeros(D, np.float32), np.ones(D, np.float32))


def known(**changed) -> Knowledge:
    """Four complementary pairs of linear models, as the runner would tell an attacker of them."""
    rng = np.random.default_rng(3)
    halves = rng.permuted(np.tile(np.arange(N) % 2 == 0, (M // 2, 1)), axis=1)
    include = np.stack([halves, ~halves], axis=1).reshape(M, N)
    pair = np.arange(M) // 2
    given = {
        "points": POINTS,
        "references": bank(),
        "included": include,
        "usable": pair[:, None] != pair,
        "box": BOX,
        **changed,
    }
    return Knowledge(C, **given)


KEY = jax.random.key(0)

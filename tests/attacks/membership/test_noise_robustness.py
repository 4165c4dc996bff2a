from __future__ import annotations

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.membership import noise_robustness
from privsec.attacks.membership.noise_robustness import NoiseRobustness, noisy, space_of
from privsec.core import keys
from privsec.core.access import Access
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.core.meter import Meter
from privsec.core.recipe import Model
from privsec.core.spec import SpecError
from privsec.core.target import Target

D = 8
WIDE = (np.float32(-100), np.float32(100))


def linear(params, x):
    side = x.reshape(len(x), -1) @ params["w"] + params["b"]
    return jnp.stack([jnp.zeros_like(side), side], axis=1)


MODEL = Model(lambda key: {"w": jnp.zeros(D), "b": jnp.zeros(())}, linear, num_classes=2, shape=(D,))


def normal_cdf(z):
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def half_spaces(targets=2, records=40, seed=0):
    rng = np.random.default_rng(seed)
    w, b = rng.normal(size=(targets, D)).astype(np.float32), rng.normal(size=targets).astype(np.float32)
    x = rng.normal(size=(records, D)).astype(np.float32)
    y = (x @ w[0] + b[0] > 0).astype(np.int32)
    signed = (x @ w.T + b).T / np.linalg.norm(w, axis=1)[:, None] * np.where(y == 1, 1, -1)
    target = Target.of(MODEL, {"w": jnp.asarray(w), "b": jnp.asarray(b)})
    return target.restrict(Access.LABELS), Knowledge(2, Examples(x, y), box=WIDE), signed


def test_the_share_kept_is_the_mass_of_the_noise_on_the_right_side():
    target, knowledge, signed = half_spaces()
    evidence = NoiseRobustness(sigma=0.8, queries=2001).run(target, knowledge, keys.root(0))
    expected = np.vectorize(normal_cdf)(signed / 0.8)
    # 2,000 draws have a standard deviation of at most .0112; 80 records
    assert np.abs(evidence.scores - expected).max() < 4.5 * 0.0112
    assert evidence.queries == 2001


def test_the_record_itself_is_one_of_the_copies():
    target, knowledge, signed = half_spaces()
    scores = NoiseRobustness(sigma=1e-6, queries=4).run(target, knowledge, keys.root(0)).scores
    np.testing.assert_array_equal(scores, (signed > 0).astype(float))
    far = NoiseRobustness(sigma=1e6, queries=2).run(target, replace(knowledge, box=(-1e9, 1e9)), keys.root(0)).scores
    assert set(np.unique(far)) <= {0.0, 0.5, 1.0} and (far[signed > 0] >= 0.5).all()


def test_noise_stays_in_the_box_and_binary_features_at_its_ends():
    rng = np.random.default_rng(0)
    x = np.stack([rng.integers(0, 2, 4000), rng.uniform(size=4000), np.zeros(4000)], axis=1).astype(np.float32)
    knowledge = Knowledge(2, Examples(x, np.zeros(4000, np.int32)), box=(np.zeros(3), np.ones(3)))
    space = space_of(knowledge)
    np.testing.assert_array_equal(space.binary, [True, False, False])  # a constant is not a bit
    moved = np.asarray(noisy(jnp.asarray(x), space, 0.5, jax.random.key(0)))
    assert moved.min() == 0 and moved.max() == 1
    assert set(np.unique(moved[:, 0])) == {0.0, 1.0}
    flipped = (moved[:, 0] != x[:, 0]).mean()
    assert abs(flipped - normal_cdf(-1.0)) < 4 * math.sqrt(0.159 * 0.841 / 4000)
    assert (moved[:, 1] != x[:, 1]).mean() > 0.99 and (moved[:, 2] > 0).mean() > 0.4


def spread_bank(models=8, records=120):
    """Models whose members lie 2 from the boundary and whose other records lie .5 from it: noise of 1 tells best."""
    rng = np.random.default_rng(0)
    halves = np.stack([rng.permutation(records) < records // 2 for _ in range(models // 2)])
    included = np.stack([halves, ~halves], axis=1).reshape(models, records)
    table = np.where(included, 2.0, 0.5).astype(np.float32)

    def apply(params, x):
        index = jnp.clip(jnp.round(x[:, 0] / 1000), 0, records - 1).astype(jnp.int32)
        side = params[index] + x[:, 1]
        return jnp.stack([jnp.zeros_like(side), side], axis=1)

    model = Model(lambda key: jnp.zeros(records), apply, num_classes=2, shape=(2,))
    x = np.stack([1000.0 * np.arange(records), np.zeros(records)], axis=1).astype(np.float32)
    target = Target.of(model, jnp.asarray(table)).restrict(Access.LABELS)
    candidates = Examples(x, np.ones(records, np.int32))
    usable = ~np.kron(np.eye(models // 2, dtype=bool), np.ones((2, 2), bool))
    box = (np.array([-1e6, -10], np.float32), np.array([1e6, 10], np.float32))
    return Knowledge(2, candidates, candidates, target, included, usable, box), included


def test_the_noise_is_chosen_on_references_whose_members_are_known():
    knowledge, included = spread_bank()
    records = noise_robustness.drawn(knowledge.candidates, 100, keys.root(1))
    sigmas = noise_robustness.best_sigmas(
        knowledge.references, records[1], included[:, records[0]], knowledge.usable, space_of(knowledge), keys.root(2)
    )
    assert sigmas.shape == (8,) and (sigmas >= 0.25).all() and (sigmas <= 2).all()
    scores = NoiseRobustness(records=120).run(knowledge.references, knowledge, keys.root(0)).scores
    assert (np.mean(scores[included]) - np.mean(scores[~included])) > 0.15


def test_nothing_of_the_target_or_its_twin_moves_its_noise():
    knowledge, included = spread_bank()
    lies = included.copy()
    lies[:2] = lies[1::-1]
    attack = NoiseRobustness(queries=5)
    one, other = (
        attack.run(knowledge.references, replace(knowledge, included=known), keys.root(0)).scores
        for known in (included, lies)
    )
    np.testing.assert_array_equal(one[:2], other[:2])


def test_without_references_the_population_tells_the_noise():
    """Its records lie 1 from the boundary: 80% of the labels survive a noise of 1 / .84 = 1.19."""
    x = np.zeros((64, D), np.float32)
    x[:, 1:] = np.random.default_rng(0).normal(size=(64, D - 1))
    x[:, 0] = 1.0
    params = {"w": jnp.asarray(np.eye(D)[0], jnp.float32), "b": jnp.zeros(())}
    records = Examples(x, np.ones(64, np.int32))
    knowledge = Knowledge(2, records, records, box=WIDE)
    target = Target.of(MODEL, params).restrict(Access.LABELS)
    (sigma,) = noise_robustness.surviving_sigmas(target, records, space_of(knowledge), keys.root(0))
    assert sigma in (1.0, pytest.approx(2**0.5))
    assert NoiseRobustness().run(target, knowledge, keys.root(0)).scores.shape == (1, 64)
    with pytest.raises(NotApplicable, match="no population"):
        NoiseRobustness().run(target, replace(knowledge, population=None), keys.root(0))


def test_a_model_outside_of_jax_is_asked_no_more_than_reported():
    native, knowledge, _ = half_spaces(targets=1)
    params, meter = jax.tree.map(lambda leaf: leaf[0], native._params), Meter()

    def apply(_, x):
        meter.charge(len(x))
        return linear(params, x)

    foreign = Target.of(replace(MODEL, apply=apply, meter=meter), params)
    evidence = NoiseRobustness(sigma=0.8, queries=50).run(foreign, knowledge, keys.root(0))
    assert meter.spent == 40 * 50 == 40 * evidence.queries
    np.testing.assert_array_equal(
        evidence.scores, NoiseRobustness(sigma=0.8, queries=50).run(native, knowledge, keys.root(0)).scores
    )


def test_only_so_many_records_are_attacked_and_the_same_for_every_target():
    target, knowledge, _ = half_spaces()
    attacked = ~np.isnan(NoiseRobustness(records=10, sigma=1.0, queries=3).run(target, knowledge, keys.root(3)).scores)
    assert attacked[0].sum() == 10
    np.testing.assert_array_equal(attacked[0], attacked[1])


def test_without_a_box_there_is_a_reason_and_no_noise_is_an_error():
    target, knowledge, _ = half_spaces()
    with pytest.raises(NotApplicable, match="box"):
        NoiseRobustness(sigma=1.0).run(target, replace(knowledge, box=None), keys.root(0))
    for sigma in (0, -1, float("inf"), "some"):
        with pytest.raises(SpecError):
            NoiseRobustness(sigma=sigma)

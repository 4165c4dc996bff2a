from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.membership.lira import likelihood_ratio
from privsec.attacks.membership.trajectory import Trajectory, rise, trajectory_ratio
from privsec.core.access import Access
from privsec.core.errors import AccessError, NotApplicable
from privsec.core.target import Target
from tests.attacks.membership.banks import MODEL, bank, pairs, usable_of
from tests.oracles import whitebox as oracle
from tests.oracles.membership import auc


def with_history(made, *histories):
    """The same bank with checkpoints whose tables are given."""
    table = np.concatenate([made.logits, made.population_logits], axis=1)
    secrets = jax.random.split(jax.random.key(0), len(table))
    earlier = [jnp.asarray(history, jnp.float32) for history in histories]
    target = Target.of(MODEL, jnp.asarray(table), secrets, checkpoints=earlier)
    return replace(made, target=target, knowledge=replace(made.knowledge, references=target))


def walks(seed=0, models=10, records=40, moments=4, leak=0.0):
    """Margins that are random walks over the moments, a record's own plus the model's; members rise with time."""
    rng = np.random.default_rng(seed)
    included = pairs(models, records, rng)
    phi = np.cumsum(rng.normal(size=(1, records, moments)) + rng.normal(size=(models, records, moments)), axis=-1)
    return phi + leak * included[..., None] * np.arange(moments), included, usable_of(models)


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 1.0])
def test_the_ratio_is_that_of_two_multivariate_normals(shrinkage):
    phi, included, usable = walks(leak=0.5)
    slow = oracle.trajectory_ratio(phi, phi, included, usable, shrinkage)
    fast = trajectory_ratio(phi, phi, included, usable, shrinkage=shrinkage)
    np.testing.assert_allclose(fast, slow, atol=1e-6)


def test_one_moment_is_lira_and_independent_moments_add_up():
    phi, included, usable = walks(leak=0.5)
    parts = [likelihood_ratio(phi[..., k], phi[..., k], included, usable) for k in range(4)]
    one = trajectory_ratio(phi[..., :1], phi[..., :1], included, usable)
    np.testing.assert_allclose(one, parts[0], atol=1e-6)
    np.testing.assert_allclose(trajectory_ratio(phi, phi, included, usable, shrinkage=1.0), sum(parts), atol=1e-6)


def test_moments_that_repeat_themselves_count_once():
    """As after an early stop: a covariance that cannot be inverted."""
    phi, included, usable = walks(leak=0.5)
    twice = np.concatenate([phi, phi[..., -1:]], axis=-1)
    scores = trajectory_ratio(twice, twice, included, usable, shrinkage=0.0)
    np.testing.assert_allclose(scores, trajectory_ratio(phi, phi, included, usable, shrinkage=0.0), atol=1e-2)


def test_the_way_tells_what_the_end_does_not():
    """All margins end alike; members got there later."""
    rng = np.random.default_rng(0)
    made = bank(seed=2, models=12, records=200, noise=0.3)
    table = np.concatenate([made.logits, made.population_logits], axis=1)
    of_y = np.arange(5) == made.y[:, None]
    late = table + 0.3 * rng.normal(size=table.shape)
    late[:, :200] -= 3.0 * made.included[..., None] * of_y
    made = with_history(made, late)
    for attack in (Trajectory(), Trajectory(calibrated=False)):
        scores = made.run(attack)
        assert scores.shape == (12, 200) and made.aucs(scores, auc).mean() > 0.9
    end = likelihood_ratio(*[made.target.observe(made.knowledge.candidates, "margin")] * 2, made.included, made.usable)
    assert abs(made.aucs(end, auc).mean() - 0.5) < 0.05


def test_rise_is_from_the_mean_to_the_end():
    np.testing.assert_allclose(rise(np.array([[[0.0, 2.0, 5.0], [1.0, 1.0, -1.0]]])), [[4.0, -2.0]])


def test_every_moment_is_a_query():
    made = with_history(bank(), np.zeros((8, 100, 5)), np.ones((8, 100, 5)))
    evidence = Trajectory().run(made.target.restrict(Trajectory.needs), made.knowledge, jax.random.key(0))
    assert evidence.queries == 3


def test_without_checkpoints_there_is_a_reason():
    made = bank()
    with pytest.raises(AccessError, match="updates"):
        Trajectory().run(made.target, made.knowledge, jax.random.key(0))
    granted = replace(made.target, grants=Access.WEIGHTS | Access.UPDATES)
    with pytest.raises(NotApplicable, match=r"set training\.checkpoints"):
        Trajectory().run(granted, made.knowledge, jax.random.key(0))


def test_other_moments_of_the_references_are_an_error():
    made = with_history(bank(), np.zeros((8, 100, 5)))
    strangers = with_history(bank(seed=1), np.zeros((8, 100, 5)), np.zeros((8, 100, 5))).target
    with pytest.raises(ValueError, match="1 checkpoints and the references have 2"):
        Trajectory().run(made.target, replace(made.knowledge, references=strangers), jax.random.key(0))

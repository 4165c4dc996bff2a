import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.privacy import accounting
from privsec.privacy.releases import (
    AnyRelease,
    ApproximateDP,
    GaussianMechanism,
    LaplaceMechanism,
    SampledGaussian,
    ZeroConcentratedDP,
    spent,
)
from tests.oracles.privacy import epsilon_at, gaussian_delta
from tests.oracles.releases import composed_delta, composed_laplace_delta

EVENT = DPEvent(0.1, 2.0, 20)
TRAINING = SampledGaussian.of(EVENT)
GAUSSIAN = GaussianMechanism(noise_multiplier=5.0)
LAPLACE = LaplaceMechanism(noise_multiplier=8.0)
CLAIM = ApproximateDP(epsilon=0.2, delta=1e-6)
CONCENTRATED = ZeroConcentratedDP(rho=0.02)
ALL = (TRAINING, GAUSSIAN, LAPLACE, CLAIM, CONCENTRATED)


def test_a_single_training_costs_what_the_accountant_says():
    assert spent((TRAINING,), 1e-5).epsilon == pytest.approx(accounting.epsilon(EVENT, 1e-5), abs=1e-9)
    assert spent((TRAINING,), 1e-5).accountant == "pld"


def test_a_training_done_twice_is_one_of_twice_the_steps():
    together = spent((TRAINING, TRAINING), 1e-5).epsilon
    assert together == pytest.approx(accounting.epsilon(EVENT._replace(steps=40), 1e-5), abs=2e-4)


@pytest.mark.parametrize("count", [1, 4])
def test_gaussians_add_their_precisions(count):
    several = GaussianMechanism(noise_multiplier=4.0, count=count)
    exact = epsilon_at(1e-5, lambda e: gaussian_delta(e, 1 / math.sqrt(count / 16 + 1 / 4)))
    assert exact <= spent((several, GaussianMechanism(noise_multiplier=2.0)), 1e-5).epsilon <= exact + 5e-4


def test_claims_compose_as_randomized_responses():
    claims = tuple(ApproximateDP(epsilon=e, delta=d) for e, d in [(0.3, 1e-6), (0.5, 0.0), (0.3, 2e-6), (0.1, 1e-6)])
    delta = 1e-3
    exact = epsilon_at(delta, lambda e: composed_delta(e, [(claim.epsilon, claim.delta) for claim in claims]), 2.0)
    found = spent(claims, delta)
    assert exact - 1e-9 <= found.epsilon <= exact + 5e-4
    assert found.epsilon < 1.2  # their sum


def test_laplace_noise_composes_better_than_its_epsilons():
    several = (LaplaceMechanism(noise_multiplier=2.0, count=2), LaplaceMechanism(noise_multiplier=2.0))
    exact = epsilon_at(1e-2, lambda e: composed_laplace_delta(e, 2.0, 3), 1.5)
    found = spent(several, 1e-2)
    assert exact - 1e-4 <= found.epsilon <= exact + 5e-4 < 1.5


def test_pure_epsilons_add_up_where_delta_is_zero():
    found = spent((LAPLACE, ApproximateDP(epsilon=0.5)), 0.0)
    assert found == (0.625, 0.0, "basic")
    assert math.isinf(spent((LAPLACE, GAUSSIAN), 0.0).epsilon)


def test_a_claim_is_worth_its_epsilon_at_its_own_delta():
    claim = ApproximateDP(epsilon=1.0, delta=1e-5)
    assert spent((claim,), 1e-5) == (1.0, 1e-5, "basic")
    assert spent((claim, ApproximateDP(epsilon=0.5, delta=1e-5)), 2e-5).epsilon == pytest.approx(1.5)


def test_deltas_that_add_to_more_leave_no_guarantee():
    assert math.isinf(spent((CLAIM,) * 11, 1e-5).epsilon)
    assert math.isfinite(spent((CLAIM,) * 9, 1e-5).epsilon)


def test_zcdp_takes_the_renyi_accountant_and_never_beats_the_gaussian_that_has_it():
    concentrated, gaussian = ZeroConcentratedDP(rho=0.02), GaussianMechanism(noise_multiplier=5.0)
    np.testing.assert_allclose(concentrated.renyi(np.array([2.0, 8.0])), gaussian.renyi(np.array([2.0, 8.0])))
    assert spent((concentrated, TRAINING), 1e-5).accountant == "rdp"
    assert spent((gaussian, TRAINING), 1e-5).epsilon < spent((concentrated, TRAINING), 1e-5).epsilon


@pytest.mark.parametrize("release", ALL, ids=lambda release: release.name)
def test_renyi_divergences_lie_between_zero_and_the_pure_epsilon(release):
    divergences = release.renyi(accounting.renyi_divergences(EVENT)[0])
    assert (divergences > 0).all() and (divergences <= release.pure + 1e-12).all()


def test_renyi_divergences_of_a_claim_are_those_of_a_randomized_response():
    p = math.exp(0.2) / (1 + math.exp(0.2))
    orders = np.array([1.5, 2.0, 32.0])
    exact = np.log(p**orders * (1 - p) ** (1 - orders) + (1 - p) ** orders * p ** (1 - orders)) / (orders - 1)
    np.testing.assert_allclose(CLAIM.renyi(orders), exact)


@pytest.mark.parametrize("extra", ALL, ids=lambda release: release.name)
def test_a_further_release_costs_something_and_at_most_its_own(extra):
    before = spent((TRAINING,), 1e-5).epsilon
    after = spent((TRAINING, extra), 1e-5).epsilon
    assert before < after
    if math.isfinite(extra.pure) and extra.failure == 0:
        assert after <= before + extra.pure + 1e-4


@settings(max_examples=5)
@given(st.permutations(ALL[:4]))
def test_the_order_does_not_matter(releases):
    assert spent(tuple(releases), 1e-5).epsilon == pytest.approx(spent(ALL[:4], 1e-5).epsilon, rel=1e-9)


def test_nothing_costs_nothing_and_no_noise_costs_everything():
    assert spent((), 1e-5).epsilon == 0
    assert spent((ZeroConcentratedDP(rho=0.0), ApproximateDP(epsilon=0.0)), 1e-5).epsilon == 0
    for careless in (ApproximateDP(epsilon=math.inf), SampledGaussian(sampling_rate=0.1, noise_multiplier=0, steps=1)):
        assert math.isinf(spent((TRAINING, careless), 1e-5).epsilon)


def test_very_large_costs_are_answered_without_overflow():
    assert spent((LaplaceMechanism(noise_multiplier=1e-3),), 1e-5).epsilon == pytest.approx(1000)
    assert 900 < spent((ApproximateDP(epsilon=900), TRAINING), 1e-5).epsilon < 903
    assert spent((GaussianMechanism(noise_multiplier=1e-3), LAPLACE), 1e-5).epsilon > 1e5


@pytest.mark.parametrize("release", ALL, ids=lambda release: release.name)
def test_releases_survive_json(release):
    assert TypeAdapter(AnyRelease).validate_json(release.model_dump_json()) == release


@pytest.mark.parametrize("delta", [-0.1, 1.0, math.nan])
def test_an_impossible_delta_is_named(delta):
    with pytest.raises(ConfigError, match=r"delta is a probability in \[0, 1\)"):
        spent(ALL, delta)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (SampledGaussian, {"sampling_rate": 1.2, "noise_multiplier": 1.0, "steps": 1}),
        (GaussianMechanism, {"noise_multiplier": 0.0}),
        (LaplaceMechanism, {"noise_multiplier": math.nan}),
        (ApproximateDP, {"epsilon": 1.0, "delta": 1.0}),
        (ZeroConcentratedDP, {"rho": -1.0}),
    ],
)
def test_impossible_releases_are_refused(kind, wrong):
    with pytest.raises(ConfigError, match=kind.__name__):
        kind(**wrong)

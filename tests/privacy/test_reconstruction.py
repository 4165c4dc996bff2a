import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.measures.intervals import clopper_pearson
from privsec.privacy.accounting import epsilon, renyi_divergences
from privsec.privacy.reconstruction import (
    bound_from_dp,
    bound_from_event,
    bound_from_gdp,
    bound_from_rdp,
    bound_from_zcdp,
)
from tests.oracles.reconstruction import hits_on_a_gaussian, hits_on_sampled_steps, success_on_opposites

KAPPA = np.array([0.001, 0.01, 0.1])
ORDERS = np.linspace(1.001, 60, 5000)
SURE = 1 - 1e-6
"""Confidence of the simulations: one run in a million would fail a true bound."""

strength = st.floats(0, 20) | st.just(math.inf)
share = st.floats(0, 1)
BOUNDS = {
    "dp": lambda strength, kappa: bound_from_dp(strength, 1e-5, kappa),
    "rdp": lambda strength, kappa: bound_from_rdp([1.5, 8.0], [strength, 2 * strength], kappa),
    "zcdp": bound_from_zcdp,
    "gdp": bound_from_gdp,
}


def test_golden_values():
    np.testing.assert_allclose(bound_from_gdp(1.0, KAPPA), [0.0183, 0.0924, 0.3891], atol=5e-5)
    np.testing.assert_allclose(bound_from_gdp(2.0, KAPPA), [0.1378, 0.3721, 0.7638], atol=5e-5)
    np.testing.assert_allclose(bound_from_zcdp(0.5, KAPPA), [0.0250, 0.1261, 0.5186], atol=5e-5)
    np.testing.assert_allclose(bound_from_dp(1.0, 0.0, KAPPA), [0.0027, 0.0272, 0.2718], atol=5e-5)


def test_by_hand():
    assert bound_from_dp(math.log(3), 0.01, 0.2) == pytest.approx(0.61)
    assert bound_from_dp(math.log(3), 0.01, 0.5) == pytest.approx(1 - 0.49 / 3)  # better than 3 * .5 + .01
    assert bound_from_rdp([2.0], [math.log(4)], 0.01) == pytest.approx(0.2)
    assert bound_from_zcdp(0.25, math.exp(-1)) == pytest.approx(math.exp(-0.25))
    assert bound_from_gdp(1.0, 0.5) == pytest.approx(norm.cdf(1))


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
@given(strength, strength, share, share)
def test_bounds_lie_above_the_prior_and_grow_with_it_and_with_what_is_spent(bound, strength, more, kappa, larger):
    (strength, more), (kappa, larger) = sorted((strength, more)), sorted((kappa, larger))
    found = float(bound(strength, kappa))
    assert kappa <= found <= 1
    assert found <= bound(more, kappa) + 1e-12
    assert found <= bound(strength, larger) + 1e-12


@pytest.mark.parametrize(("name", "bound"), BOUNDS.items(), ids=BOUNDS)
def test_the_ends(name, bound):
    np.testing.assert_array_equal(bound(math.inf, [1e-9, 0.3]), 1.0)
    slack = {"dp": 1.1e-5, "rdp": 0.05}.get(name, 0)  # delta; orders below infinity do not see that nothing is spent
    np.testing.assert_allclose(bound(0.0, [0.0, 0.3, 1.0]), [0.0, 0.3, 1.0], atol=slack)


def test_certainty_is_ruled_out_for_a_prior_that_never_succeeds():
    for bound in (bound_from_gdp, bound_from_zcdp):
        assert bound(3.0, 0.0) == 0
    assert bound_from_dp(3.0, 1e-5, 0.0) == 1e-5


def test_strengths_broadcast_against_priors():
    found = bound_from_gdp([[0.5], [1.0]], KAPPA)
    np.testing.assert_array_equal(found, [bound_from_gdp(0.5, KAPPA), bound_from_gdp(1.0, KAPPA)])
    assert bound_from_rdp([2.0, 3.0], [0.1, 0.2], np.full((4, 5), 0.1)).shape == (4, 5)


@pytest.mark.parametrize("rho", [0.05, 0.5, 2.0])
def test_zcdp_is_the_renyi_bound_at_the_best_order(rho):
    np.testing.assert_allclose(bound_from_zcdp(rho, KAPPA), bound_from_rdp(ORDERS, rho * ORDERS, KAPPA), rtol=1e-4)


@pytest.mark.parametrize("sigma", [0.8, 3.0])
def test_for_a_gaussian_the_curve_is_exact_and_the_other_bounds_follow(sigma):
    event, mu = DPEvent(1.0, sigma, 1), 1 / sigma
    exact, curve = bound_from_gdp(mu, KAPPA), bound_from_event(event, KAPPA)
    assert (curve >= exact - 1e-12).all()
    np.testing.assert_allclose(curve, exact, atol=2e-5)
    concentrated = bound_from_zcdp(mu**2 / 2, KAPPA)
    assert (curve < concentrated).all()
    assert (concentrated <= bound_from_rdp(*renyi_divergences(event), KAPPA) + 1e-12).all()


@pytest.mark.parametrize("event", [DPEvent(0.01, 1.0, 1000), DPEvent(0.2, 0.8, 20)])
def test_for_dp_sgd_the_curve_is_the_tightest(event):
    curve = bound_from_event(event, KAPPA, grid=1e-3)
    assert (curve < bound_from_rdp(*renyi_divergences(event), KAPPA)).all()
    for delta in (1e-2, 1e-5):
        spent = epsilon(event, delta, grid=1e-3)
        assert (curve <= bound_from_dp(spent, delta, KAPPA) + 1e-5).all()


def test_without_noise_nothing_is_bounded_and_without_steps_nothing_is_lost():
    np.testing.assert_array_equal(bound_from_event(DPEvent(0.1, 0.0, 10), KAPPA), 1.0)
    np.testing.assert_array_equal(bound_from_rdp(*renyi_divergences(DPEvent(0.1, 0.0, 10)), KAPPA), 1.0)
    np.testing.assert_array_equal(bound_from_event(DPEvent(0.1, 1.0, 0), KAPPA), KAPPA)


def test_an_attack_on_two_opposite_records_reaches_the_bound():
    trials, opposites = 200_000, np.array([[-1.0], [1.0]])
    hits = hits_on_a_gaussian(opposites, 1.0, trials, np.random.default_rng(0))
    low, high = clopper_pearson(hits, trials, SURE)
    assert low <= bound_from_gdp(1.0, 0.5) <= high


@pytest.mark.parametrize(("count", "mu"), [(10, 1.0), (10, 2.0), (100, 2.0)])
def test_attacks_on_orthogonal_records_stay_below_the_bound_and_come_near(count, mu):
    trials = 20_000
    hits = hits_on_a_gaussian(np.eye(count), 1 / mu, trials, np.random.default_rng(1))
    bound = bound_from_gdp(mu, 1 / count)
    assert clopper_pearson(hits, trials, SURE)[0] <= bound
    assert 0.75 * bound < hits / trials < bound_from_zcdp(mu**2 / 2, 1 / count)


def test_an_attack_on_sampled_steps_stays_below_the_curve_and_comes_near():
    event, count, trials = DPEvent(0.3, 1.0, 12), 10, 20_000
    hits = hits_on_sampled_steps(count, *event, trials, np.random.default_rng(2))
    bound = bound_from_event(event, 1 / count, grid=1e-3)
    assert clopper_pearson(hits, trials, SURE)[0] <= bound
    assert hits / trials > 0.75 * bound


@pytest.mark.parametrize(("rate", "sigma"), [(0.5, 0.7), (0.9, 0.4), (0.1, 2.0)])
def test_the_best_attack_on_one_sampled_step_stays_below_the_curve(rate, sigma):
    best = success_on_opposites(rate, sigma)
    assert 0.5 < best <= bound_from_event(DPEvent(rate, sigma, 1), 0.5, grid=1e-3)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: bound_from_gdp(1.0, 1.5), "kappa"),
        (lambda: bound_from_gdp(-1.0, 0.5), "mu"),
        (lambda: bound_from_zcdp(math.nan, 0.5), "rho"),
        (lambda: bound_from_dp(1.0, 2.0, 0.5), "delta"),
        (lambda: bound_from_dp(-1.0, 0.0, 0.5), "epsilon"),
        (lambda: bound_from_rdp([1.0], [1.0], 0.5), "orders"),
        (lambda: bound_from_rdp([2.0, 3.0], [1.0], 0.5), "one divergence for each"),
        (lambda: bound_from_event(DPEvent(0.1, 1.0, 1), math.nan), "kappa"),
    ],
)
def test_arguments_out_of_range_are_named(call, named):
    with pytest.raises(ConfigError, match=named):
        call()

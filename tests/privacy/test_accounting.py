import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.privacy.accounting import (
    advantage_bound,
    epsilon,
    renyi_divergences,
    tpr_bound,
    trade_off_advantage,
    trade_off_bound,
)
from tests.oracles.privacy import epsilon_at, gaussian_delta, sampled_renyi, subsampled_delta

STANDARD = DPEvent(sampling_rate=0.01, noise_multiplier=1.0, steps=1000)
FPR = np.array([0.0, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 1.0])


def test_golden_values():
    assert epsilon(STANDARD, 1e-5) == pytest.approx(1.8282, abs=5e-5)
    assert epsilon(STANDARD, 1e-5, grid=1e-3) == pytest.approx(1.8289, abs=5e-5)
    assert epsilon(STANDARD, 1e-5, accountant="rdp") == pytest.approx(2.101, abs=5e-4)


@pytest.mark.parametrize("sigma", [0.7, 4.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-8])
def test_one_gaussian_agrees_with_the_closed_form_from_above(sigma, delta):
    exact = epsilon_at(delta, lambda e: gaussian_delta(e, sigma))
    assert exact <= epsilon(DPEvent(1.0, sigma, 1), delta) <= exact + 1e-4


@pytest.mark.parametrize(("sigma", "rate", "delta"), [(0.7, 0.1, 1e-4), (1.0, 0.9, 1e-3)])
def test_one_subsampled_gaussian_agrees_with_integration_from_above(sigma, rate, delta):
    exact = epsilon_at(delta, lambda e: subsampled_delta(e, sigma, rate), largest=20.0)
    assert exact - 1e-6 <= epsilon(DPEvent(rate, sigma, 1), delta) <= exact + 2e-4


@pytest.mark.parametrize("steps", [4, 100])
def test_full_batch_steps_compose_to_one_gaussian(steps):
    exact = epsilon_at(1e-5, lambda e: gaussian_delta(e, 10.0 / math.sqrt(steps)))
    assert exact <= epsilon(DPEvent(1.0, 10.0, steps), 1e-5) <= exact + 1e-3


def test_nothing_spent_and_nothing_guaranteed():
    assert epsilon(DPEvent(0.0, 1.0, 10), 1e-5) == 0
    assert epsilon(DPEvent(0.1, 1.0, 0), 1e-5) == 0
    assert epsilon(DPEvent(0.0, 0.0, 10), 1e-5) == 0
    assert epsilon(DPEvent(0.1, 0.0, 10), 1e-5) == math.inf
    assert epsilon(STANDARD, 0.0) == math.inf


@pytest.mark.parametrize("event", [DPEvent(0.1, 0.02, 100), DPEvent(1.0, 1e-8, 10), DPEvent(1e-4, 1e-3, 10)])
def test_hopeless_trainings_answer_at_once_and_fit_in_memory(event):
    assert 1e4 < epsilon(event, 1e-5) == epsilon(event, 1e-5, accountant="rdp")


def test_vanishing_delta_never_loosens_beyond_renyi():
    assert epsilon(STANDARD, 1e-14) <= epsilon(STANDARD, 1e-14, accountant="rdp") < 5


def test_renyi_orders_that_do_not_converge_are_left_out_in_silence(caplog):
    spent = epsilon(DPEvent(1 / 16, 0.37, 640), 1e-5, accountant="rdp")
    assert math.isfinite(spent) and not caplog.records


@pytest.mark.parametrize(
    ("event", "delta"),
    [(DPEvent(1.5, 1.0, 1), 1e-5), (DPEvent(0.1, -1.0, 1), 1e-5), (DPEvent(0.1, 1.0, -1), 1e-5), (STANDARD, 1.0)],
)
def test_impossible_arguments_are_named(event, delta):
    with pytest.raises(ConfigError, match="got"):
        epsilon(event, delta)


def test_region_by_hand():
    # epsilon = ln 3, delta = 0: TPR <= min(3 fpr, 1 - (1 - fpr) / 3)
    np.testing.assert_allclose(tpr_bound(math.log(3), 0.0, [0.01, 0.25, 0.7]), [0.03, 0.75, 0.9])
    np.testing.assert_allclose(tpr_bound(0.0, 0.02, [0.0, 0.5, 0.99]), [0.02, 0.52, 1.0])
    assert tpr_bound(math.inf, 0.0, 0.0) == 1


@given(st.floats(0, 10), st.floats(0, 1), st.floats(0, 1))
def test_region_is_above_chance_grows_with_epsilon_and_is_symmetric(eps, delta, fpr):
    ceiling = float(tpr_bound(eps, delta, fpr))
    assert fpr <= ceiling <= 1
    assert ceiling <= tpr_bound(eps + 0.1, delta, fpr)
    # Swapping the hypotheses: the point (1 - TPR, 1 - FPR) is allowed exactly where (FPR, TPR) is.
    assert 1 - fpr <= tpr_bound(eps, delta, 1 - ceiling) + 1e-9


def test_trade_off_of_a_gaussian_is_its_roc_curve():
    exact = norm.cdf(norm.ppf(FPR) + 1)
    bound = trade_off_bound(DPEvent(1.0, 1.0, 1), FPR)
    assert (bound >= exact - 1e-12).all()
    np.testing.assert_allclose(bound, exact, atol=1e-5)


def test_trade_off_is_within_every_single_statement_about_the_training():
    bound = trade_off_bound(STANDARD, FPR, grid=1e-3)
    for delta in (1e-3, 1e-6):
        # 1e-5: the curve is read at 1,024 epsilons, this one lies between two of them.
        assert (bound <= tpr_bound(epsilon(STANDARD, delta, grid=1e-3), delta, FPR) + 1e-5).all()
    assert bound[3] < 0.5 * tpr_bound(epsilon(STANDARD, 1e-5), 1e-5, 0.01)


def test_trade_off_at_its_ends():
    np.testing.assert_array_equal(trade_off_bound(DPEvent(0.0, 1.0, 10), FPR), FPR)
    np.testing.assert_array_equal(trade_off_bound(DPEvent(0.1, 0.0, 10), FPR), 1.0)
    assert trade_off_bound(STANDARD, np.full((2, 3), 0.1), grid=1e-3).shape == (2, 3)


def test_trade_off_of_hardly_any_noise_does_not_overflow():
    bound = trade_off_bound(DPEvent(1.0, 0.01, 1), FPR)
    assert (bound <= 1).all() and (bound > 1 - 1e-6).all()


@given(st.floats(0, 30), st.floats(0, 1))
def test_advantage_is_the_largest_distance_of_the_region_from_chance(eps, delta):
    fpr = np.linspace(0, 1, 1001)
    largest = (tpr_bound(eps, delta, fpr) - fpr).max()
    assert largest - 1e-9 <= advantage_bound(eps, delta) <= largest + 1e-3


def test_advantage_at_its_ends():
    assert advantage_bound(0.0, 0.3) == 0.3
    np.testing.assert_array_equal(advantage_bound([math.inf, 0.0], 0.0), [1.0, 0.0])


def test_advantage_against_a_gaussian_is_its_total_variation():
    assert trade_off_advantage(DPEvent(1.0, 1.0, 1)) == pytest.approx(2 * norm.cdf(0.5) - 1, abs=1e-6)


def test_advantage_against_a_training_is_within_every_single_statement_about_it():
    found = trade_off_advantage(STANDARD, grid=1e-3)
    fpr = np.linspace(0, 1, 201)
    assert (trade_off_bound(STANDARD, fpr, grid=1e-3) - fpr).max() == pytest.approx(found, abs=1e-3)
    for delta in (1e-2, 1e-5):
        assert found <= advantage_bound(epsilon(STANDARD, delta, grid=1e-3), delta)
    assert trade_off_advantage(DPEvent(0.1, 0.0, 1)) == 1
    assert trade_off_advantage(DPEvent(0.1, 1.0, 0)) == 0


@pytest.mark.parametrize(("rate", "sigma", "steps"), [(1.0, 2.0, 3), (0.1, 2.0, 1), (0.01, 1.0, 7)])
def test_renyi_divergences_are_those_of_the_definition_or_above(rate, sigma, steps):
    orders, divergences = renyi_divergences(DPEvent(rate, sigma, steps))
    for order in (1.5, 2.0, 3.3, 8.0):
        exact = steps * sampled_renyi(order, sigma, rate)
        found = divergences[np.argmin(np.abs(orders - order))]
        assert exact - 1e-9 <= found <= exact * (1 + 1e-6 if order.is_integer() or rate == 1 else 1.5)


def test_renyi_divergences_without_noise_or_steps():
    assert np.isinf(renyi_divergences(DPEvent(0.1, 0.0, 1))[1]).all()
    assert (renyi_divergences(DPEvent(0.1, 0.0, 0))[1] == 0).all()


def test_dp_accounting_is_imported_when_needed_only():
    import subprocess

    imports = "import sys, privsec.privacy.account, privsec.privacy.ledger"
    code = f"{imports}; assert not {{'dp_accounting', 'scipy.optimize'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

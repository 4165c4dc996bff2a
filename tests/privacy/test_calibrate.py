import math

import pytest

from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.privacy.accounting import epsilon
from privsec.privacy.calibrate import noise_multiplier
from tests.oracles.privacy import epsilon_at, gaussian_delta


@pytest.mark.parametrize(("asked", "delta", "rate", "steps"), [(8.0, 1e-5, 100 / 1600, 640), (0.5, 1e-6, 0.01, 200)])
def test_the_budget_is_kept_and_hardly_less_noise_would_do(asked, delta, rate, steps):
    sigma = noise_multiplier(asked, delta, rate, steps)
    assert epsilon(DPEvent(rate, sigma, steps), delta) <= asked
    assert epsilon(DPEvent(rate, sigma / 1.0011, steps), delta) > asked


def test_one_full_batch_step_is_the_analytic_gaussian_mechanism():
    sigma = noise_multiplier(2.0, 1e-5, 1.0, 1)
    exact = 1.9939  # checked on the next line: the sigma at which the closed form spends 2
    assert epsilon_at(1e-5, lambda e: gaussian_delta(e, exact)) == pytest.approx(2.0, abs=1e-3)
    assert exact * 0.9995 <= sigma <= exact * 1.0015


def test_noise_does_not_grow_with_the_budget():
    noise = [noise_multiplier(asked, 1e-5, 0.1, 10) for asked in (0.3, 0.3001, 0.6)]
    assert noise == sorted(noise, reverse=True)


def test_steps_at_full_batch_cost_their_square_root():
    once, often = (noise_multiplier(1.0, 1e-5, 1.0, steps) for steps in (1, 25))
    assert often == pytest.approx(5 * once, rel=2e-3)


def test_the_ends():
    assert noise_multiplier(math.inf, 1e-5, 0.1, 10) == 0
    assert noise_multiplier(1e12, 1e-5, 0.1, 100) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    "ask", [(0.0, 1e-5, 0.1, 10), (1.0, 0.0, 0.1, 10), (1.0, 1e-5, 0.0, 10), (1.0, 1e-5, 1.1, 10), (1.0, 1e-5, 0.1, 0)]
)
def test_arguments_out_of_range_are_named(ask):
    with pytest.raises(ConfigError, match="epsilon="):
        noise_multiplier(*ask)


def test_a_budget_out_of_reach_says_so():
    with pytest.raises(ConfigError, match="too small for the accountant"):
        noise_multiplier(1e-4, 1e-6, 0.1, 100)

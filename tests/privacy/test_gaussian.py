import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.core.errors import ConfigError
from privsec.privacy.gaussian import gdp_epsilon
from tests.oracles.lower_bounds import gdp_delta


@pytest.mark.parametrize("mu", [1e-6, 1e-5, 1.1e-5, 1e-3, 0.1, 1.0, 5.0, 30.0, 300.0])
@pytest.mark.parametrize("delta", [1e-12, 1e-8, 1e-5, 1e-3, 0.3])
def test_delta_of_the_epsilon_is_delta_again_to_nine_digits(mu, delta):
    epsilon = gdp_epsilon(mu, delta)
    if epsilon == 0:
        assert gdp_delta(0, mu) <= Decimal(delta)
    else:
        assert float(gdp_delta(epsilon, mu) / Decimal(delta)) == pytest.approx(1, rel=1e-8 * max(mu, 1))


def test_huge_mu_follows_its_asymptote():
    # epsilon = mu^2 / 2 + mu z_delta - 1 + o(1)
    assert gdp_epsilon(1e6, 1e-5) == pytest.approx(5e11 + 1e6 * 4.264890793922825 - 1, abs=1e-3)


def test_ends():
    assert gdp_epsilon(0.0, 1e-5) == gdp_epsilon(0.0, 0.0) == 0
    assert gdp_epsilon(1.0, 0.0) == math.inf
    assert gdp_epsilon(1.0, 0.9) == 0
    for mu, delta in ((-1.0, 1e-5), (math.nan, 1e-5), (math.inf, 1e-5), (1.0, 1.0), (1.0, -0.1)):
        with pytest.raises(ConfigError, match="got"):
            gdp_epsilon(mu, delta)


@given(st.floats(1e-6, 1e3), st.floats(1e-12, 0.9))
def test_it_grows_with_mu_and_falls_with_delta(mu, delta):
    epsilon = gdp_epsilon(mu, delta)
    assert 0 <= epsilon <= gdp_epsilon(1.1 * mu, delta) * (1 + 1e-12)
    assert gdp_epsilon(mu, delta * 1.1) <= epsilon * (1 + 1e-12)

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from privsec.core.errors import ConfigError, DataError
from privsec.core.recipe import DPEvent
from privsec.privacy import families
from privsec.privacy.lower_bounds import f_dp_one_run, f_dp_one_run_scores, gdp_epsilon, one_run, one_run_scores
from privsec.privacy.one_run import is_refuted, p_value
from tests.oracles import lower_bounds as oracle

COINS = {"design": "fair_coins"}
FULL_BATCH = DPEvent(sampling_rate=1.0, noise_multiplier=1.0, steps=1)


@pytest.mark.parametrize(("n", "published", "refined"), [(100, 3.49, 7.15), (1000, 5.76, 11.05), (5000, 7.14, 13.58)])
def test_golden_ceilings(n, published, refined):
    """n members and n non-members, every member found."""
    assert one_run(n, n, 2 * n, delta=1e-5, **COINS).ceiling == pytest.approx(published, abs=0.005)
    assert f_dp_one_run(n, n, 2 * n, delta=1e-5, **COINS).ceiling == pytest.approx(refined, abs=0.005)


@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3, 0.2])
@pytest.mark.parametrize(("correct", "guesses", "canaries"), [(0, 9, 9), (1, 1, 50), (30, 40, 200), (60, 60, 60)])
def test_p_value_is_the_theorem_term_by_term(correct, guesses, canaries, delta):
    for eps in (0.0, 0.7, 3.0):
        expected = oracle.one_run_p_value(correct, guesses, canaries, eps, delta)
        assert p_value(correct, guesses, canaries, eps, delta) == pytest.approx(expected, rel=1e-10, abs=1e-300)


def test_the_terms_that_are_not_summed_do_not_matter():
    """With many guesses only some i are looked at; here all are."""
    from scipy.stats import binom

    v, r, m, delta, eps = 7300, 9000, 20_000, 1e-6, 0.9
    right = 1 / (1 + math.exp(-eps))
    i = np.arange(1, v + 1)
    gain = ((binom.sf(v - i - 1, r, right) - binom.sf(v - 1, r, right)) / i).max()
    expected = binom.sf(v - 1, r, right) + 2 * m * delta * gain
    assert 1e-6 < expected < 0.1
    assert p_value(v, r, m, eps, delta) == pytest.approx(expected, rel=1e-9)


@given(st.integers(1, 400), st.floats(0.5, 1), st.integers(1, 5), st.sampled_from([0.0, 1e-6, 1e-4, 1e-2]))
@settings(max_examples=50)
def test_the_bound_is_where_the_p_value_first_reaches_alpha(guesses, accuracy, sparsity, delta):
    correct, canaries = round(accuracy * guesses), sparsity * guesses
    bound = one_run(correct, guesses, canaries, delta=delta, **COINS).estimate.value
    below = [p_value(correct, guesses, canaries, eps, delta) for eps in np.linspace(0, bound * (1 - 1e-8), 20)]
    assert bound == 0 or (max(below) < 0.05 and (np.diff(below) >= -1e-12).all())
    assert p_value(correct, guesses, canaries, bound + 1e-6, delta) >= 0.05 - 1e-9


@given(st.integers(0, 60), st.floats(0, 1e-3))
@settings(max_examples=30)
def test_monotone(correct, delta):
    for function in (one_run, f_dp_one_run):
        delta = max(delta, 1e-9)

        def value(correct=correct, delta=delta, canaries=150, function=function, **more):
            bound = function(correct, 60, canaries, delta=delta, **COINS, **more)
            assert 0 <= bound.estimate.value <= bound.ceiling + 1e-9
            return bound.estimate.value

        here = value()
        assert value(correct=min(correct + 1, 60)) >= here
        assert value(delta=delta * 2) <= here + 1e-9
        assert value(alpha=0.01) <= here + 1e-9
        assert value(canaries=300) <= here + 1e-9


def test_recursion_agrees_with_a_linear_program():
    """Placing no more probability than is forced loses nothing: the program finds no better distribution."""
    eps, delta = 0.8, 0.01
    lines = [(math.exp(eps), delta), (math.exp(-eps), 1 - math.exp(-eps) * (1 - delta))]
    inverse = families._two_lines(eps, delta)
    for correct, guesses, canaries in ((9, 10, 10), (9, 10, 40), (12, 12, 20), (14, 20, 20)):
        most = oracle.largest_tail(correct, guesses, canaries, lines)
        assert not is_refuted(correct, guesses, canaries, most * (1 - 1e-6), inverse)
        assert is_refuted(correct, guesses, canaries, most * (1 + 1e-6), inverse)


def test_recursion_agrees_with_a_linear_program_for_a_gaussian():
    mu = 0.6
    x = ndtr(np.linspace(-6, 6, 300))
    tpr, slope = ndtr(ndtri(x) + mu), np.exp(-mu * ndtri(x) - mu**2 / 2)  # tangents
    most = oracle.largest_tail(9, 12, 24, list(zip(slope, tpr - slope * x, strict=True)))

    def inverse(right):
        return float(ndtr(ndtri(right) - mu))

    assert not is_refuted(9, 12, 24, most * 0.995, inverse)
    assert is_refuted(9, 12, 24, most * 1.005, inverse)


def test_the_gaussian_bound_is_the_epsilon_of_a_mu_that_is_just_refuted():
    bound = f_dp_one_run(70, 80, 400, delta=1e-5, **COINS).estimate.value

    def refuted(mu):
        return is_refuted(70, 80, 400, 0.05, lambda right: float(ndtr(ndtri(right) - mu)))

    mu = families.last(refuted)
    assert refuted(mu) and not refuted(mu + 1e-6)
    assert bound == gdp_epsilon(mu, 1e-5)


def test_without_delta_any_mechanism_is_hardly_weaker_than_the_theorem():
    for correct in (60, 75, 95, 100):
        published = one_run(correct, 100, 1000, **COINS).estimate.value
        any_ = f_dp_one_run(correct, 100, 1000, delta=0.0, family="approximate_dp", **COINS).estimate.value
        assert published - 0.03 < any_ <= published + 1e-6


def test_with_many_canaries_delta_costs_any_mechanism_less_than_the_theorem():
    given = {"delta": 1e-5, **COINS}
    assert one_run(300, 400, 100_000, **given).estimate.value < 0.8
    assert f_dp_one_run(300, 400, 100_000, family="approximate_dp", **given).estimate.value > 0.85


@pytest.mark.parametrize("event", [FULL_BATCH, DPEvent(1.0, 3.0, 9)])
def test_the_accountants_curve_of_a_gaussian_gives_the_gaussian_bound(event):
    given = {"delta": 1e-3, **COINS}
    gaussian = f_dp_one_run(75, 90, 200, **given).estimate.value
    curve = f_dp_one_run(75, 90, 200, family=event, **given).estimate.value
    assert 0.97 * gaussian < curve < gaussian + 2e-3  # noise goes by hundredths, and the coarse curve is a little loose


def test_the_events_own_noise_only_names_the_family():
    given = {"delta": 1e-3, **COINS}
    bounds = {f_dp_one_run(60, 90, 200, family=DPEvent(1.0, sigma, 4), **given).estimate.value for sigma in (0.5, 9.0)}
    assert len(bounds) == 1


def test_curve_inverse_inverts_the_trade_off():
    from privsec.privacy import accounting

    event = DPEvent(0.3, 1.0, 4)
    inverse = families._lines(*accounting.privacy_curve(event, 1e-3))
    fpr = np.array([1e-6, 1e-4, 0.01, 0.3, 0.7, 0.99])
    tpr = accounting.trade_off_bound(event, fpr, grid=1e-3)
    np.testing.assert_allclose([inverse(t) for t in tpr], fpr, rtol=1e-9)
    assert inverse(0.0) == 0


def test_the_shape_of_the_curve_counts():
    """Few subsampled steps have heavier tails than a Gaussian: the same guesses refute a larger epsilon."""
    event = DPEvent(sampling_rate=0.3, noise_multiplier=1.0, steps=2)
    given = {"delta": 1e-3, **COINS}
    bound = f_dp_one_run(60, 90, 200, family=event, **given)
    gaussian = f_dp_one_run(60, 90, 200, **given)
    assert 1.02 * gaussian.estimate.value < bound.estimate.value < 1.2 * gaussian.estimate.value


def test_guesses_are_the_outermost_scores_on_both_sides():
    member = np.array([1, 1, 0, 1, 0, 1, 0, 0], bool)
    scores = np.arange(8.0)[::-1]
    for guesses, correct in ((1, 1), (2, 2), (4, 4), (6, 4), (8, 6)):
        expected = one_run(correct, guesses, 8, **COINS)
        assert one_run_scores(scores, member, guesses=guesses, **COINS).estimate == expected.estimate


def test_several_numbers_of_guesses_share_alpha():
    rng = np.random.default_rng(0)
    member = rng.random(1000) < 0.5
    scores = rng.normal(member * 1.5)
    for function, more in ((one_run_scores, {}), (f_dp_one_run_scores, {"delta": 1e-5})):
        both = function(scores, member, guesses=(50, 200), **more, **COINS)
        each = [function(scores, member, guesses=r, alpha=0.025, **more, **COINS) for r in (50, 200)]
        assert both.estimate.value == pytest.approx(max(one.estimate.value for one in each), abs=1e-8)
        assert both.ceiling == pytest.approx(max(one.ceiling for one in each), abs=1e-8)
        assert both.alpha == 0.05


def test_constant_scores_show_nothing_and_order_is_not_read():
    coins = np.random.default_rng(0).random(1000) < 0.5
    assert one_run_scores(np.zeros(1000), coins, **COINS).estimate.value == 0
    sorted_coins = np.sort(coins)
    assert f_dp_one_run_scores(np.zeros(1000), sorted_coins, delta=1e-5, **COINS).estimate.value == 0


def test_a_majority_that_no_coin_drew_is_refused_or_thinned():
    member = np.arange(1000) < 900
    scores = np.random.default_rng(1).random(1000)
    with pytest.raises(DataError, match="'records'"):
        one_run_scores(scores, member, **COINS)
    thinned = one_run_scores(scores, member, design="records")
    assert (thinned.estimate.value, thinned.estimate.n, thinned.grade) == (0, 200, "heuristic")


def test_it_is_a_proof_for_fair_coins_alone_and_says_what_it_assumes():
    assert one_run(75, 100, 100, **COINS).grade == "proof"
    assert len(one_run(75, 100, 100, **COINS).assumptions) == 1
    for design in ("independent_runs", "records"):
        assert one_run(75, 100, 100, design=design).grade == "heuristic"
    gaussian = f_dp_one_run(75, 100, 100, delta=1e-5, **COINS)
    assert "Gaussian mechanism" in gaussian.assumptions[-1] and "Gaussian mechanism" in gaussian.title
    event = f_dp_one_run(50, 100, 100, delta=1e-5, family=DPEvent(1.0, 1.0, 10), **COINS)
    assert "rate 1, 10 steps" in event.assumptions[-1]


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"family": "gausian"}, ConfigError, "Did you mean 'gaussian'"),
        ({"family": DPEvent(0.0, 1.0, 10)}, ConfigError, "above 0"),
        ({"family": DPEvent(2.0, 1.0, 10)}, ConfigError, "sampling rate"),
        ({"delta": 0.0}, ConfigError, "1e-5"),
        ({"delta": 0.0, "family": FULL_BATCH}, ConfigError, "1e-5"),
        ({"guesses": 0}, ConfigError, "guesses"),
        ({"guesses": 2.5}, ConfigError, "guesses"),
        ({"guesses": ()}, ConfigError, "guesses"),
        ({"guesses": 5}, DataError, "4 canaries"),
    ],
)
def test_wrong_arguments_are_named(wrong, error, text):
    with pytest.raises(error, match=text):
        f_dp_one_run_scores([3.0, 2.0, 1.0, 0.0], [1, 0, 1, 0], **{"delta": 1e-5, **COINS, **wrong})


@pytest.mark.parametrize("counts", [(3, 2, 9), (1, 10, 9), (-1, 2, 9), (0, 0, 9)])
def test_counts_that_cannot_be(counts):
    with pytest.raises(DataError, match="guesses"):
        one_run(*counts, **COINS)
    with pytest.raises(DataError, match="guesses"):
        f_dp_one_run(*counts, delta=1e-5, **COINS)


def test_edges():
    assert one_run(0, 10, 10, **COINS).estimate.value == 0
    assert one_run(100, 100, 100, delta=0.9, **COINS).estimate.value == 0
    assert f_dp_one_run(100, 100, 100, delta=0.9, family="approximate_dp", **COINS).estimate.value == 0
    assert f_dp_one_run(0, 10, 10, delta=1e-5, **COINS).estimate.value == 0
    assert one_run(1, 1, 1, **COINS).estimate.value == 0  # one coin is guessed by chance
    assert f_dp_one_run(100, 100, 100, delta=0.0, family="approximate_dp", **COINS).estimate.value > 3

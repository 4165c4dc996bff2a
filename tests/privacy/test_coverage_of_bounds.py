"""P(bound > truth) <= alpha, counted over simulated audits of mechanisms whose epsilon is known.

With N audits and a bound that is wrong with probability alpha, the count of wrong ones is binomial; a test fails where
that many have probability below 1e-6, so that a sound bound is blamed once in a million times. Seeds are fixed.
"""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom

from privsec.core.recipe import DPEvent
from privsec.privacy import accounting, families
from privsec.privacy.bound import ranked, stream
from privsec.privacy.lower_bounds import (
    clopper_pearson,
    clopper_pearson_scores,
    f_dp_one_run,
    f_dp_one_run_scores,
    gdp_epsilon,
    gdp_scores,
    one_run_scores,
    rank_test_scores,
)
from privsec.privacy.one_run import is_refuted
from privsec.privacy.rank_test import rank_p_value, rank_tests

AUDITS = 1000
ALPHA = 0.1
"""Larger than one would use, so that a bound that is wrong shows soon."""
DELTA = 1e-3
SIDE = 100
"""Trials a side, about."""


def noise(member, rng):
    return rng.normal(size=len(member))


def gaussian(member, rng):
    return rng.normal(1.3 * member)


def laplace(member, rng):
    return rng.laplace(1.5 * member)


def randomized_response(member, rng):
    return np.where(rng.random(len(member)) < 1 / (1 + math.exp(-1.2)), member, ~member).astype(float)


def all_or_nothing(member, rng):
    """(0, delta)-DP with as large a delta as alpha bears: publishes every coin, or nothing at all."""
    return member.astype(float) if rng.random() < 0.8 * ALPHA else np.zeros(len(member))


TRUTH = {
    noise: (DELTA, 0.0),
    gaussian: (DELTA, gdp_epsilon(1.3, DELTA)),
    laplace: (DELTA, 1.5 + 2 * math.log(1 - DELTA)),
    randomized_response: (DELTA, 1.2 + math.log(1 - DELTA * (1 + math.exp(-1.2)))),
    all_or_nothing: (0.8 * ALPHA, 0.0),
}
"""delta, and the mechanism's exact epsilon at it."""


def wrong(bound, mechanism, alpha=ALPHA, **given):
    """In how many of the audits the bound lies above the truth."""
    delta, truth = TRUTH[mechanism]
    count = 0
    for audit in range(AUDITS):
        rng = np.random.default_rng([audit, 11])
        member = rng.random(2 * SIDE) < 0.5
        found = bound(mechanism(member, rng), member, delta=delta, alpha=alpha, seed=audit, **given)
        count += found.estimate.value > truth + 1e-9
    return count


def too_many(count, alpha=ALPHA):
    return binom.sf(count - 1, AUDITS, alpha) < 1e-6


@pytest.mark.parametrize(
    ("mechanism", "threshold"),
    [
        *((mechanism, "ranks") for mechanism in (noise, gaussian, laplace, randomized_response)),
        *((mechanism, threshold) for mechanism in (noise, gaussian) for threshold in ("split", "bonferroni")),
    ],
)
def test_clopper_pearson(mechanism, threshold):
    assert not too_many(wrong(clopper_pearson_scores, mechanism, threshold=threshold, design="independent_runs"))


@pytest.mark.parametrize("mechanism", [noise, laplace, randomized_response])
def test_rank_test(mechanism):
    """The bound is above the truth where the truth is refuted: that is asked, as it is quicker than searching."""
    delta, truth = TRUTH[mechanism]
    count = 0
    for audit in range(AUDITS):
        rng = np.random.default_rng([audit, 11])
        member = rng.random(2 * SIDE) < 0.5
        scores = mechanism(member, rng)
        tests = rank_tests(ranked(scores, member, stream(audit)))
        refuted = any(rank_p_value(test, truth, delta) < ALPHA / len(tests) for test in tests)
        if audit < 20:
            bound = rank_test_scores(scores, member, delta=delta, alpha=ALPHA, design="independent_runs", seed=audit)
            assert refuted == (bound.estimate.value > truth)
        count += refuted
    assert not too_many(count)


@pytest.mark.parametrize("mechanism", [noise, gaussian])
@pytest.mark.parametrize("threshold", ["ranks", 0.65])
def test_gdp(mechanism, threshold):
    assert not too_many(wrong(gdp_scores, mechanism, threshold=threshold, design="independent_runs"))


@pytest.mark.parametrize("mechanism", TRUTH)
def test_one_run(mechanism):
    assert not too_many(wrong(one_run_scores, mechanism, design="fair_coins"))


@pytest.mark.parametrize("mechanism", TRUTH)
def test_f_dp_for_any_mechanism(mechanism):
    assert not too_many(wrong(f_dp_one_run_scores, mechanism, family="approximate_dp", design="fair_coins"))


@pytest.mark.parametrize("mechanism", [noise, gaussian])
def test_f_dp_for_the_gaussian(mechanism):
    assert not too_many(wrong(f_dp_one_run_scores, mechanism, family="gaussian", design="fair_coins"))


def test_f_dp_with_the_accountants_curve():
    """Canaries that see Poisson-sampled noisy steps, judged by their likelihood ratio: the best attack there is.

    The bound is above the truth where the true noise is refuted, which is asked 1,000 times; the whole search once.
    """
    event = DPEvent(sampling_rate=0.5, noise_multiplier=1.5, steps=3)
    refuted_at_the_truth = families._lines(*accounting.privacy_curve(event, 1e-3))
    correct, guesses = [], 50
    for audit in range(AUDITS):
        rng = np.random.default_rng([audit, 12])
        member = rng.random(2 * SIDE) < 0.5
        seen = rng.normal((rng.random((event.steps, 2 * SIDE)) < 0.5) * member, 1.5)
        ratio = np.log(0.5 + 0.5 * np.exp((seen - 0.5) / 1.5**2)).sum(axis=0)
        order = member[np.argsort(ratio)]
        correct.append(int(order[-guesses // 2 :].sum() + (~order[: guesses // 2]).sum()))
    refuted = [is_refuted(v, guesses, 2 * SIDE, ALPHA, refuted_at_the_truth) for v in correct]
    assert not too_many(sum(refuted))
    at_the_truth, given = refuted[int(np.argmax(correct))], {"delta": DELTA, "alpha": ALPHA, "design": "fair_coins"}
    bound = f_dp_one_run(max(correct), guesses, 2 * SIDE, family=event, **given)
    assert (bound.estimate.value > accounting.epsilon(event, DELTA)) == at_the_truth


def test_a_bound_that_is_fixed_in_advance_uses_up_its_alpha():
    """The counts are not small because the bounds are weak: randomized response is the worst case of one-run."""
    count = wrong(one_run_scores, randomized_response, guesses=100, design="fair_coins")
    assert 0.3 * ALPHA * AUDITS < count and not too_many(count)


def test_searching_without_paying_for_it_is_caught():
    """What the test of these tests is: the best threshold of ten, each at the full alpha."""

    def greedy(scores, member, **given):
        found = []
        for threshold in np.linspace(-1.5, 1.5, 10):
            called = scores >= threshold
            counts = (called & member).sum(), member.sum(), (called & ~member).sum(), (~member).sum()
            counts = [int(count) for count in counts]
            given = {"delta": given["delta"], "alpha": given["alpha"], "design": "independent_runs"}
            found += [clopper_pearson(*counts, **given), clopper_pearson(*counts[2:], *counts[:2], **given)]
        return max(found, key=lambda bound: bound.estimate.value)

    assert too_many(wrong(greedy, noise, alpha=0.1), alpha=0.01)


def test_truths_are_exact():
    def shown(density_in, density_out, epsilon):
        return np.maximum(density_in - math.exp(epsilon) * density_out, 0)

    x = np.linspace(-40, 40, 400_001)
    step = x[1] - x[0]
    _, epsilon = TRUTH[laplace]
    assert shown(np.exp(-abs(x - 1.5)) / 2, np.exp(-abs(x)) / 2, epsilon).sum() * step == pytest.approx(DELTA, rel=1e-3)
    right = 1 / (1 + math.exp(-1.2))
    _, epsilon = TRUTH[randomized_response]
    assert right - math.exp(epsilon) * (1 - right) == pytest.approx(DELTA, rel=1e-6)
    assert brentq(lambda mu: gdp_epsilon(mu, DELTA) - TRUTH[gaussian][1], 0.1, 5) == pytest.approx(1.3)


@pytest.mark.slow
def test_real_dp_sgd_stays_below_what_its_accountant_claims_and_shows_something():
    """100 canaries in each of 300 trainings, and the same canary in 300 trainings; broken noise would be seen."""
    path = Path(__file__).parents[2] / "experiments" / "audit_coverage" / "population.py"
    scores, coins, event = runpy.run_path(str(path))["trained"](300)
    claimed = accounting.epsilon(event, DELTA)
    given = {"delta": DELTA, "alpha": ALPHA}
    one_run = [
        one_run_scores(s, k, design="fair_coins", **given).estimate.value for s, k in zip(scores, coins, strict=True)
    ]
    runs = [
        clopper_pearson_scores(s, k, design="independent_runs", **given).estimate.value
        for s, k in zip(scores.T, coins.T, strict=True)
    ]
    for bounds in (one_run, runs):
        count = sum(bound > claimed for bound in bounds)
        assert binom.sf(count - 1, len(bounds), ALPHA) > 1e-6
        assert 0 < np.median(bounds) < claimed

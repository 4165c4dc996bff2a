"""Bounds on epsilon by their definitions: exact sums, sixty digits, a linear program."""

import decimal
from decimal import Decimal
from fractions import Fraction
from math import comb

import numpy as np
from scipy.optimize import linprog

decimal.getcontext().prec = 60


def binomial_tail(j, r, q):
    """P[Bin(r, q) >= j], exactly for a Fraction q."""
    return sum(comb(r, k) * q**k * (1 - q) ** (r - k) for k in range(max(j, 0), r + 1))


def lower_end(k, n, alpha):
    """The success probability at which k or more of n successes have probability alpha."""
    if k == 0:
        return 0.0
    low, high = Fraction(0), Fraction(1)
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if binomial_tail(k, n, middle) < alpha else (low, middle)
    return float(low)


def upper_end(k, n, alpha):
    return 1 - lower_end(n - k, n, alpha)


def one_run_p_value(correct, guesses, canaries, epsilon, delta):
    """Theorem 5.2 of Steinke et al., term by term."""
    right = Fraction(float(np.exp(epsilon) / (1 + np.exp(epsilon))))
    tail = binomial_tail(correct, guesses, right)
    steps = [(binomial_tail(correct - i, guesses, right) - tail) / i for i in range(1, correct + 1)]
    return float(min(tail + 2 * canaries * Fraction(delta) * max(steps, default=0), 1))


def largest_tail(correct, guesses, canaries, lines):
    """The largest P(at least `correct` right) that the constraints of a trade-off curve allow, by linear programming.

    The curve is TPR <= slope FPR + offset for every (slope, offset) of `lines`; the variables are p_0 ... p_guesses.
    """
    i = np.arange(guesses + 1)
    rows, limits = [], []
    for j in range(1, guesses + 1):
        right = np.where(i >= j, i, 0) / canaries
        wrong = np.where(i >= j - 1, guesses - i, 0) / canaries
        for slope, offset in lines:
            rows.append(right - slope * wrong)
            limits.append(offset)
    found = linprog(
        -(i >= correct).astype(float), A_ub=rows, b_ub=limits, A_eq=np.ones((1, len(i))), b_eq=[1], bounds=(0, 1)
    )
    assert found.success
    return -found.fun


def normal_upper_tail(x):
    """P(N(0, 1) > x) to about fifty digits, x a Decimal: a power series near 0, Laplace's continued fraction beyond."""
    root_tau = (2 * Decimal("3.14159265358979323846264338327950288419716939937510582097494459")).sqrt()
    density = (-x * x / 2).exp() / root_tau
    if x < 0:
        return 1 - normal_upper_tail(-x)
    if x < 7:
        term = total = x
        k = 1
        while abs(term) > Decimal(10) ** -58:
            term *= x * x / (2 * k + 1)
            total += term
            k += 1
        return Decimal("0.5") - density * total
    fraction = x
    for k in range(600, 0, -1):
        fraction = x + k / fraction
    return density / fraction


def gdp_delta(epsilon, mu):
    """delta(epsilon) of mu-GDP, in Decimals."""
    epsilon, mu = Decimal(epsilon), Decimal(mu)
    near, far = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    return normal_upper_tail(near) - epsilon.exp() * normal_upper_tail(far)

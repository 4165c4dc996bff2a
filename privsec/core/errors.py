"""What can go wrong, said so that it can be mended: what was wrong, why it is likely, what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PrivsecError(Exception):
    """Base of every error that privsec raises on purpose."""


class ConfigError(PrivsecError):
    """A config or a Spec is wrong. Nothing has been computed."""


class DataError(PrivsecError):
    """A data set is missing, malformed, or too small for what was asked of it."""


class AccessError(PrivsecError):
    """An attack asked a Target for more than its access grants."""


class NotApplicable(PrivsecError):
    """A cell cannot be computed, for a reason that belongs in the table rather than in a traceback."""


class QueryBudgetExceeded(NotApplicable):
    """The next question would exceed the number of queries that a Target allows."""


def did_you_mean(given: object, allowed: Iterable[str]) -> str:
    """Returns `" Did you mean 'gamma'?"` for a near miss, else the empty string.

    >>> did_you_mean("gama", ["gamma", "online"])
    " Did you mean 'gamma'?"
    >>> did_you_mean("lria", ["rmia", "lira"])
    " Did you mean 'lira'?"
    >>> did_you_mean("zzz", ["gamma"])
    ''
    """
    near = difflib.get_close_matches(str(given), list(allowed), n=3, cutoff=0.5)
    near.sort(key=lambda name: sorted(name) != sorted(str(given)))  # swapped letters are the likeliest slip
    return f" Did you mean {near[0]!r}?" if near else ""

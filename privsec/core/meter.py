"""A query meter: how often a model was asked, and how often it may be."""

from __future__ import annotations

import threading

from privsec.core.errors import QueryBudgetExceeded


class Meter:
    """Counts the records a model outside of JAX was asked about, over all threads.

    >>> meter = Meter(budget=100)
    >>> meter.charge(60)
    >>> meter.charge(60)
    Traceback (most recent call last):
        ...
    privsec.core.errors.QueryBudgetExceeded: 60 more queries would exceed the budget of 100 (60 are spent). Ask ...
    >>> meter.spent
    60
    """

    def __init__(self, budget: int | None = None) -> None:
        if budget is not None and budget < 1:
            raise ValueError(f"a query budget is a positive number of records, or None for no limit; got {budget}")
        self.budget = budget
        self.spent = 0
        self._lock = threading.Lock()

    def charge(self, queries: int) -> None:
        """Counts `queries`, all or none of them.

        Raises:
            QueryBudgetExceeded: they would exceed the budget; nothing has been asked.
        """
        with self._lock:
            if self.budget is not None and self.spent + queries > self.budget:
                raise QueryBudgetExceeded(
                    f"{queries} more queries would exceed the budget of {self.budget} ({self.spent} are spent). "
                    "Ask about fewer records, choose attacks that take fewer queries, or raise the budget."
                )
            self.spent += queries

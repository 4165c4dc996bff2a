"""Clients whose queries resemble their own earlier ones too closely are banned.

References: Chen, Carlini & Wagner 2020, "Stateful detection of black-box adversarial attacks", arXiv 1907.05587.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field, model_validator

from privsec.core.data import Examples
from privsec.core.defense import RememberingDefense
from privsec.core.errors import ConfigError, DataError

BLOCK = 256
"""Queries compared in one product of matrices, at most; bounds the memory, never changes an answer."""
REST = 1e-6
"""Share of the answer "refused" that goes to each other class, so that log-scores stay finite."""
TIE = 1e-6
"""By how much less than the threshold, as a share of it, a distance has to be: rounding makes no alarm of a tie."""


class StatefulSimilarity(RememberingDefense):
    """Bans a client whose query is too close to several of its own earlier ones, as those of a search are.

    With N_k(x) the k nearest to x among the last `window` queries of the account, it is banned where
    `1/k sum_{z in N_k(x)} ||x - z||_2 / sqrt(D) < threshold`: this query and all later ones are answered "refused", and
    what was remembered is forgotten. The threshold lets a share `false_positives` of honest queries raise an alarm, as
    measured on the defender's own records (`fitted`). An account that has asked fewer than k things is never banned.

    An attacker with P accounts is answered at least P k queries; one who works on more than window / k records in turn
    hides the resemblance. Distances are between raw features, where the paper learns an encoder against attackers who
    shift or scale their queries. Honest users whose records resemble each other more than the defender's do (frames of
    a film) are banned more often than stated.

    References: Chen et al. 2020, arXiv 1907.05587, section 4.
    """

    name: Literal["stateful_similarity"] = "stateful_similarity"
    paper = "Chen, Carlini & Wagner 2020, arXiv 1907.05587"

    neighbors: int = Field(default=10, ge=1)
    """k, how many of the nearest earlier queries are compared; the paper has 50."""
    window: int = Field(default=1000, ge=1)
    """Queries of an account that are remembered, at most; no more than the defender has records to compare."""
    false_positives: float = Field(default=0.01, ge=0, lt=1)
    """Which share of honest queries may raise an alarm, each of which bans an account; 0 bans nobody."""
    threshold: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Mean distance below which a query raises the alarm, root mean square over features; null measures it on the
    defender's own records."""

    @model_validator(mode="after")
    def _remembers_enough(self) -> StatefulSimilarity:
        if self.window < self.neighbors:
            raise ValueError(f"a window of {self.window} queries never holds {self.neighbors} neighbors")
        return self

    @property
    def active(self) -> bool:
        return self.false_positives > 0

    def fitted(self, public: Examples) -> StatefulSimilarity:
        """The defense with the threshold that lets at most a share `false_positives` of honest queries raise an alarm.

        Each public record is asked about after `window` others, or after all others where there are fewer; then no more
        than so many are remembered, for among more the nearest would be nearer. Of the N distances so measured the
        floor((N + 1) false_positives)-th smallest is the threshold. A defense that has one, or is off, stays as it is.

        Raises:
            DataError: there are too few public records for the neighbors, or for so small a share.
        """
        if self.threshold is not None or not self.active:
            return self
        x = _flat(np.asarray(public.x))
        count, rank = len(x), math.floor((len(x) + 1) * self.false_positives + 1e-9)
        if rank < 1 or count <= self.neighbors:
            raise DataError(
                f"{count} public records are too few to let {self.false_positives:.2%} of honest queries raise an "
                f"alarm: the defender needs {max(math.ceil(1 / self.false_positives) - 1, self.neighbors + 1)}. Give "
                "more, allow more false positives, or write the threshold."
            )
        window = min(self.window, count - 1)
        distances = np.sort(honest_distances(x, self.neighbors, window))
        return self.model_copy(update={"threshold": float(distances[rank - 1]), "window": window})

    def session(self, accounts: int | None) -> Dealings:
        if self.threshold is None:
            raise ConfigError(
                "stateful_similarity has no threshold yet. Fit it to the defender's own records, "
                "StatefulSimilarity().fitted(public), or write one."
            )
        return Dealings(self.neighbors, self.window, self.threshold, accounts)


class Dealings:
    """One client's queries and what became of its accounts.

    Attributes:
        asked: queries so far, refused ones among them.
        bans: the numbers of the queries, counted from 1, that got an account banned.
        accounts: how many are left; None for any number.
    """

    def __init__(self, neighbors: int, window: int, threshold: float, accounts: int | None) -> None:
        self.asked, self.bans, self.accounts = 0, [], accounts
        self._neighbors, self._window, self._limit = neighbors, window, threshold * (1 - TIE)
        self._earlier: np.ndarray | None = None

    def answered(self, log_scores: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The log-scores [B, C], or where the client is or gets banned the last class, "refused"."""
        classes = log_scores.shape[-1]
        refusal = np.full(classes, REST)
        refusal[-1] = 1 - (classes - 1) * REST
        return np.where(self.refused(x)[:, None], np.log(refusal), log_scores).astype(log_scores.dtype)

    def refused(self, x: np.ndarray) -> Bool[np.ndarray, " B"]:
        """Which of the queries [B, ...], asked one after another, are refused."""
        x, refused, done, size = _flat(x), np.ones(len(x), bool), 0, BLOCK
        while done < len(x) and self.accounts != 0:
            block = x[done : done + size]
            every = block if self._earlier is None else np.concatenate([self._earlier, block])
            position = np.arange(len(every) - len(block), len(every))[:, None]
            before = np.arange(len(every))
            known = (before < position) & (before >= position - self._window)
            alarms = mean_nearest(distances(block, every), known, self._neighbors) < self._limit
            if alarms.any():
                answered = int(np.argmax(alarms))
                taken, self._earlier = answered + 1, None
                size = 2 * self._neighbors  # who was banned just now is likely to be banned soon again
                self.bans.append(self.asked + taken)
                self.accounts = None if self.accounts is None else self.accounts - 1
            else:
                answered = taken = len(block)
                size = min(2 * size, BLOCK)
                self._earlier = every[-self._window :]
            refused[done : done + answered] = False
            done, self.asked = done + taken, self.asked + taken
        self.asked += len(x) - done
        return refused


def honest_distances(x: Float[np.ndarray, "N D"], neighbors: int, window: int) -> Float[np.ndarray, " N"]:
    """The mean distance of each record to its nearest among `window` others, drawn once at random."""
    x = x[np.random.default_rng(0).permutation(len(x))]
    parts = []
    for start in range(0, len(x), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(x)))[:, None]
        back = (rows - np.arange(len(x))) % len(x)  # how long before, the last record being before the first
        parts.append(mean_nearest(distances(x[rows[:, 0]], x), (back >= 1) & (back <= window), neighbors))
    return np.concatenate(parts)


def distances(x: Float[np.ndarray, "B D"], z: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "B M"]:
    """`||x - z||_2 / sqrt(D)`, float64: the root mean square of the features' differences."""
    x, z = np.asarray(x, np.float64), np.asarray(z, np.float64)
    squares = np.sum(x**2, axis=1)[:, None] + np.sum(z**2, axis=1) - 2 * x @ z.T
    return np.sqrt(np.maximum(squares, 0.0) / x.shape[1])


def mean_nearest(
    distance: Float[np.ndarray, "B M"], known: Bool[np.ndarray, "B M"], neighbors: int
) -> Float[np.ndarray, " B"]:
    """Each row's mean over the smallest so many of its known distances; infinite where it has fewer.

    >>> mean_nearest(np.array([[3.0, 1.0, 2.0]]), np.array([[True, True, False]]), 2).tolist()
    [2.0]
    """
    if distance.shape[1] < neighbors:
        return np.full(len(distance), np.inf)
    return np.partition(np.where(known, distance, np.inf), neighbors - 1, axis=1)[:, :neighbors].mean(axis=1)


def _flat(x: np.ndarray) -> Float[np.ndarray, "B D"]:
    return np.asarray(x, np.float32).reshape(len(x), math.prod(x.shape[1:]))

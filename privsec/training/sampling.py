"""Which records each step of a training sees, drawn on the host with static shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from privsec.core.recipe import Schedule

OVERFLOW = 1e-14
"""Largest probability with which a Poisson batch may outgrow its padding."""


@dataclass(frozen=True)
class Shuffled:
    """Every epoch is a fresh permutation cut into batches; the last batch is padded with weight zero."""

    epochs: int
    batch_size: int

    def draw(self, rng: np.random.Generator, include_row: np.ndarray) -> Schedule:
        """int32 [epochs * ceil(n / B), B] for a model trained on n records."""
        members = np.flatnonzero(include_row).astype(np.int32)
        width = math.ceil(members.size / self.batch_size) * self.batch_size
        index, weight = np.zeros((self.epochs, width), np.int32), np.zeros((self.epochs, width), np.float32)
        for epoch in index:
            epoch[: members.size] = rng.permutation(members)
        weight[:, : members.size] = 1.0
        return Schedule(index.reshape(-1, self.batch_size), weight.reshape(-1, self.batch_size))


@dataclass(frozen=True)
class Cyclic:
    """So many full batches, however many records there are: one fresh permutation after the other, cut into batches.

    Without any record all is padding.
    """

    steps: int
    batch_size: int

    def draw(self, rng: np.random.Generator, include_row: np.ndarray) -> Schedule:
        """int32 [steps, B]."""
        members, shape = np.flatnonzero(include_row).astype(np.int32), (self.steps, self.batch_size)
        if not members.size:
            return Schedule(np.zeros(shape, np.int32), np.zeros(shape, np.float32))
        rounds = math.ceil(self.steps * self.batch_size / members.size)
        order = rng.permuted(np.tile(members, (rounds, 1)), axis=1).ravel()[: self.steps * self.batch_size]
        return Schedule(order.reshape(shape), np.ones(shape, np.float32))


@dataclass(frozen=True)
class Poisson:
    """Every step includes each record by an independent coin of probability `rate`, as the accountant assumes.

    Batches are padded to a width that a draw exceeds with probability below `OVERFLOW` a step. A larger draw raises:
    dropping records would void the accounting.
    """

    steps: int
    rate: float
    records: int

    @property
    def width(self) -> int:
        """Padded batch size, a multiple of 8: the mean plus Bernstein's bound on the deviation, or all records."""
        mean, nats = self.rate * self.records, -math.log(OVERFLOW)
        deviation = nats / 3 + math.sqrt((nats / 3) ** 2 + 2 * nats * mean * (1 - self.rate))
        return math.ceil(min(mean + deviation, self.records) / 8) * 8

    def draw(self, rng: np.random.Generator, include_row: np.ndarray) -> Schedule:
        """int32 [steps, width]; a step's real records come first.

        The size of each sample is drawn, then that many records without replacement: the same law as a coin each.

        Raises:
            RuntimeError: a batch outgrew its padding.
        """
        members = np.flatnonzero(include_row).astype(np.int32)
        counts = rng.binomial(members.size, self.rate, size=self.steps)
        if counts.max(initial=0) > self.width:
            raise RuntimeError(f"a Poisson batch of {counts.max()} records does not fit the padded width {self.width}")
        index = np.zeros((self.steps, self.width), np.int32)
        for step, count in enumerate(counts):
            index[step, :count] = members[rng.choice(members.size, count, replace=False, shuffle=False)]
        return Schedule(index, (np.arange(self.width) < counts[:, None]).astype(np.float32))

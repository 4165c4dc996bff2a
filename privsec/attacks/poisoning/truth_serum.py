"""Mislabeled copies of a record make it an outlier, and its membership visible.

References: Tramer, Shokri, San Joaquin, Le, Jagielski, Hong & Carlini 2022, "Truth serum: poisoning machine learning
models to reveal their secrets", CCS, arXiv 2204.00032.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import jax
import numpy as np
from pydantic import Field

from privsec.attacks.membership.lira import LiRA
from privsec.attacks.membership.shadows import candidates_of
from privsec.core import keys
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part, Poison
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.core.evidence import MembershipScores
from privsec.core.target import Target


class TruthSerum(Attack):
    """Copies of candidates with a wrong label are added to every training set; then LiRA asks who else was in it.

    For a victim (x, y), `copies` times (x, y') with one y' != y. The attacker's references hold the same poison, so
    what is measured is how much more the model tells of a victim among wrong copies of it. Only victims have scores.

    References: Tramer et al. 2022, arXiv 2204.00032.
    """

    name: Literal["truth_serum"] = "truth_serum"
    victims: int = Field(default=250, ge=2)
    """How many candidates are attacked, chosen at random; half of them are in each training set."""
    copies: int = Field(default=8, ge=1)
    """How many mislabeled copies of each are added to every training set."""
    variance: Literal["auto", "pooled", "per_example", "shrunk"] = "auto"
    """Of the membership attack, as in `lira`."""

    family: ClassVar[Family] = "poisoning"
    needs: ClassVar[Access] = Access.SCORES
    requires: ClassVar[frozenset[Part]] = frozenset({"candidates", "references"})
    tampers: ClassVar[bool] = True
    paper: ClassVar[str] = "Tramer et al. 2022, arXiv 2204.00032"

    @property
    def added(self) -> int:
        return self.victims * self.copies

    def rows(self, candidates: int) -> np.ndarray:
        """The victims among so many candidates, sorted.

        Raises:
            NotApplicable: there are fewer candidates.
        """
        if self.victims > candidates:
            raise NotApplicable(f"{self.title}: {self.victims} victims among {candidates} candidates. Write fewer.")
        order = keys.generator(keys.derive(keys.root(0), "victims")).permutation(candidates)
        return np.sort(order[: self.victims])

    def tamper(self, data: Examples, knowledge: Knowledge, key: jax.Array) -> Poison:
        """The copies, all of one victim after the other."""
        rows = self.rows(data.size)
        x, y = np.asarray(data.x)[rows], np.asarray(data.y)[rows]
        classes = knowledge.num_classes
        wrong = (y + keys.generator(key).integers(1, classes, len(rows))) % classes
        x, wrong = (np.repeat(part, self.copies, axis=0) for part in (x, wrong))
        return Poison.of(x, wrong, np.full(len(wrong), -1))

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> MembershipScores:
        """LiRA's scores of the victims, NaN for every other candidate."""
        candidates = candidates_of(knowledge)
        rows = self.rows(candidates.size)
        included = None if knowledge.included is None else np.asarray(knowledge.included)[:, rows]
        known = replace(knowledge, candidates=candidates.take(rows), included=included)
        found = LiRA(variance=self.variance).run(target, known, key)
        scores = np.full((len(found.scores), candidates.size), np.nan)
        scores[:, rows] = found.scores
        return MembershipScores(scores, found.queries)

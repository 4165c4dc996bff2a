"""Attack P: how few records that the target never saw have a lower loss than this one.

References:
    Ye et al. 2022, "Enhanced membership inference attacks against machine learning models", arXiv 2111.09679, Attack P.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import numpy as np
from jaxtyping import Float, Float64

from privsec.attacks.membership import shadows
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.evidence import MembershipScores
from privsec.core.target import Target


class AttackP(Attack):
    """The population attack: one threshold for each target (and class), a quantile of its losses on a population."""

    name: Literal["attack_p"] = "attack_p"
    per_class: bool = False
    """Compares a record with population records of its own class only; a class that the population lacks, with all."""

    family: ClassVar[Family] = "membership"
    needs: ClassVar[Access] = Access.SCORES
    requires: ClassVar[frozenset[Part]] = frozenset({"candidates", "population"})
    paper: ClassVar[str] = "Ye et al. 2022, arXiv 2111.09679"

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> MembershipScores:
        del key
        candidates, population = shadows.candidates_of(knowledge), shadows.population_of(knowledge)
        phi, others = target.observe(candidates, "margin"), target.observe(population, "margin")
        scores = outdone_population(phi, others)
        if self.per_class:
            y, of = np.asarray(candidates.y), np.asarray(population.y)
            for label in np.intersect1d(y, of):
                scores[:, y == label] = outdone_population(phi[:, y == label], others[:, of == label])
        return MembershipScores(scores)


def outdone_population(
    phi: Float[np.ndarray, "T N"], population: Float[np.ndarray, "T Z"]
) -> Float64[np.ndarray, "T N"]:
    """The share of population records whose loss is higher than the candidate's; equal shares in order of loss.

    The logit of the true class's probability stands for the loss: it falls as the loss rises.

    Args:
        phi: the logit of N candidates on T targets.
        population: the same of Z population records.

    Returns:
        Scores in (0, 1).

    >>> import numpy as np
    >>> outdone_population(np.array([[0.0, 9.0]]), np.array([[-1.0, -2.0, 1.0]])).round(3)
    array([[0.625, 0.988]])
    """
    return shadows.break_ties(shadows.outdone(phi, population), phi.astype(np.float64), population.shape[1])

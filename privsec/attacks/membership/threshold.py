"""What the attacks that put a threshold on one signal have in common."""

from __future__ import annotations

import abc
from typing import ClassVar

import jax
import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from privsec.attacks.membership import shadows
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.data import Array
from privsec.core.evidence import MembershipScores
from privsec.core.target import Target
from privsec.ops.leave_out import chunks


class ThresholdAttack(Attack):
    """Base of attacks whose score is one signal of one answer; no reference model, no population."""

    family: ClassVar[Family] = "membership"
    requires: ClassVar[frozenset[Part]] = frozenset({"candidates"})
    signal: ClassVar[str]
    """What is observed; see `core/signals.py`."""

    def score(self, signal: Float[np.ndarray, "T N"]) -> Float64[np.ndarray, "T N"]:
        """The signal as a score (higher = more likely a member)."""
        return signal.astype(np.float64)

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> MembershipScores:
        del key
        return MembershipScores(self.score(target.observe(shadows.candidates_of(knowledge), self.signal)))


class PerClassThresholdAttack(ThresholdAttack, abc.ABC):
    """Base of threshold attacks that may learn one threshold for each class on the references."""

    per_class: bool = True
    """Measures the signal from its mean on OUT references of the same class, in standard deviations: one threshold on
    that is one threshold a class. False needs no references."""

    requires: ClassVar[frozenset[Part]] = frozenset({"candidates", "references"})

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> MembershipScores:
        if not self.per_class:
            return super().run(target, knowledge, key)
        seen = shadows.observe(target, knowledge, self.signal, inside=0, outside=1)
        y = shadows.candidates_of(knowledge).y
        scores = standardize_per_class(
            self.score(seen.target), self.score(seen.references), seen.included, seen.usable, y, knowledge.num_classes
        )
        return MembershipScores(scores)


def standardize_per_class(
    scores: Float[np.ndarray, "T N"],
    references: Float[np.ndarray, "M N"],
    included: Bool[np.ndarray, "M N"],
    usable: Bool[np.ndarray, "#T M"],
    y: Int[Array, " N"],
    num_classes: int,
) -> Float64[np.ndarray, "T N"]:
    """(score - mean) / standard deviation, both over records of the same class on references where they are OUT.

    Args:
        scores: on the targets.
        references: the same on the references.
        included: which candidates each reference was trained on.
        usable: which references count for which target; one row where all targets may use the same.
        y: the candidates' labels.
        num_classes: C.
    """
    y = np.asarray(y)
    center = np.partition(references, references.size // 2, axis=None)[references.size // 2]
    sums = np.zeros((3, len(references), num_classes))
    for rows in chunks(scores.shape[1]):
        one_hot = (y[rows, None] == np.arange(num_classes)).astype(np.float64)
        outside, deviation = ~included[:, rows], references[:, rows] - center
        sums += [outside @ one_hot, (outside * deviation) @ one_hot, (outside * deviation**2) @ one_hot]
    count, total, squares = usable.astype(np.float64) @ sums
    mean = total / np.maximum(count, 1.0)
    variance = np.maximum(squares / np.maximum(count, 1.0) - mean**2, 0.0)
    deviation = np.where(variance > 1e-12, np.sqrt(variance), 1.0)
    return (scores - center - mean[:, y]) / deviation[:, y]
